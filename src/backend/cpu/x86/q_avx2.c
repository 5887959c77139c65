/* Products with quantized weights, AVX2. */
#include "backend/cpu/x86/q_avx2.h"

void vl2_q_avx2_fill(vl2_kernels *out) {
    q_fill(out);
    q_fill_many(out);
}
