#include "backend/cpu/peak_loops.h"

#include <immintrin.h>

double vl2_peak_avx512_f32(size_t rounds) {
    __m512 sums[VL2_PEAK_CHAINS], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(1.0f);
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = b;
    for (size_t r = 0; r < rounds; r++) {
        for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = _mm512_fmadd_ps(sums[i], a, b);
    }
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) VL2_PEAK_KEEP(sums[i]);
    return (double)rounds * VL2_PEAK_CHAINS * 16 * 2;
}
