/* backend/cpu/rows_vec.h - the kernels of one row, over a vector of VL floats.
 *
 * One body for all instruction sets: rows_avx2.c, rows_avx512.c and rows_neon.c include the header
 * of their vector (vf, v_load …) and then this one, and are compiled for their level. */
#ifndef VL2_BACKEND_CPU_ROWS_VEC_H
#define VL2_BACKEND_CPU_ROWS_VEC_H

#include "backend/cpu/rows_vec_exp.h"

#include <math.h>

/* ---- the activations --------------------------------------------------------------------------- */

/* x / (1 + exp(-a)): x below -100 gives what -100 gives, nothing. */
static inline vf v_sigmoid_times(vf x, vf a) {
    vf e = v_exp(v_sub(v_set(0.0f), a));
    return v_div(v_max(v_set(-100.0f), x), v_add(v_set(1.0f), e));
}

static inline vf v_silu(vf x) { return v_sigmoid_times(x, x); }

/* 0.5 x (1 + tanh u) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3) */
static inline vf v_gelu_tanh(vf x) {
    vf cubic = v_fma(v_mul(x, x), v_set(0.044715f), v_set(1.0f));
    return v_sigmoid_times(x, v_mul(v_mul(x, v_set(1.5957691216f)), cubic));
}

/* x Phi(x) = max(x, 0) - t exp(-t^2/2) r(t), t = |x|, r(t) = erfcx(t / sqrt 2) / 2: a polynomial in
 * s = 1 / (1 + 0.35 t), fitted by least squares on 0 … 13.5 (4e-8 relative). */
static inline vf v_gelu_erf(vf x) {
    vf t = v_abs(x);
    vf s = v_div(v_set(1.0f), v_fma(t, v_set(0.35f), v_set(1.0f)));
    vf p = v_set(-0.0298237242f);
    p = v_fma(p, s, v_set(0.147137627f));
    p = v_fma(p, s, v_set(-0.261957258f));
    p = v_fma(p, s, v_set(0.165935889f));
    p = v_fma(p, s, v_set(-0.0274908692f));
    p = v_fma(p, s, v_set(0.107239157f));
    p = v_fma(p, s, v_set(0.119427212f));
    p = v_fma(p, s, v_set(0.139913216f));
    p = v_mul(v_fma(p, s, v_set(0.139618725f)), s);
    vf held = v_min(v_set(13.2f), t);
    vf tail = v_mul(v_mul(held, p), v_exp(v_mul(v_mul(held, held), v_set(-0.5f))));
    return v_sub(v_max(v_set(0.0f), x), tail);
}

static inline vf v_relu(vf x) { return v_max(v_set(0.0f), x); }
static inline vf v_same(vf x) { return x; }

/* ---- epilogues -------------------------------------------------------------------------------- */

/* y = act(s + b) and y = act(g) * u, for each act. */
#define VL2_FINISH(name, act)                                                                      \
    static void finish_##name(float *y, const float *s, const float *b, size_t n) {                \
        size_t i = 0;                                                                              \
        for (; i + VL <= n; i += VL) {                                                             \
            vf a = v_load(s + i);                                                                  \
            v_store(y + i, act(b ? v_add(a, v_load(b + i)) : a));                                  \
        }                                                                                          \
        if (i == n) return;                                                                        \
        vf a = v_load_part(s + i, n - i);                                                          \
        v_store_part(y + i, act(b ? v_add(a, v_load_part(b + i, n - i)) : a), n - i);              \
    }
#define VL2_GATE(name, act)                                                                        \
    static void gate_##name(float *y, const float *g, const float *u, size_t n) {                  \
        size_t i = 0;                                                                              \
        for (; i + VL <= n; i += VL) v_store(y + i, v_mul(act(v_load(g + i)), v_load(u + i)));     \
        if (i == n) return;                                                                        \
        vf a = act(v_load_part(g + i, n - i));                                                     \
        v_store_part(y + i, v_mul(a, v_load_part(u + i, n - i)), n - i);                           \
    }

