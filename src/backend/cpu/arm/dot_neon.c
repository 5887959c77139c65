/* Products with NEON: four sums an output, tiles of 4 rows by 4 outputs.
 *
 * A step is 8 elements: the first fma takes elements 0 … 3 and the second 4 … 7; for bf16 the even and
 * the odd ones, which one shift and one mask widen, an order that packed rows have already. */
#include "backend/cpu/arm/arm.h"

#include <arm_neon.h>
#include <string.h>

enum { STEP = 8, BLOCK = 640, MR = 4, NR = 4 };

#define INLINE static inline __attribute__((always_inline))

INLINE size_t padded(size_t k) { return (k + STEP - 1) / STEP * STEP; }
INLINE size_t size_of(vl2_dtype type) { return type == VL2_F32 ? 4 : 2; }

/* ---- loading ---------------------------------------------------------------------------------- */

INLINE void load_step(vl2_dtype type, const char *p, float32x4_t *first, float32x4_t *second) {
    uint8x16_t bytes = vld1q_u8((const uint8_t *)p);
    if (type == VL2_F32) {
        *first = vreinterpretq_f32_u8(bytes);
        *second = vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)p + 16));
    } else if (type == VL2_F16) {
        float16x8_t half = vreinterpretq_f16_u8(bytes);
        *first = vcvt_f32_f16(vget_low_f16(half));
        *second = vcvt_f32_f16(vget_high_f16(half));
    } else {
        uint32x4_t pairs = vreinterpretq_u32_u8(bytes);
        *first = vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
        *second = vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000u)));
    }
}

INLINE void pack_row(vl2_dtype type, float *out, const char *row, size_t k) {
    float32x4_t a, b;
    size_t i = 0;
    for (; i + STEP <= k; i += STEP) {
        load_step(type, row + i * size_of(type), &a, &b);
        vst1q_f32(out + i, a);
        vst1q_f32(out + i + 4, b);
    }
    if (i == k) return;
    char tail[STEP * 4] = {0};
    memcpy(tail, row + i * size_of(type), (k - i) * size_of(type));
    load_step(type, tail, &a, &b);
    vst1q_f32(out + i, a);
    vst1q_f32(out + i + 4, b);
}

static void pack_f32(void *out, const void *row, size_t k) { pack_row(VL2_F32, out, row, k); }
static void pack_f16(void *out, const void *row, size_t k) { pack_row(VL2_F16, out, row, k); }
static void pack_bf16(void *out, const void *row, size_t k) { pack_row(VL2_BF16, out, row, k); }
static void pack_x(void *out, const float *x, size_t k) { pack_f32(out, x, k); }

/* A step of 8 floats, even elements first. */
INLINE void split_step(float *out, const float *x) {
    float32x4x2_t pairs = vld2q_f32(x);
    vst1q_f32(out, pairs.val[0]);
    vst1q_f32(out + 4, pairs.val[1]);
}

static void pack_x_split(void *out, const float *x, size_t k) {
    float *p = out;
    size_t i = 0;
    for (; i + STEP <= k; i += STEP) split_step(p + i, x + i);
    if (i == k) return;
    float tail[STEP] = {0};
    memcpy(tail, x + i, (k - i) * sizeof *tail);
    split_step(p + i, tail);
}

static void widen_f16(float *out, const void *row, size_t n) {
    const uint16_t *bits = row;
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(bits + i))));
    for (; i < n; i++) out[i] = vl2_f16_to_f32(bits[i]);
}

static void widen_bf16(float *out, const void *row, size_t n) {
    const uint16_t *bits = row;
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(bits + i), 16)));
    for (; i < n; i++) out[i] = vl2_bf16_to_f32(bits[i]);
}

/* ---- products --------------------------------------------------------------------------------- */

INLINE void put(float *y, float32x4_t acc, bool add) {
    float sum = vaddvq_f32(acc);
    *y = add ? *y + sum : sum;
}

INLINE void packed_tile(float *y, size_t ldy, const float *x, const float *w, size_t kp, size_t m,
                        size_t n, bool add) {
    float32x4_t acc[MR][NR];
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) acc[i][j] = vdupq_n_f32(0.0f);
    for (size_t k = 0; k < kp; k += 4) {
        float32x4_t ws[NR];
        for (size_t j = 0; j < n; j++) ws[j] = vld1q_f32(w + j * kp + k);
        for (size_t i = 0; i < m; i++) {
            float32x4_t xs = vld1q_f32(x + i * kp + k);
            for (size_t j = 0; j < n; j++) acc[i][j] = vfmaq_f32(acc[i][j], xs, ws[j]);
        }
    }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) put(&y[i * ldy + j], acc[i][j], add);
}

INLINE void packed_rows(float *y, size_t ldy, const float *x, const float *w, size_t kp, size_t m,
                        size_t n, bool add) {
    size_t i = 0;
    for (; i + MR <= m; i += MR) packed_tile(y + i * ldy, ldy, x + i * kp, w, kp, MR, n, add);
    for (; i < m; i++) packed_tile(y + i * ldy, ldy, x + i * kp, w, kp, 1, n, add);
}

static void packed(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t n, size_t k,
                   bool add) {
    size_t kp = padded(k), j = 0;
    const float *ws = w;
    for (; j + NR <= n; j += NR) packed_rows(y + j, ldy, x, ws + j * kp, kp, m, NR, add);
    for (; j < n; j++) packed_rows(y + j, ldy, x, ws + j * kp, kp, m, 1, add);
}

