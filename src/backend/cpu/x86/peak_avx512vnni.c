#include "backend/cpu/peak_loops.h"

#include <immintrin.h>

double vl2_peak_avx512vnni_int8(size_t rounds) {
    __m512i sums[VL2_PEAK_CHAINS], a = _mm512_set1_epi8(3);
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = a;
    for (size_t r = 0; r < rounds; r++) {
        for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = _mm512_dpbusd_epi32(sums[i], a, a);
    }
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) VL2_PEAK_KEEP(sums[i]);
    return (double)rounds * VL2_PEAK_CHAINS * 64 * 2;
}