VL2_FINISH(none, v_same)
VL2_FINISH(gelu_tanh, v_gelu_tanh)
VL2_FINISH(gelu_erf, v_gelu_erf)
VL2_FINISH(silu, v_silu)
VL2_FINISH(relu, v_relu)
VL2_GATE(gelu_tanh, v_gelu_tanh)
VL2_GATE(gelu_erf, v_gelu_erf)
VL2_GATE(silu, v_silu)
VL2_GATE(relu, v_relu)

static void finish_add(float *y, const float *s, const float *b, size_t n) {
    size_t i = 0;
    for (; i + VL <= n; i += VL) {
        vf a = v_load(s + i);
        v_store(y + i, v_add(v_load(y + i), b ? v_add(a, v_load(b + i)) : a));
    }
    for (; i < n; i++) y[i] += b ? s[i] + b[i] : s[i];
}

/* ---- norms ------------------------------------------------------------------------------------ */

/* Sum of f over a row: four vectors of sums, so that additions need not wait for each other. */
static inline float sum_squares(const float *x, size_t n, float mean) {
    vf s[4] = {v_set(0.0f), v_set(0.0f), v_set(0.0f), v_set(0.0f)}, m = v_set(mean);
    size_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (size_t j = 0; j < 4; j++) {
            vf a = v_sub(v_load(x + i + j * VL), m);
            s[j] = v_fma(a, a, s[j]);
        }
    for (; i + VL <= n; i += VL) {
        vf a = v_sub(v_load(x + i), m);
        s[0] = v_fma(a, a, s[0]);
    }
    if (i < n) {
        vf a = v_keep(v_sub(v_load_part(x + i, n - i), m), v_set(0.0f), n - i);
        s[1] = v_fma(a, a, s[1]);
    }
    return v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
}

static inline float sum_row(const float *x, size_t n) {
    vf s[4] = {v_set(0.0f), v_set(0.0f), v_set(0.0f), v_set(0.0f)};
    size_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (size_t j = 0; j < 4; j++) s[j] = v_add(s[j], v_load(x + i + j * VL));
    for (; i + VL <= n; i += VL) s[0] = v_add(s[0], v_load(x + i));
    if (i < n) s[1] = v_add(s[1], v_load_part(x + i, n - i));
    return v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
}

static void rmsnorm(float *y, const float *x, const float *w, size_t n, float eps) {
    vf r = v_set(1.0f / sqrtf(sum_squares(x, n, 0.0f) / (float)n + eps));
    size_t i = 0;
    for (; i + VL <= n; i += VL) v_store(y + i, v_mul(v_mul(v_load(x + i), r), v_load(w + i)));
    if (i == n) return;
    vf a = v_mul(v_load_part(x + i, n - i), r);
    v_store_part(y + i, v_mul(a, v_load_part(w + i, n - i)), n - i);
}

static void layernorm(float *y, const float *x, const float *w, const float *b, size_t n,
                      float eps) {
    float mean = sum_row(x, n) / (float)n;
    vf m = v_set(mean), zero = v_set(0.0f);
    vf r = v_set(1.0f / sqrtf(sum_squares(x, n, mean) / (float)n + eps));
    size_t i = 0;
    for (; i + VL <= n; i += VL) {
        vf a = v_mul(v_sub(v_load(x + i), m), r);
        v_store(y + i, v_fma(a, v_load(w + i), b ? v_load(b + i) : zero));
    }
    if (i == n) return;
    vf a = v_mul(v_sub(v_load_part(x + i, n - i), m), r);
    vf bias = b ? v_load_part(b + i, n - i) : zero;
    v_store_part(y + i, v_fma(a, v_load_part(w + i, n - i), bias), n - i);
}

