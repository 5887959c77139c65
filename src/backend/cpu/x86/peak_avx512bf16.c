#include "backend/cpu/peak_loops.h"

#include <immintrin.h>

double vl2_peak_avx512bf16_bf16(size_t rounds) {
    __m512 sums[VL2_PEAK_CHAINS];
    __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = _mm512_set1_ps(1.0f);
    for (size_t r = 0; r < rounds; r++) {
        for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = _mm512_dpbf16_ps(sums[i], a, a);
    }
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) VL2_PEAK_KEEP(sums[i]);
    return (double)rounds * VL2_PEAK_CHAINS * 32 * 2;
}
