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
