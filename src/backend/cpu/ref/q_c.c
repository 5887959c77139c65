/* Products with quantized weights in plain C: the specification of backend/cpu/qdot.h. */
#include "backend/cpu/kernels.h"
#include "backend/cpu/qunits.h"

#include <math.h>

/* The greatest |x| of a unit; its bits as a whole number order it, and put what is no number last. */
static uint32_t greatest_bits(const float *x, size_t n) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return most;
}

/* A unit too small to be told from 0 is 0; one with an infinity or NaN makes its products NaN. */
static float pack_unit(int8_t *q, const float *x, size_t n) {
    uint32_t bits = greatest_bits(x, n);
    float most;
    memcpy(&most, &bits, sizeof most);
    if (bits >= 0x7f800000u || most < 1e-30f) {
        memset(q, 0, n);
        return bits >= 0x7f800000u ? NAN : 0.0f;
    }
    float inverse = 127.0f / most;
    for (size_t i = 0; i < n; i++) q[i] = (int8_t)lrintf(x[i] * inverse);
    return most / 127.0f;
}

static void pack_x(void *out, const float *x, size_t k, size_t unit) {
    int8_t *q = out;
    float *d = (float *)((char *)out + vl2_qx_scales(k));
    int16_t *sums = (int16_t *)((char *)out + vl2_qx_sums(k, unit));
    for (size_t i = 0; i < k; i += unit) d[i / unit] = pack_unit(q + i, x + i, unit);
    for (size_t i = 0; i < k; i += 16) {
        int sum = 0;
        for (size_t j = 0; j < 16; j++) sum += q[i + j];
        sums[i / 16] = (int16_t)sum;
    }
}

static void pack_x_32(void *out, const float *x, size_t k) { pack_x(out, x, k, VL2_QUANT_BLOCK); }
static void pack_x_k(void *out, const float *x, size_t k) { pack_x(out, x, k, VL2_QUANT_SUPER); }

VL2_QINLINE int dot16(const uint8_t *q, const int8_t *x) {
    int sum = 0;
    for (int i = 0; i < 16; i++) sum += q[i] * x[i];
    return sum;
}

VL2_QINLINE float term(const vl2_qunit *u, const int8_t *x, const int16_t *sums, float dx,
                       const vl2_qkind kind) {
    int32_t a = 0, b = 0;
    for (int s = 0; s < kind.unit / 16; s++) {
        int dot = dot16(u->q + 16 * s, x + 16 * s) - kind.offset * sums[s];
        a += kind.unit == VL2_QUANT_SUPER ? u->scale[s] * dot : dot;
        b += kind.unit == VL2_QUANT_SUPER ? u->min[s] * sums[s] : sums[s];
    }
    return vl2_qunit_term(u->d, u->m, dx, a, b, kind.has_min);
}

/* Each unit is taken apart once for all rows of x. */
VL2_QINLINE void direct(float *y, size_t ldy, const void *x, size_t m, const void *w,
                        size_t w_stride, size_t n, size_t k, const vl2_qkind kind) {
    const size_t unit = (size_t)kind.unit, row = vl2_qx_bytes(k, unit);
    vl2_qunit u;
    for (size_t j = 0; j < n; j++) {
        const char *block = (const char *)w + j * w_stride;
        for (size_t i = 0; i < m; i++) y[i * ldy + j] = 0.0f;
        for (size_t at = 0; at < k; at += unit, block += kind.bytes) {
            kind.unpack(&u, block);
            for (size_t i = 0; i < m; i++) {
                const char *xi = (const char *)x + i * row;
                const float *d = (const float *)(xi + vl2_qx_scales(k));
                const int16_t *sums = (const int16_t *)(xi + vl2_qx_sums(k, unit));
                y[i * ldy + j] +=
                    term(&u, (const int8_t *)xi + at, sums + at / 16, d[at / unit], kind);
            }
        }
    }
}

#define DIRECT(type, name, unit, offset, has_min, block)                                           \
    static void direct_##name(float *y, size_t ldy, const void *x, size_t m, const void *w,        \
                              size_t w_stride, size_t n, size_t k) {                               \
        const vl2_qkind kind = {unit, offset, has_min, sizeof(block), vl2_qunit_##name};           \
        direct(y, ldy, x, m, w, w_stride, n, k, kind);                                             \
    }
VL2_QKINDS(DIRECT)

void vl2_q_c_fill(vl2_kernels *out) {
#define FILL(type, name, size, offset, has_min, block)                                             \
    out->quantized[type - VL2_Q8_0] =                                                              \
        (vl2_qdot){.unit = size,                                                                   \
                   .pack_x = size == VL2_QUANT_BLOCK ? pack_x_32 : pack_x_k,                       \
                   .direct = direct_##name};
    VL2_QKINDS(FILL)
}
