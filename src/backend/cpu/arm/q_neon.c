/* Products with quantized weights, NEON. */
#include "backend/cpu/arm/q_neon.h"

void vl2_q_neon_fill(vl2_kernels *out) { q_fill(out); }
