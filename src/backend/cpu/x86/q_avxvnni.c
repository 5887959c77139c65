/* Products with quantized weights, AVX2 with AVX-VNNI (or, for tests on machines without it, with a slow
 * stand-in for its one instruction). */
#include <immintrin.h>

#define VL2_Q_VNNI
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
#include "backend/cpu/x86/q_avx2.h"

void vl2_q_avxvnni_fill(vl2_kernels *out) { q_fill(out); }
