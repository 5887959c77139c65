/* The products in plain C: what every faster level is measured against. Eight sums a dot product, as
 * a compiler for the baseline can keep them in registers; added pairwise at the end. */
#include "backend/cpu/kernels.h"

#include <string.h>

enum { LANES = 8, BLOCK = 768 };

static size_t padded(size_t k) { return (k + LANES - 1) / LANES * LANES; }

static float sum_lanes(const float s[LANES]) {
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

/* k is a multiple of LANES */
static float dot(const float *x, const float *w, size_t k) {
    float s[LANES] = {0};
    for (size_t i = 0; i < k; i += LANES)
        for (size_t j = 0; j < LANES; j++) s[j] += x[i + j] * w[i + j];
    return sum_lanes(s);
}

static void store(float *y, float sum, bool add) { *y = add ? *y + sum : sum; }

static void pack_f32(void *out, const void *row, size_t k) {
    float *p = out;
    memcpy(p, row, k * sizeof *p);
    memset(p + k, 0, (padded(k) - k) * sizeof *p);
}

static void pack_x(void *out, const float *x, size_t k) { pack_f32(out, x, k); }

static void widen_f32(float *out, const void *row, size_t n) { memcpy(out, row, n * sizeof *out); }

static void widen_f16(float *out, const void *row, size_t n) {
    const uint16_t *bits = row;
    for (size_t i = 0; i < n; i++) out[i] = vl2_f16_to_f32(bits[i]);
}

static void widen_bf16(float *out, const void *row, size_t n) {
    const uint16_t *bits = row;
    for (size_t i = 0; i < n; i++) out[i] = vl2_bf16_to_f32(bits[i]);
}

static void pack_f16(void *out, const void *row, size_t k) {
    float *p = out;
    widen_f16(p, row, k);
    memset(p + k, 0, (padded(k) - k) * sizeof *p);
}

static void pack_bf16(void *out, const void *row, size_t k) {
    float *p = out;
    widen_bf16(p, row, k);
    memset(p + k, 0, (padded(k) - k) * sizeof *p);
}

static void packed(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t n, size_t k,
                   bool add) {
    size_t kp = padded(k);
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < m; i++)
            store(&y[i * ldy + j], dot((const float *)x + i * kp, (const float *)w + j * kp, kp),
                  add);
}

/* Each row of w is widened once, in pieces that fit a small buffer, for all rows of x. */
static void direct(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t w_stride,
                   size_t n, size_t k, bool add, void (*pack)(void *, const void *, size_t)) {
    float row[BLOCK];
    for (size_t j = 0; j < n; j++) {
        pack(row, (const char *)w + j * w_stride, k);
        packed(y + j, ldy, x, m, row, 1, k, add);
    }
}

static void direct_f32(float *y, size_t ldy, const void *x, size_t m, const void *w,
                       size_t w_stride, size_t n, size_t k, bool add) {
    direct(y, ldy, x, m, w, w_stride, n, k, add, pack_f32);
}

static void direct_f16(float *y, size_t ldy, const void *x, size_t m, const void *w,
                       size_t w_stride, size_t n, size_t k, bool add) {
    direct(y, ldy, x, m, w, w_stride, n, k, add, pack_f16);
}

static void direct_bf16(float *y, size_t ldy, const void *x, size_t m, const void *w,
                        size_t w_stride, size_t n, size_t k, bool add) {
    direct(y, ldy, x, m, w, w_stride, n, k, add, pack_bf16);
}

static void outer(float *c, size_t ldc, const float *const *a, size_t m, const float *b, size_t ldb,
                  size_t n, size_t k) {
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) c[i * ldc + j] = 0.0f;
        for (size_t l = 0; l < k; l++)
            for (size_t j = 0; j < n; j++) c[i * ldc + j] += a[i][l] * b[l * ldb + j];
    }
}

void vl2_dot_c_fill(vl2_kernels *out) {
    const vl2_dot plain = {.step = LANES,
                           .block = BLOCK,
                           .x_bytes = sizeof(float),
                           .w_bytes = sizeof(float),
                           .pack_x = pack_x,
                           .packed = packed};
    for (int t = 0; t < VL2_WEIGHT_TYPES; t++) out->exact[t] = plain;
    out->exact[VL2_F32].pack_w = pack_f32;
    out->exact[VL2_F32].direct = direct_f32;
    out->exact[VL2_F16].pack_w = pack_f16;
    out->exact[VL2_F16].direct = direct_f16;
    out->exact[VL2_BF16].pack_w = pack_bf16;
    out->exact[VL2_BF16].direct = direct_bf16;
    memcpy(out->fast, out->exact, sizeof out->fast);
    out->widen[VL2_F32] = widen_f32;
    out->widen[VL2_F16] = widen_f16;
    out->widen[VL2_BF16] = widen_bf16;
    out->outer = outer;
}
