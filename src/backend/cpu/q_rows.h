/* backend/cpu/q_rows.h - rows of x quantized. Before it an instruction set's file defines
 *
 *     uint32_t q_greatest(const float *x, size_t n)    the bits of the greatest |x|
 *     void q_round(int8_t *q, int16_t *sums, const float *x, size_t n, float inverse)
 *                                                      x * inverse, and their sums of 16
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

#endif
