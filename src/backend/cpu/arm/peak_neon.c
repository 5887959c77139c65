#include "backend/cpu/arm/peak_bytes.h"

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
static inline int32x4_t step(int32x4_t sum, int8x16_t w, int8x16_t x) {
    const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
    return vpadalq_s16(sum, vmlal_s8(low, vget_high_s8(w), vget_high_s8(x)));
}

double vl2_peak_neon_int8(size_t rounds) { return peak_bytes(rounds, step, 16); }
