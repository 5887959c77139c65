/* What works on one row at a time, in plain C: activations, norms, rope, the softmax of a block. */
#include "backend/cpu/kernels.h"

#include <math.h>

/* ---- activations and epilogues ---------------------------------------------------------------- */

static float gelu_tanh(float x) {
    const float c = 0.7978845608028654f; /* sqrt(2 / pi) */
    return 0.5f * x * (1.0f + tanhf(c * (x + 0.044715f * x * x * x)));
}

static float gelu_erf(float x) { return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f)); }

static float silu(float x) { return x / (1.0f + expf(-x)); }

static float relu(float x) { return x > 0.0f ? x : 0.0f; }

static float biased(const float *s, const float *b, size_t i) { return b ? s[i] + b[i] : s[i]; }

static void finish_none(float *y, const float *s, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = biased(s, b, i);
}

static void finish_add(float *y, const float *s, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += biased(s, b, i);
}

static void finish_gelu_tanh(float *y, const float *s, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = gelu_tanh(biased(s, b, i));
}

static void finish_gelu_erf(float *y, const float *s, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = gelu_erf(biased(s, b, i));
}

static void finish_silu(float *y, const float *s, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = silu(biased(s, b, i));
}

static void finish_relu(float *y, const float *s, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = relu(biased(s, b, i));
}

static void gate_gelu_tanh(float *y, const float *g, const float *u, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = gelu_tanh(g[i]) * u[i];
}

static void gate_gelu_erf(float *y, const float *g, const float *u, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = gelu_erf(g[i]) * u[i];
}

static void gate_silu(float *y, const float *g, const float *u, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = silu(g[i]) * u[i];
}

static void gate_relu(float *y, const float *g, const float *u, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = relu(g[i]) * u[i];
}

/* ---- norms, rope ------------------------------------------------------------------------------ */

static void rmsnorm(float *y, const float *x, const float *w, size_t n, float eps) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    float r = 1.0f / sqrtf((float)(sum / (double)n) + eps);
    for (size_t i = 0; i < n; i++) y[i] = x[i] * r * w[i];
}

static void layernorm(float *y, const float *x, const float *w, const float *b, size_t n,
                      float eps) {
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    float r = 1.0f / sqrtf((float)(squares / (double)n) + eps);
    for (size_t i = 0; i < n; i++) y[i] = (x[i] - (float)mean) * r * w[i] + (b ? b[i] : 0.0f);
}

static void rope_pairs(float *x, const float *cos, const float *sin, size_t half) {
    for (size_t i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cos[i] - b * sin[i];
        x[2 * i + 1] = b * cos[i] + a * sin[i];
    }
}

static void rope_halves(float *x, const float *cos, const float *sin, size_t half) {
    for (size_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cos[i] - b * sin[i];
        x[i + half] = b * cos[i] + a * sin[i];
    }
}

/* ---- attention -------------------------------------------------------------------------------- */

static void softmax(float *s, size_t n, float scale, float *max, float *sum) {
    float top = s[0] * scale, total = 0.0f;
    for (size_t i = 1; i < n; i++)
        if (s[i] * scale > top) top = s[i] * scale;
    for (size_t i = 0; i < n; i++) total += s[i] = expf(s[i] * scale - top);
    for (size_t i = n; i < VL2_ATTN_KEYS; i++) s[i] = 0.0f;
    *max = top;
    *sum = total;
}

static void blend(float *o, const float *p, size_t n, float a, float b) {
    for (size_t i = 0; i < n; i++) o[i] = o[i] * a + p[i] * b;
}

static void scale_row(float *out, const float *x, size_t n, float a) {
    for (size_t i = 0; i < n; i++) out[i] = x[i] * a;
}

static void axpy(float *y, const float *x, size_t n, float a) {
    for (size_t i = 0; i < n; i++) y[i] += x[i] * a;
}

static void to_bf16(uint16_t *out, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = vl2_f32_to_bf16(x[i]);
}

static void transpose_f32(float *out, const void *rows, size_t stride, size_t n, size_t k) {
    for (size_t j = 0; j < k; j++)
        for (size_t i = 0; i < VL2_ATTN_KEYS; i++)
            out[j * VL2_ATTN_KEYS + i] =
                i < n ? ((const float *)((const char *)rows + i * stride))[j] : 0.0f;
}

static void transpose_bf16(float *out, const void *rows, size_t stride, size_t n, size_t k) {
    for (size_t j = 0; j < k; j++)
        for (size_t i = 0; i < VL2_ATTN_KEYS; i++)
            out[j * VL2_ATTN_KEYS + i] =
                i < n ? vl2_bf16_to_f32(((const uint16_t *)((const char *)rows + i * stride))[j])
                      : 0.0f;
}

static void scores_f32(float *s, const float *q, const void *rows, size_t stride, size_t n,
                       size_t k, const void *next) {
    (void)next;
    for (size_t i = 0; i < n; i++) {
        const float *row = (const float *)((const char *)rows + i * stride);
        s[i] = 0.0f;
        for (size_t j = 0; j < k; j++) s[i] += q[j] * row[j];
    }
}

static void scores_bf16(float *s, const float *q, const void *rows, size_t stride, size_t n,
                        size_t k, const void *next) {
    (void)next;
    for (size_t i = 0; i < n; i++) {
        const uint16_t *row = (const uint16_t *)((const char *)rows + i * stride);
        s[i] = 0.0f;
        for (size_t j = 0; j < k; j++) s[i] += q[j] * vl2_bf16_to_f32(row[j]);
    }
}

static void weighted_f32(float *o, const float *p, const void *rows, size_t stride, size_t n,
                         size_t k, const void *next) {
    (void)next;
    for (size_t j = 0; j < k; j++) o[j] = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const float *row = (const float *)((const char *)rows + i * stride);
        for (size_t j = 0; j < k; j++) o[j] += p[i] * row[j];
    }
}

static void weighted_bf16(float *o, const float *p, const void *rows, size_t stride, size_t n,
                          size_t k, const void *next) {
    (void)next;
    for (size_t j = 0; j < k; j++) o[j] = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const uint16_t *row = (const uint16_t *)((const char *)rows + i * stride);
        for (size_t j = 0; j < k; j++) o[j] += p[i] * vl2_bf16_to_f32(row[j]);
    }
}

void vl2_rows_c_fill(vl2_kernels *out) {
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
