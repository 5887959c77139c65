/* backend/cpu/x86/halves_avx512.h - sixteen float16 scales at a time, for the quantized products. */
#ifndef VL2_BACKEND_CPU_X86_HALVES_AVX512_H
#define VL2_BACKEND_CPU_X86_HALVES_AVX512_H

#include "backend/cpu/x86/avx512.h"

/* float16 bits, one in each 32-bit lane, as floats; vl2_qunit_half's way. F16C stops for a microcode assist
 * at each subnormal half. */
static inline __m512 halves_to_floats(__m512i bits) {
    const __m512i rest = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fff));
    const __m512i bias = _mm512_set1_epi32(112 << 23);
    __m512i v = _mm512_add_epi32(_mm512_slli_epi32(rest, 13), bias);
    const __mmask16 special = _mm512_cmpgt_epi32_mask(rest, _mm512_set1_epi32(0x7bff));
    const __mmask16 small = _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(0x400), rest);
    v = _mm512_mask_add_epi32(v, special, v, bias);
    const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(rest), _mm512_set1_ps(0x1p-24f));
    v = _mm512_mask_mov_epi32(v, small, _mm512_castps_si512(scaled));
    const __m512i sign = _mm512_slli_epi32(_mm512_andnot_si512(rest, bits), 16);
    return _mm512_castsi512_ps(_mm512_or_si512(v, sign));
}

#endif