INLINE void step_tile(float32x4_t *acc, const float *x, size_t kp, const char *w, size_t stride,
                      vl2_dtype type, size_t m, size_t n) {
    for (size_t j = 0; j < n; j++) {
        float32x4_t first, second;
        load_step(type, w + j * stride, &first, &second);
        for (size_t i = 0; i < m; i++) {
            acc[i * n + j] = vfmaq_f32(acc[i * n + j], vld1q_f32(x + i * kp), first);
            acc[i * n + j] = vfmaq_f32(acc[i * n + j], vld1q_f32(x + i * kp + 4), second);
        }
    }
}

INLINE void direct_tile(float *y, size_t ldy, const float *x, size_t kp, const char *w,
                        size_t stride, size_t k, vl2_dtype type, size_t m, size_t n, bool add) {
    float32x4_t acc[MR * NR];
    for (size_t i = 0; i < m * n; i++) acc[i] = vdupq_n_f32(0.0f);
    size_t i = 0;
    for (; i + STEP <= k; i += STEP)
        step_tile(acc, x + i, kp, w + i * size_of(type), stride, type, m, n);
    if (i < k) {
        char tail[8][STEP * 4];
        memset(tail, 0, sizeof tail);
        for (size_t j = 0; j < n; j++)
            memcpy(tail[j], w + j * stride + i * size_of(type), (k - i) * size_of(type));
        step_tile(acc, x + i, kp, tail[0], sizeof tail[0], type, m, n);
    }
    for (size_t r = 0; r < m; r++)
        for (size_t j = 0; j < n; j++) put(&y[r * ldy + j], acc[r * n + j], add);
}

INLINE void direct_rows(float *y, size_t ldy, const float *x, size_t kp, const char *w,
                        size_t stride, size_t n, size_t k, vl2_dtype type, size_t m, bool add) {
    size_t j = 0;
    if (m == 1)
        for (; j + 8 <= n; j += 8)
            direct_tile(y + j, ldy, x, kp, w + j * stride, stride, k, type, 1, 8, add);
    for (; j + NR <= n; j += NR)
        direct_tile(y + j, ldy, x, kp, w + j * stride, stride, k, type, m, NR, add);
    for (; j < n; j++) direct_tile(y + j, ldy, x, kp, w + j * stride, stride, k, type, m, 1, add);
}

INLINE void direct(float *y, size_t ldy, const float *x, size_t m, const char *w, size_t stride,
                   size_t n, size_t k, bool add, vl2_dtype type) {
    size_t kp = padded(k), i = 0;
    for (; i + MR <= m; i += MR)
        direct_rows(y + i * ldy, ldy, x + i * kp, kp, w, stride, n, k, type, MR, add);
    for (; i < m; i++) direct_rows(y + i * ldy, ldy, x + i * kp, kp, w, stride, n, k, type, 1, add);
}

static void direct_f32(float *y, size_t ldy, const void *x, size_t m, const void *w,
                       size_t w_stride, size_t n, size_t k, bool add) {
    direct(y, ldy, x, m, w, w_stride, n, k, add, VL2_F32);
}
static void direct_f16(float *y, size_t ldy, const void *x, size_t m, const void *w,
                       size_t w_stride, size_t n, size_t k, bool add) {
    direct(y, ldy, x, m, w, w_stride, n, k, add, VL2_F16);
}
static void direct_bf16(float *y, size_t ldy, const void *x, size_t m, const void *w,
                        size_t w_stride, size_t n, size_t k, bool add) {
    direct(y, ldy, x, m, w, w_stride, n, k, add, VL2_BF16);
}

/* ---- outer products ---------------------------------------------------------------------------- */

INLINE void outer_tile(float *c, size_t ldc, const float *const *a, const float *b, size_t ldb,
                       size_t k, size_t m) {
    float32x4_t acc[MR * 4];
    for (size_t i = 0; i < m * 4; i++) acc[i] = vdupq_n_f32(0.0f);
    for (size_t l = 0; l < k; l++) {
        float32x4_t bs[4];
        for (size_t j = 0; j < 4; j++) bs[j] = vld1q_f32(b + l * ldb + 4 * j);
        for (size_t i = 0; i < m; i++) {
            float32x4_t as = vdupq_n_f32(a[i][l]);
            for (size_t j = 0; j < 4; j++) acc[i * 4 + j] = vfmaq_f32(acc[i * 4 + j], as, bs[j]);
        }
    }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < 4; j++) vst1q_f32(c + i * ldc + 4 * j, acc[i * 4 + j]);
}

static void outer(float *c, size_t ldc, const float *const *a, size_t m, const float *b, size_t ldb,
                  size_t n, size_t k) {
    for (size_t j = 0; j < n; j += 16) {
        size_t i = 0;
        for (; i + MR <= m; i += MR) outer_tile(c + i * ldc + j, ldc, a + i, b + j, ldb, k, MR);
        for (; i < m; i++) outer_tile(c + i * ldc + j, ldc, a + i, b + j, ldb, k, 1);
    }
}

void vl2_dot_neon_fill(vl2_kernels *out) {
    const vl2_dot plain = {.step = STEP,
                           .block = BLOCK,
                           .x_bytes = sizeof(float),
                           .w_bytes = sizeof(float),
                           .pack_x = pack_x,
                           .pack_w = pack_f32,
                           .packed = packed,
                           .direct = direct_f32};
    for (int t = 0; t < VL2_WEIGHT_TYPES; t++) out->exact[t] = plain;
    out->exact[VL2_F16].pack_w = pack_f16;
    out->exact[VL2_F16].direct = direct_f16;
    out->exact[VL2_BF16].pack_x = pack_x_split;
    out->exact[VL2_BF16].pack_w = pack_bf16;
    out->exact[VL2_BF16].direct = direct_bf16;
    memcpy(out->fast, out->exact, sizeof out->fast);
    out->widen[VL2_F16] = widen_f16;
    out->widen[VL2_BF16] = widen_bf16;
    out->outer = outer;
}
