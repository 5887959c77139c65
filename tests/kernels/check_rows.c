/* Rows. Every kernel is compared with plain C; activations and exp also with double, to 1e-6 of the
 * value or of 1. Bounds are a few roundings (norms: of sums of n terms, in 4 or more chains). */
#include "kernels/check.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_N = 300 };

typedef struct row { /* inputs and guarded outputs of n floats */
    size_t n;
    float *x, *w, *b, *y, *e;
} row;

static row make(check *c, size_t n, int how) {
    row r = {n,
             check_guarded(n),
             check_guarded(n),
             check_guarded(n),
             check_guarded(n),
             check_guarded(n)};
    check_fill(c, r.x, n, how);
    check_fill(c, r.w, n, 0);
    check_fill(c, r.b, n, 0);
    check_fill(c, r.y, n, 0);
    memcpy(r.e, r.y, n * sizeof *r.y);
    return r;
}

static void drop(row *r) {
    float *all[] = {r->x, r->w, r->b, r->y, r->e};
    for (size_t i = 0; i < 5; i++) check_free(all[i]);
}

/* y against e: within `eps` of the value or of `size`, margins untouched. */
static void compare(check *c, const row *r, double eps, double size, int how) {
    bool near = true;
    double worst = 0.0;
    for (size_t i = 0; i < r->n; i++) {
        double off = fabs((double)r->y[i] - r->e[i]), bound = eps * (fabs((double)r->e[i]) + size);
        if (!(off <= bound)) near = false;
        if (off > worst) worst = off;
    }
    check_that(c, near, "n %zu pattern %d: off by %.3g", r->n, how, worst);
    check_that(c, check_intact(r->y, r->n), "n %zu: wrote outside", r->n);
}

static double activation(vl2_epilogue act, double x) {
    switch (act) {
    case VL2_EPI_NONE: return x;
    case VL2_EPI_ADD: return x;
    case VL2_EPI_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case VL2_EPI_GELU_ERF: return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case VL2_EPI_SILU: return x / (1.0 + exp(-x));
    case VL2_EPI_RELU: return x > 0.0 ? x : 0.0;
    }
    return 0.0;
}

static void check_finish(check *c, size_t n, int how) {
    static const char *const NAMES[] = {"finish none",     "finish add",  "finish gelu_tanh",
                                        "finish gelu_erf", "finish silu", "finish relu"};
    for (int act = VL2_EPI_NONE; act <= VL2_EPI_RELU; act++)
        for (int biased = 0; biased < 2; biased++) {
            check_start(c, NAMES[act]);
            row r = make(c, n, how);
            for (size_t i = 0; i < n && how == 0; i++) r.x[i] *= (float)(1 + i % 13);
            const float *b = biased ? r.b : NULL;
            for (size_t i = 0; i < n; i++) {
                float in = b ? r.x[i] + b[i] : r.x[i];
                double out = activation((vl2_epilogue)act, in);
                r.e[i] = (float)(act == VL2_EPI_ADD ? (double)(r.e[i] + in) : out);
            }
            c->k->finish[act](r.y, r.x, b, n);
            compare(c, &r, 1e-6, 1.0, how);
            drop(&r);
        }
}

static void check_gate(check *c, size_t n, int how) {
    for (int act = VL2_EPI_GELU_TANH; act <= VL2_EPI_RELU; act++) {
        check_start(c, "gate");
        row r = make(c, n, how);
        for (size_t i = 0; i < n; i++)
            r.e[i] = (float)(activation((vl2_epilogue)act, r.x[i]) * r.w[i]);
        c->k->gate[act](r.y, r.x, r.w, n);
        compare(c, &r, 1e-6, 1.0, how);
        drop(&r);
    }
}

static void check_norms(check *c, size_t n) {
    check_start(c, "rmsnorm");
    row r = make(c, n, 0);
    c->plain->rmsnorm(r.e, r.x, r.w, n, 1e-6f);
    c->k->rmsnorm(r.y, r.x, r.w, n, 1e-6f);
    compare(c, &r, 2e-6, 0.0, 0);
    for (int biased = 0; biased < 2; biased++) {
        check_start(c, "layernorm");
        for (size_t i = 0; i < n; i++) r.x[i] += 0.5f;
        c->plain->layernorm(r.e, r.x, r.w, biased ? r.b : NULL, n, 1e-6f);
        c->k->layernorm(r.y, r.x, r.w, biased ? r.b : NULL, n, 1e-6f);
        compare(c, &r, 2e-6, n == 1 ? 1.0 : 4.0, 0);
    }
    drop(&r);
}

