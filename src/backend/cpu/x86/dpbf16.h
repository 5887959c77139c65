/* backend/cpu/x86/dpbf16.h - AVX-512's dot products of pairs of bf16; or, for tests on machines without
 * them, what the instruction does by others. */
#ifndef VL2_BACKEND_CPU_X86_DPBF16_H
#define VL2_BACKEND_CPU_X86_DPBF16_H

#include "backend/cpu/x86/avx512.h"

static inline __attribute__((always_inline)) __m512 vl2_dpbf16(__m512 acc, __m512i x, __m512i w) {
#if defined(VL2_EMULATE_AVX512)
    /* The instruction's own order: the odd elements' product first, no fused rounding in between. */
    const __m512i high = _mm512_set1_epi32((int)0xffff0000u);
    __m512 x1 = _mm512_castsi512_ps(_mm512_and_si512(x, high));
    __m512 w1 = _mm512_castsi512_ps(_mm512_and_si512(w, high));
    __m512 x0 = _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
    __m512 w0 = _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
    return _mm512_add_ps(_mm512_add_ps(acc, _mm512_mul_ps(x1, w1)), _mm512_mul_ps(x0, w0));
#else
    return _mm512_dpbf16_ps(acc, (__m512bh)x, (__m512bh)w);
#endif
}

#endif
