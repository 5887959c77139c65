#include "backend/cpu/peak_loops.h"

#include <arm_neon.h>

double vl2_peak_bfdot_bf16(size_t rounds) {
    float32x4_t sums[VL2_PEAK_CHAINS];
    const bfloat16x8_t a = vreinterpretq_bf16_u16(vdupq_n_u16(0x3f01)); /* about 0.5 */
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = vdupq_n_f32(1.0f);
    for (size_t r = 0; r < rounds; r++) {
        for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = vbfdotq_f32(sums[i], a, a);
    }
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) VL2_PEAK_KEEP(sums[i]);
    return (double)rounds * VL2_PEAK_CHAINS * 8 * 2;
}
