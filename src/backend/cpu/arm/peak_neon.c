#include "backend/cpu/peak_loops.h"

#include <arm_neon.h>

double vl2_peak_neon_f32(size_t rounds) {
    float32x4_t sums[VL2_PEAK_CHAINS], a = vdupq_n_f32(0.5f), b = vdupq_n_f32(1.0f);
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = b;
    for (size_t r = 0; r < rounds; r++) {
        for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = vfmaq_f32(a, sums[i], a);
    }
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) VL2_PEAK_KEEP(sums[i]);
    return (double)rounds * VL2_PEAK_CHAINS * 4 * 2;
}

/* What a product of bytes takes without a dot product instruction: pairs in 16 bits, then sums. */
double vl2_peak_neon_int8(size_t rounds) {
    int32x4_t sums[VL2_PEAK_CHAINS];
    int8x16_t weights[VL2_PEAK_CHAINS], x = vdupq_n_s8(3);
    const int8x16_t *w = weights;
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) {
        sums[i] = vdupq_n_s32(i);
        weights[i] = vdupq_n_s8((int8_t)i);
    }
    for (size_t r = 0; r < rounds; r++) {
        VL2_PEAK_RELOAD(w);
        for (int i = 0; i < VL2_PEAK_CHAINS; i++) {
            const int16x8_t low = vmull_s8(vget_low_s8(w[i]), vget_low_s8(x));
            sums[i] = vpadalq_s16(sums[i], vmlal_s8(low, vget_high_s8(w[i]), vget_high_s8(x)));
        }
    }
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) VL2_PEAK_KEEP(sums[i]);
    return (double)rounds * VL2_PEAK_CHAINS * 16 * 2;
}