/* ---- rope ------------------------------------------------------------------------------------- */

static void rope_pairs(float *x, const float *cos, const float *sin, size_t half) {
    size_t i = 0;
    for (; i + VL / 2 <= half; i += VL / 2) {
        vf a = v_load(x + 2 * i), c = v_load_twice(cos + i), s = v_load_twice(sin + i);
        v_store(x + 2 * i, v_sub_add(v_mul(a, c), v_mul(v_swap_pairs(a), s)));
    }
    for (; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cos[i] - b * sin[i];
        x[2 * i + 1] = b * cos[i] + a * sin[i];
    }
}

static void rope_halves(float *x, const float *cos, const float *sin, size_t half) {
    size_t i = 0;
    for (; i + VL <= half; i += VL) {
        vf a = v_load(x + i), b = v_load(x + i + half), c = v_load(cos + i), s = v_load(sin + i);
        v_store(x + i, v_sub(v_mul(a, c), v_mul(b, s)));
        v_store(x + i + half, v_add(v_mul(b, c), v_mul(a, s)));
    }
    for (; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cos[i] - b * sin[i];
        x[i + half] = b * cos[i] + a * sin[i];
    }
}

/* ---- attention -------------------------------------------------------------------------------- */

static void softmax(float *s, size_t n, float scale, float *max, float *sum) {
    vf k = v_set(scale), low = v_set(-INFINITY), top = low, total = v_set(0.0f);
    for (size_t i = 0; i < n; i += VL) {
        vf a = v_mul(v_load(s + i), k);
        top = v_max(top, n - i < VL ? v_keep(a, low, n - i) : a);
    }
    *max = v_greatest(top);
    vf m = v_set(*max);
    for (size_t i = 0; i < VL2_ATTN_KEYS; i += VL) {
        vf e = v_set(0.0f);
        if (i < n) {
            e = v_exp(v_sub(v_mul(v_load(s + i), k), m));
            if (n - i < VL) e = v_keep(e, v_set(0.0f), n - i);
        }
        total = v_add(total, e);
        v_store(s + i, e);
    }
    *sum = v_sum(total);
}

static void blend(float *o, const float *p, size_t n, float a, float b) {
    vf va = v_set(a), vb = v_set(b);
    size_t i = 0;
    for (; i + VL <= n; i += VL) v_store(o + i, v_fma(v_load(o + i), va, v_mul(v_load(p + i), vb)));
    if (i == n) return;
    vf old = v_load_part(o + i, n - i);
    v_store_part(o + i, v_fma(old, va, v_mul(v_load_part(p + i, n - i), vb)), n - i);
}

static void scale_row(float *out, const float *x, size_t n, float a) {
    vf va = v_set(a);
    size_t i = 0;
    for (; i + VL <= n; i += VL) v_store(out + i, v_mul(v_load(x + i), va));
    for (; i < n; i++) out[i] = x[i] * a;
}

static void axpy(float *y, const float *x, size_t n, float a) {
    vf va = v_set(a);
    size_t i = 0;
    for (; i + VL <= n; i += VL) v_store(y + i, v_fma(v_load(x + i), va, v_load(y + i)));
    if (i == n) return;
    vf old = v_load_part(y + i, n - i);
    v_store_part(y + i, v_fma(v_load_part(x + i, n - i), va, old), n - i);
}

static void to_bf16(uint16_t *out, const float *x, size_t n) {
    size_t i = 0;
    for (; i + VL <= n; i += VL) v_store_bf16(out + i, v_load(x + i));
    for (; i < n; i++) out[i] = vl2_f32_to_bf16(x[i]);
}

/* ---- keys and values, of either type ----------------------------------------------------------- */

static inline size_t element_bytes(vl2_dtype type) { return type == VL2_F32 ? 4 : 2; }

static inline vf v_load_as(vl2_dtype type, const char *p) {
    return type == VL2_F32 ? v_load((const float *)(const void *)p)
                           : v_load_bf16((const uint16_t *)(const void *)p);
}

