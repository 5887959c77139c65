/* Products with quantized weights, AVX2. */
#include "backend/cpu/x86/q_avx2.h"

void vl2_q_avx2_fill(vl2_kernels *out) {
    q_fill(out);
    VL2_QKINDS(VL2_Q_SET_MANY)
}
