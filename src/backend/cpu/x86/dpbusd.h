/* backend/cpu/x86/dpbusd.h - AVX-VNNI's dot products of bytes; or, for tests on machines without it, a slow
 * stand-in for its one instruction. */
#ifndef VL2_BACKEND_CPU_X86_DPBUSD_H
#define VL2_BACKEND_CPU_X86_DPBUSD_H

#include <immintrin.h>

static inline __attribute__((always_inline)) __m256i vl2_dpbusd(__m256i a, __m256i u, __m256i x) {
#if !defined(VL2_EMULATE_AVXVNNI)
    return _mm256_dpbusd_avx_epi32(a, u, x);
#else
    const __m256i even = _mm256_madd_epi16(_mm256_and_si256(u, _mm256_set1_epi16(255)),
                                           _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(x, 8));
    return _mm256_add_epi32(a, _mm256_add_epi32(even, odd));
#endif
}

#endif