static inline float load_one(vl2_dtype type, const char *p) {
    return type == VL2_F32 ? *(const float *)(const void *)p
                           : vl2_bf16_to_f32(*(const uint16_t *)(const void *)p);
}

/* VL elements of VL rows, as columns; rows from n on are zeros. */
static inline void load_square(vf a[VL], vl2_dtype type, const char *rows, size_t stride,
                               size_t n) {
    for (size_t r = 0; r < VL; r++) a[r] = r < n ? v_load_as(type, rows + r * stride) : v_set(0.0f);
    v_transpose(a);
}

/* One element of VL rows. */
static inline vf load_column(vl2_dtype type, const char *rows, size_t stride, size_t n) {
    float all[VL] = {0};
    for (size_t r = 0; r < VL && r < n; r++) all[r] = load_one(type, rows + r * stride);
    return v_load(all);
}

static inline void transpose_as(vl2_dtype type, float *out, const char *rows, size_t stride,
                                size_t n, size_t k) {
    for (size_t i = 0; i < VL2_ATTN_KEYS; i += VL) {
        const char *from = rows + i * stride;
        size_t left = i < n ? n - i : 0, j = 0;
        for (; j + VL <= k; j += VL) {
            vf a[VL];
            load_square(a, type, from + j * element_bytes(type), stride, left);
            for (size_t r = 0; r < VL; r++) v_store(out + (j + r) * VL2_ATTN_KEYS + i, a[r]);
        }
        for (; j < k; j++)
            v_store(out + j * VL2_ATTN_KEYS + i,
                    load_column(type, from + j * element_bytes(type), stride, left));
    }
}

/* Asks for the lines of [at, at + bytes), for a reader that the CPU's own prefetch does not follow. */
static inline void ask_for(const char *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
}

/* `groups` times VL rows, of which the last may be cut short: their chains of sums run side by side. */
static inline void scores_of(vl2_dtype type, float *s, const float *q, const char *rows,
                             size_t stride, size_t n, size_t k, const char *next, size_t groups) {
    const size_t square = VL * VL * element_bytes(type);
    vf sum[4];
    size_t j = 0;
    for (size_t g = 0; g < groups; g++) sum[g] = v_set(0.0f);
    for (; j + VL <= k; j += VL)
        for (size_t g = 0; g < groups; g++) {
            vf a[VL];
            if (next) ask_for(next, square), next += square;
            load_square(a, type, rows + g * VL * stride + j * element_bytes(type), stride,
                        n - g * VL);
            for (size_t r = 0; r < VL; r++) sum[g] = v_fma(v_set(q[j + r]), a[r], sum[g]);
        }
    for (; j < k; j++)
        for (size_t g = 0; g < groups; g++)
            sum[g] = v_fma(v_set(q[j]),
                           load_column(type, rows + g * VL * stride + j * element_bytes(type),
                                       stride, n - g * VL),
                           sum[g]);
    for (size_t g = 0; g < groups; g++) v_store(s + g * VL, sum[g]);
}

static inline void scores_as(vl2_dtype type, float *s, const float *q, const char *rows,
                             size_t stride, size_t n, size_t k, const char *next) {
    const size_t row = k * element_bytes(type);
    size_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        scores_of(type, s + i, q, rows + i * stride, stride, 4 * VL, k,
                  next ? next + i * row : NULL, 4);
    for (; i < n; i += VL)
        scores_of(type, s + i, q, rows + i * stride, stride, n - i, k, next ? next + i * row : NULL,
                  1);
}

