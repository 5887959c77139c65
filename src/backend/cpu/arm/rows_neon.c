/* Rows with NEON. */
#include "backend/cpu/arm/arm.h"

#include "backend/cpu/arm/vec_neon.h"

#include "backend/cpu/rows_vec.h"

void vl2_rows_neon_fill(vl2_kernels *out) { fill_rows(out); }
