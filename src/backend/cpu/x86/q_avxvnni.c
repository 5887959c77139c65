/* Products with quantized weights, AVX2 with AVX-VNNI. */
#include "backend/cpu/x86/dpbusd.h"
#define VL2_Q_VNNI
#include "backend/cpu/x86/q_avx2.h"

void vl2_q_avxvnni_fill(vl2_kernels *out) {
    q_fill(out);
    VL2_QKINDS(VL2_Q_SET_MANY)
}
