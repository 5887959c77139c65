/* Products with quantized weights, NEON with dot products of bytes. */
#define VL2_Q_DOTPROD
#include "backend/cpu/arm/q_neon.h"

void vl2_q_dotprod_fill(vl2_kernels *out) { q_fill(out); }