static void check_rope(check *c, size_t half) {
    for (int pairs = 0; pairs < 2; pairs++) {
        check_start(c, pairs ? "rope_pairs" : "rope_halves");
        row r = make(c, 2 * half, 0);
        float *cosine = malloc(half * sizeof(float)), *sine = malloc(half * sizeof(float));
        if (!cosine || !sine) abort();
        check_fill(c, cosine, half, 0);
        check_fill(c, sine, half, 0);
        (pairs ? c->plain->rope_pairs : c->plain->rope_halves)(r.e, cosine, sine, half);
        (pairs ? c->k->rope_pairs : c->k->rope_halves)(r.y, cosine, sine, half);
        compare(c, &r, 2 * FLT_EPSILON, 1.0, 0);
        free(cosine);
        free(sine);
        drop(&r);
    }
}

static void check_softmax(check *c, size_t n, float spread) {
    check_start(c, "softmax");
    row r = make(c, VL2_ATTN_KEYS, 0);
    for (size_t i = 0; i < VL2_ATTN_KEYS; i++) r.y[i] *= spread;
    float max, sum, scale = 0.117f, top = -INFINITY;
    double total = 0.0;
    for (size_t i = 0; i < n; i++)
        if (r.y[i] * scale > top) top = r.y[i] * scale;
    for (size_t i = 0; i < VL2_ATTN_KEYS; i++) {
        double e = i < n ? exp((double)(r.y[i] * scale) - top) : 0.0;
        r.e[i] = (float)e;
        total += e;
    }
    float *before = malloc(VL2_ATTN_KEYS * sizeof *before);
    if (!before) abort();
    memcpy(before, r.y, VL2_ATTN_KEYS * sizeof *before);
    c->k->softmax(r.y, n, scale, &max, &sum);
    bool near = true; /* the argument is rounded, and exp turns that into a relative error */
    for (size_t i = 0; i < n; i++) {
        double argument = (double)(before[i] * scale) - top;
        double bound = r.e[i] * (4.0 - argument) * FLT_EPSILON + 2e-38;
        near &= fabs((double)r.y[i] - r.e[i]) <= bound;
    }
    free(before);
    check_that(c, near && check_intact(r.y, VL2_ATTN_KEYS), "n %zu spread %g: off", n,
               (double)spread);
    check_that(c, max == top, "n %zu: max %g, not %g", n, (double)max, (double)top);
    check_that(c, fabs(sum - total) <= 3e-6 * total, "n %zu: sum %g, not %g", n, (double)sum,
               total);
    bool zero = true;
    for (size_t i = n; i < VL2_ATTN_KEYS; i++) zero &= r.y[i] == 0.0f;
    check_that(c, zero, "n %zu: what is not seen is not 0", n);
    drop(&r);
}

static void check_simple(check *c, size_t n) {
    row r = make(c, n, 0);
    check_start(c, "blend");
    c->plain->blend(r.e, r.x, n, 0.7f, 0.3f);
    c->k->blend(r.y, r.x, n, 0.7f, 0.3f);
    compare(c, &r, 2 * FLT_EPSILON, 1.0, 0);
    check_start(c, "axpy");
    c->plain->axpy(r.e, r.x, n, -1.3f);
    c->k->axpy(r.y, r.x, n, -1.3f);
    compare(c, &r, 4 * FLT_EPSILON, 1.0, 0);
    check_start(c, "scale");
    c->plain->scale(r.e, r.x, n, 0.3f);
    c->k->scale(r.y, r.x, n, 0.3f);
    compare(c, &r, 0.0, 0.0, 0);
    drop(&r);
}

static void check_bf16(check *c, size_t n) {
    check_start(c, "to_bf16");
    row r = make(c, n, 0);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)(int64_t)(check_random(c) * 2147483647.0);
        if (i % 7 == 0) bits |= 0x7f800000u; /* infinities and NaN */
        memcpy(&r.x[i], &bits, sizeof bits);
    }
    c->plain->to_bf16((uint16_t *)(void *)r.e, r.x, n);
    c->k->to_bf16((uint16_t *)(void *)r.y, r.x, n);
    check_that(c, memcmp(r.e, r.y, n * sizeof(uint16_t)) == 0 && check_intact(r.y, n), "n %zu", n);
    drop(&r);
}

void check_rows(check *c) {
    for (size_t n = 1; n < MAX_N; n += n < 70 ? 1 : 23) {
        for (int how = 0; how < CHECK_PATTERNS; how++) {
            check_finish(c, n, how);
            check_gate(c, n, how);
        }
        check_norms(c, n);
        check_simple(c, n);
        check_bf16(c, n);
        check_rope(c, n);
    }
    for (size_t n = 1; n <= VL2_ATTN_KEYS; n++) {
        check_softmax(c, n, 1.0f);
        check_softmax(c, n, 100.0f);
        check_softmax(c, n, 600.0f);
    }
}
