#include "backend/cpu/peak_loops.h"

#include <immintrin.h>

double vl2_peak_avx2_f32(size_t rounds) {
    __m256 sums[VL2_PEAK_CHAINS], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(1.0f);
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = b;
    for (size_t r = 0; r < rounds; r++) {
        for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = _mm256_fmadd_ps(sums[i], a, b);
    }
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) VL2_PEAK_KEEP(sums[i]);
    return (double)rounds * VL2_PEAK_CHAINS * 8 * 2;
}

/* What an exact product of bytes takes without a dot product instruction: pairs, fours, a sum. */
double vl2_peak_avx2_int8(size_t rounds) {
    __m256i sums[VL2_PEAK_CHAINS], x = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
    __m256i weights[VL2_PEAK_CHAINS];
    const __m256i *w = weights;
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = weights[i] = _mm256_set1_epi8((char)i);
    for (size_t r = 0; r < rounds; r++) {
        VL2_PEAK_RELOAD(w);
        for (int i = 0; i < VL2_PEAK_CHAINS; i++) {
            __m256i fours = _mm256_madd_epi16(_mm256_maddubs_epi16(x, w[i]), ones);
            sums[i] = _mm256_add_epi32(sums[i], fours);
        }
    }
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) VL2_PEAK_KEEP(sums[i]);
    return (double)rounds * VL2_PEAK_CHAINS * 32 * 2;
}
