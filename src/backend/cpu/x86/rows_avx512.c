/* Rows with AVX-512. */
#include "backend/cpu/x86/x86.h"

#include "backend/cpu/x86/vec_avx512.h"

#include "backend/cpu/rows_vec.h"

void vl2_rows_avx512_fill(vl2_kernels *out) { fill_rows(out); }
