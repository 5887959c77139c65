/* Products of bf16 weights with activations rounded to bf16, by BFDOT: twice the products of a float32 fma.
 * A step is 8 elements in their own order; lane i sums elements 2i and 2i+1. */
#include "backend/cpu/arm/arm.h"
#include "backend/cpu/arm/vec_neon.h"

enum { STEP = 8, BLOCK = 1280, MR = 4, NR = 4 };

#define INLINE static inline __attribute__((always_inline))

INLINE size_t padded(size_t k) { return (k + STEP - 1) / STEP * STEP; }

INLINE bfloat16x8_t load(const char *p) {
    return vreinterpretq_bf16_u8(vld1q_u8((const uint8_t *)p));
}

/* ---- packing ---------------------------------------------------------------------------------- */

static void pack_x(void *out, const float *x, size_t k) {
    uint16_t *p = out;
    size_t i = 0;
    for (; i + VL <= k; i += VL) v_store_bf16(p + i, v_load(x + i));
    for (; i < k; i++) p[i] = vl2_f32_to_bf16(x[i]);
    memset(p + k, 0, (padded(k) - k) * sizeof *p);
}

static void pack_w(void *out, const void *row, size_t k) {
    uint16_t *p = out;
    memcpy(p, row, k * sizeof *p);
    memset(p + k, 0, (padded(k) - k) * sizeof *p);
}

/* ---- sums ------------------------------------------------------------------------------------- */

/* One step of m rows of x by n of w. */
INLINE void step_tile(float32x4_t *acc, const char *x, size_t x_stride, const char *w,
                      size_t stride, size_t m, size_t n) {
    bfloat16x8_t ws[8];
    for (size_t j = 0; j < n; j++) ws[j] = load(w + j * stride);
    for (size_t i = 0; i < m; i++) {
        const bfloat16x8_t xs = load(x + i * x_stride);
        for (size_t j = 0; j < n; j++) acc[i * n + j] = vbfdotq_f32(acc[i * n + j], xs, ws[j]);
    }
}

/* w has k elements a row, packed (k a multiple of STEP) or as the file has it. */
INLINE void tile(float *y, size_t ldy, const char *x, size_t x_stride, const char *w, size_t stride,
                 size_t k, size_t m, size_t n, bool add) {
    float32x4_t acc[MR * NR];
    for (size_t i = 0; i < m * n; i++) acc[i] = vdupq_n_f32(0.0f);
    size_t i = 0;
    for (; i + STEP <= k; i += STEP) step_tile(acc, x + 2 * i, x_stride, w + 2 * i, stride, m, n);
    if (i < k) {
        char tail[8][STEP * 2];
        memset(tail, 0, sizeof tail);
        for (size_t j = 0; j < n; j++) memcpy(tail[j], w + j * stride + 2 * i, (k - i) * 2);
        step_tile(acc, x + 2 * i, x_stride, tail[0], sizeof tail[0], m, n);
    }
    for (size_t r = 0; r < m; r++)
        for (size_t j = 0; j < n; j++) {
            const float sum = vaddvq_f32(acc[r * n + j]);
            y[r * ldy + j] = add ? y[r * ldy + j] + sum : sum;
        }
}

INLINE void rows(float *y, size_t ldy, const char *x, size_t x_stride, const char *w, size_t stride,
                 size_t n, size_t k, size_t m, bool add) {
    size_t j = 0;
    if (m == 1)
        for (; j + 8 <= n; j += 8)
            tile(y + j, ldy, x, x_stride, w + j * stride, stride, k, 1, 8, add);
    for (; j + NR <= n; j += NR)
        tile(y + j, ldy, x, x_stride, w + j * stride, stride, k, m, NR, add);
    for (; j < n; j++) tile(y + j, ldy, x, x_stride, w + j * stride, stride, k, m, 1, add);
}

static void all_rows(float *y, size_t ldy, const char *x, size_t x_stride, size_t m, const char *w,
                     size_t stride, size_t n, size_t k, bool add) {
    size_t i = 0;
    for (; i + MR <= m; i += MR)
        rows(y + i * ldy, ldy, x + i * x_stride, x_stride, w, stride, n, k, MR, add);
    for (; i < m; i++) rows(y + i * ldy, ldy, x + i * x_stride, x_stride, w, stride, n, k, 1, add);
}

static void packed(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t n, size_t k,
                   bool add) {
    const size_t row = padded(k) * sizeof(uint16_t);
    for (size_t j = 0; j < n; j += NR)
        all_rows(y + j, ldy, x, row, m, (const char *)w + j * row, row, n - j < NR ? n - j : NR,
                 padded(k), add);
}

static void direct(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t w_stride,
                   size_t n, size_t k, bool add) {
    all_rows(y, ldy, x, padded(k) * sizeof(uint16_t), m, w, w_stride, n, k, add);
}

void vl2_dot_bf16_fill(vl2_kernels *out) {
    out->fast[VL2_BF16] = (vl2_dot){.step = STEP,
                                    .block = BLOCK,
                                    .x_bytes = sizeof(uint16_t),
                                    .w_bytes = sizeof(uint16_t),
                                    .pack_x = pack_x,
                                    .pack_w = pack_w,
                                    .packed = packed,
                                    .direct = direct};
}
