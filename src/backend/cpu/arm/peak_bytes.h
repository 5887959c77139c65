/* backend/cpu/arm/peak_bytes.h - the loop of Arm's peaks of bytes, around one step of sums. */
#ifndef VL2_BACKEND_CPU_ARM_PEAK_BYTES_H
#define VL2_BACKEND_CPU_ARM_PEAK_BYTES_H

#include "backend/cpu/peak_loops.h"

#include <arm_neon.h>

/* step: sums of products of 16 bytes, `products` of them. Returns the operations. */
static inline __attribute__((always_inline)) double
peak_bytes(size_t rounds, int32x4_t (*step)(int32x4_t sum, int8x16_t w, int8x16_t x),
           double products) {
    int32x4_t sums[VL2_PEAK_CHAINS];
    int8x16_t weights[VL2_PEAK_CHAINS], x = vdupq_n_s8(3);
    const int8x16_t *w = weights;
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) {
        sums[i] = vdupq_n_s32(i);
        weights[i] = vdupq_n_s8((int8_t)i);
    }
    for (size_t r = 0; r < rounds; r++) {
        VL2_PEAK_RELOAD(w);
        for (int i = 0; i < VL2_PEAK_CHAINS; i++) sums[i] = step(sums[i], w[i], x);
    }
    for (int i = 0; i < VL2_PEAK_CHAINS; i++) VL2_PEAK_KEEP(sums[i]);
    return (double)rounds * VL2_PEAK_CHAINS * products * 2;
}

#endif
