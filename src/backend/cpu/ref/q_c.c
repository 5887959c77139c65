/* Products with quantized weights in plain C: the specification of backend/cpu/qdot.h. */
#include "backend/cpu/kernels.h"
#include "backend/cpu/qunits.h"

#include <math.h>

VL2_QINLINE uint32_t q_greatest(const float *x, size_t n) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return most;
}

VL2_QINLINE void q_round(int8_t *q, int16_t *sums, const float *x, size_t n, float inverse) {
    for (size_t i = 0; i < n; i += 16) {
        int sum = 0;
        for (size_t j = i; j < i + 16; j++) sum += q[j] = (int8_t)lrintf(x[j] * inverse);
        sums[i / 16] = (int16_t)sum;
    }
}

VL2_QINLINE int dot16(const uint8_t *q, const int8_t *x) {
    int sum = 0;
    for (int i = 0; i < 16; i++) sum += q[i] * x[i];
    return sum;
}

VL2_QINLINE float q_term(const vl2_qunit *u, const int8_t *x, const int16_t *sums, float dx,
                         const vl2_qkind kind) {
    int32_t a = 0, b = 0;
    for (int s = 0; s < kind.unit / 16; s++) {
        int dot = dot16(u->q + 16 * s, x + 16 * s) - kind.offset * sums[s];
        a += kind.unit == VL2_QUANT_SUPER ? u->scale[s] * dot : dot;
        b += kind.unit == VL2_QUANT_SUPER ? u->min[s] * sums[s] : sums[s];
    }
    return vl2_qunit_term(u->d, u->m, dx, a, b, kind.has_min);
}

#include "backend/cpu/q_direct.h"

void vl2_q_c_fill(vl2_kernels *out) { q_fill(out); }
