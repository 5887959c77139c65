/* backend/cpu/q_direct.h - a level whose quantized weights are taken apart as qunits.h has it, a unit at
 * a time, and met by each row of x; no panels. Before it stand q_greatest and q_round of q_rows.h, and
 *
 *     float q_term(u, x, sums, dx, kind)    qdot.h's t of a vl2_qunit */
#ifndef VL2_BACKEND_CPU_Q_DIRECT_H
#define VL2_BACKEND_CPU_Q_DIRECT_H

#include "backend/cpu/kernels.h"
#include "backend/cpu/qunits.h"

#include "backend/cpu/q_rows.h"

VL2_QINLINE void q_units(float *y, size_t ldy, const void *x, size_t m, const void *w,
                         size_t w_stride, size_t n, size_t k, const vl2_qkind kind) {
    const size_t unit = (size_t)kind.unit, row = vl2_qx_bytes(k, unit);
    const char *d0 = (const char *)x + vl2_qx_scales(k);
    const char *s0 = (const char *)x + vl2_qx_sums(k, unit);
    for (size_t j = 0; j < n; j++) {
        const char *block = (const char *)w + j * w_stride;
        for (size_t i = 0; i < m; i++) y[i * ldy + j] = 0.0f;
        for (size_t u = 0; u < k / unit; u++, block += kind.bytes) {
            vl2_qunit taken;
            kind.unpack(&taken, block);
            for (size_t i = 0; i < m; i++) {
                const float dx = ((const float *)(const void *)(d0 + i * row))[u];
                const int16_t *sums = (const int16_t *)(const void *)(s0 + i * row);
                y[i * ldy + j] += q_term(&taken, (const int8_t *)x + i * row + u * unit,
                                         sums + u * unit / 16, dx, kind);
            }
        }
    }
}

/* Of a type of VL2_QKINDS. */
#define VL2_Q_UNITS(type, name, unit, offset, has_min, block)                                      \
    static void direct_##name(float *y, size_t ldy, const void *x, size_t m, const void *w,        \
                              size_t w_stride, size_t n, size_t k) {                               \
        const vl2_qkind kind = {unit, offset, has_min, sizeof(block), vl2_qunit_##name};           \
        q_units(y, ldy, x, m, w, w_stride, n, k, kind);                                            \
    }

VL2_QKINDS(VL2_Q_UNITS)

static void q_fill(vl2_kernels *out) {
#define FILL(type, name, size, offset, has_min, block)                                             \
    out->quantized[type - VL2_Q8_0] =                                                              \
        (vl2_qdot){.unit = size,                                                                   \
                   .pack_x = size == VL2_QUANT_BLOCK ? pack_x_32 : pack_x_k,                       \
                   .direct = direct_##name};
    VL2_QKINDS(FILL)
#undef FILL
}

#endif
