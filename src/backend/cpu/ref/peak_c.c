#include "backend/cpu/peak_loops.h"

#include <stdint.h>

enum { LANES = 16 }; /* what a compiler may put side by side in the baseline's registers */

double vl2_peak_c_f32(size_t rounds) {
    float sums[LANES] = {0};
    volatile float sink;
    for (size_t r = 0; r < rounds; r++) {
        for (size_t i = 0; i < LANES; i++) sums[i] = sums[i] * 0.5f + 1.0f;
    }
    sink = sums[0] + sums[LANES - 1];
    (void)sink;
    return (double)rounds * LANES * 2;
}

double vl2_peak_c_int8(size_t rounds) {
    enum { DEEP = 4 }; /* products of a sum */
    int8_t weights[LANES * DEEP], x[LANES * DEEP];
    const int8_t *w = weights;
    uint32_t sums[LANES] = {0};
    volatile uint32_t sink;
    for (size_t i = 0; i < LANES * DEEP; i++) weights[i] = x[i] = (int8_t)i;
    for (size_t r = 0; r < rounds; r++) {
        VL2_PEAK_RELOAD(w);
        for (size_t i = 0; i < LANES; i++) {
            int32_t dot = 0;
            for (size_t j = 0; j < DEEP; j++) dot += w[i * DEEP + j] * x[i * DEEP + j];
            sums[i] += (uint32_t)dot;
        }
    }
    sink = sums[0] + sums[LANES - 1];
    (void)sink;
    return (double)rounds * LANES * DEEP * 2;
}
