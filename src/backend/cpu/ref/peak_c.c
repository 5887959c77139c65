#include "backend/cpu/peak_loops.h"

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
