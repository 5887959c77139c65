#include "backend/cpu/peak_loops.h"

#include <arm_neon.h>

double vl2_peak_i8mm_int8(size_t rounds) {
    int32x4_t sums[VL2_PEAK_CHAINS];
    int8x16_t weights[VL2_PEAK_CHAINS], x = vdupq_n_s8(3);
    const int8x16_t *w = weights;
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) {
        sums[i] = vdupq_n_s32(i);
        weights[i] = vdupq_n_s8((int8_t)i);
    }
    for (size_t r = 0; r < rounds; r++) {
        VL2_PEAK_RELOAD(w);
        for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = vmmlaq_s32(sums[i], w[i], x);
    }
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) VL2_PEAK_KEEP(sums[i]);
    return (double)rounds * VL2_PEAK_CHAINS * 32 * 2;
}
