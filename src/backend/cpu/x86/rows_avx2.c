/* Rows with AVX2 and FMA. */
#include "backend/cpu/x86/x86.h"

#include "backend/cpu/x86/vec_avx2.h"

#include "backend/cpu/rows_vec.h"

void vl2_rows_avx2_fill(vl2_kernels *out) { fill_rows(out); }
