#include "backend/cpu/arm/peak_bytes.h"

static inline int32x4_t step(int32x4_t sum, int8x16_t w, int8x16_t x) {
    return vdotq_s32(sum, w, x);
}

double vl2_peak_dotprod_int8(size_t rounds) { return peak_bytes(rounds, step, 16); }
