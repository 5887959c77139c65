/* backend/cpu/q_rows.h - the loops that quantized products share, those of 512 bits aside: rows of x
 * quantized, and units of weights taken apart once, then met by each row of x. Before it an
 * instruction set's file defines
 *
 *     uint32_t q_greatest(const float *x, size_t n)    the bits of the greatest |x|
 *     void q_round(int8_t *q, int16_t *sums, const float *x, size_t n, float inverse)
 *                                                      x * inverse, and their sums of 16
 *     q_taken, VL2_Q_TAKE(name)                        a unit taken apart, and by what
 *     float q_term(u, x, sums, dx, kind)               qdot.h's t of it
 *     void q_ask(const char *from, size_t bytes)       for what comes later; or nothing
 *
 * n is a multiple of 32. */
#ifndef VL2_BACKEND_CPU_Q_ROWS_H
#define VL2_BACKEND_CPU_Q_ROWS_H

#include "backend/cpu/qunits.h"

#include <math.h>

/* A unit too small to be told from 0 is 0; one with an infinity or NaN makes its products NaN. The
 * bits of |x| as whole numbers order it, and put what is no number last. */
static float pack_unit(int8_t *q, int16_t *sums, const float *x, size_t n) {
    uint32_t bits = q_greatest(x, n);
    float most;
    memcpy(&most, &bits, sizeof most);
    if (bits >= 0x7f800000u || most < 1e-30f) {
        memset(q, 0, n);
        memset(sums, 0, n / 16 * sizeof *sums);
        return bits >= 0x7f800000u ? NAN : 0.0f;
    }
    q_round(q, sums, x, n, 127.0f / most);
    return most / 127.0f;
}

static void pack_x(void *out, const float *x, size_t k, size_t unit) {
    float *d = (float *)((char *)out + vl2_qx_scales(k));
    int16_t *sums = (int16_t *)((char *)out + vl2_qx_sums(k, unit));
    for (size_t i = 0; i < k; i += unit)
        d[i / unit] = pack_unit((int8_t *)out + i, sums + i / 16, x + i, unit);
}

static void pack_x_32(void *out, const float *x, size_t k) { pack_x(out, x, k, VL2_QUANT_BLOCK); }
static void pack_x_k(void *out, const float *x, size_t k) { pack_x(out, x, k, VL2_QUANT_SUPER); }

enum { Q_AHEAD = 2304 }; /* bytes between the unit in use and the one asked for */

VL2_QINLINE void q_units(float *y, size_t ldy, const void *x, size_t m, const void *w,
                         size_t w_stride, size_t n, size_t k, const vl2_qkind kind,
                         void (*const take)(q_taken *u, const void *block)) {
    const size_t unit = (size_t)kind.unit, row = vl2_qx_bytes(k, unit);
    const char *d0 = (const char *)x + vl2_qx_scales(k);
    const char *s0 = (const char *)x + vl2_qx_sums(k, unit);
    for (size_t j = 0; j < n; j++) {
        const char *block = (const char *)w + j * w_stride;
        float one = 0.0f;
        for (size_t i = 0; i < m; i++) y[i * ldy + j] = 0.0f;
        for (size_t u = 0; u < k / unit; u++, block += kind.bytes) {
            q_taken taken;
            q_ask(block + Q_AHEAD, kind.bytes);
            take(&taken, block);
            for (size_t i = 0; i < m; i++) {
                const float dx = ((const float *)(const void *)(d0 + i * row))[u];
                const int16_t *sums = (const int16_t *)(const void *)(s0 + i * row);
                const float t = q_term(&taken, (const int8_t *)x + i * row + u * unit,
                                       sums + u * unit / 16, dx, kind);
                if (m == 1)
                    one += t;
                else
                    y[i * ldy + j] += t;
            }
        }
        if (m == 1) y[j] = one;
    }
}

/* Of a type of VL2_QKINDS. */
#define VL2_Q_UNITS(type, name, unit, offset, has_min, block)                                      \
    static void direct_##name(float *y, size_t ldy, const void *x, size_t m, const void *w,        \
                              size_t w_stride, size_t n, size_t k) {                               \
        const vl2_qkind kind = {unit, offset, has_min, sizeof(block), vl2_qunit_##name};           \
        q_units(y, ldy, x, m, w, w_stride, n, k, kind, VL2_Q_TAKE(name));                          \
    }

#endif