static inline void weighted_as(vl2_dtype type, float *o, const float *p, const char *rows,
                               size_t stride, size_t n, size_t k, const char *next) {
    const size_t some = 8 * VL * element_bytes(type);
    size_t j = 0;
    for (; j + 8 * VL <= k; j += 8 * VL) {
        vf sum[8];
        for (size_t l = 0; l < 8; l++) sum[l] = v_set(0.0f);
        for (size_t i = 0; i < n; i++) {
            if (next) ask_for(next, some), next += some;
            for (size_t l = 0; l < 8; l++) {
                const char *at = rows + i * stride + (j + l * VL) * element_bytes(type);
                sum[l] = v_fma(v_set(p[i]), v_load_as(type, at), sum[l]);
            }
        }
        for (size_t l = 0; l < 8; l++) v_store(o + j + l * VL, sum[l]);
    }
    for (; j + VL <= k; j += VL) {
        vf sum = v_set(0.0f);
        for (size_t i = 0; i < n; i++)
            sum = v_fma(v_set(p[i]), v_load_as(type, rows + i * stride + j * element_bytes(type)),
                        sum);
        v_store(o + j, sum);
    }
    for (; j < k; j++) {
        vf sum = v_set(0.0f);
        for (size_t i = 0; i < n; i++)
            sum = v_fma(v_set(p[i]),
                        v_set(load_one(type, rows + i * stride + j * element_bytes(type))), sum);
        v_store_part(o + j, sum, 1);
    }
}

static void transpose_f32(float *out, const void *rows, size_t stride, size_t n, size_t k) {
    transpose_as(VL2_F32, out, rows, stride, n, k);
}
static void transpose_bf16(float *out, const void *rows, size_t stride, size_t n, size_t k) {
    transpose_as(VL2_BF16, out, rows, stride, n, k);
}
static void scores_f32(float *s, const float *q, const void *rows, size_t stride, size_t n,
                       size_t k, const void *next) {
    scores_as(VL2_F32, s, q, rows, stride, n, k, next);
}
static void scores_bf16(float *s, const float *q, const void *rows, size_t stride, size_t n,
                        size_t k, const void *next) {
    scores_as(VL2_BF16, s, q, rows, stride, n, k, next);
}
static void weighted_f32(float *o, const float *p, const void *rows, size_t stride, size_t n,
                         size_t k, const void *next) {
    weighted_as(VL2_F32, o, p, rows, stride, n, k, next);
}
static void weighted_bf16(float *o, const float *p, const void *rows, size_t stride, size_t n,
                          size_t k, const void *next) {
    weighted_as(VL2_BF16, o, p, rows, stride, n, k, next);
}

static void fill_rows(vl2_kernels *out) {
    out->finish[VL2_EPI_NONE] = finish_none;
    out->finish[VL2_EPI_ADD] = finish_add;
    out->finish[VL2_EPI_GELU_TANH] = finish_gelu_tanh;
    out->finish[VL2_EPI_GELU_ERF] = finish_gelu_erf;
    out->finish[VL2_EPI_SILU] = finish_silu;
    out->finish[VL2_EPI_RELU] = finish_relu;
    out->gate[VL2_EPI_GELU_TANH] = gate_gelu_tanh;
    out->gate[VL2_EPI_GELU_ERF] = gate_gelu_erf;
    out->gate[VL2_EPI_SILU] = gate_silu;
    out->gate[VL2_EPI_RELU] = gate_relu;
    out->rmsnorm = rmsnorm;
    out->layernorm = layernorm;
    out->rope_pairs = rope_pairs;
    out->rope_halves = rope_halves;
    out->softmax = softmax;
    out->blend = blend;
    out->scale = scale_row;
    out->axpy = axpy;
    out->to_bf16 = to_bf16;
    out->transpose[VL2_F32] = transpose_f32;
    out->transpose[VL2_BF16] = transpose_bf16;
    out->scores[VL2_F32] = scores_f32;
    out->scores[VL2_BF16] = scores_bf16;
    out->weighted[VL2_F32] = weighted_f32;
    out->weighted[VL2_BF16] = weighted_bf16;
}

#endif
