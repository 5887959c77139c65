/* Products of rows of bytes, NEON with dot products of bytes. */
#define VL2_Q_DOTPROD
#include "backend/cpu/arm/bytes_neon.h"

void vl2_bytes_dotprod_fill(vl2_kernels *out) { bytes_fill(out); }
