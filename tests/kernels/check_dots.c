/* Products. The bound: a sum of k products in float32, in any order, is within
 * (k/lanes + 12) * eps * sum |x||w| of the exact one; all orders here have at least 8 lanes, blocks
 * add a term each. Plain double on the very values that the kernel sees is the exact one. */
#include "kernels/check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct product {
    size_t m, n, k, stride; /* stride: bytes */
    vl2_dtype type;
    bool rounds, add;
    float *x;      /* [m, k] */
    char *w;       /* rows, `offset` bytes off any alignment but the element's */
    char *xp, *wp; /* packed, one block */
    char *w_memory;
} product;

static size_t element(vl2_dtype type) { return type == VL2_F32 ? 4 : 2; }

static float weight(const product *p, size_t j, size_t i) {
    const char *at = p->w + j * p->stride + i * element(p->type);
    if (p->type == VL2_F32) {
        float f;
        memcpy(&f, at, sizeof f);
        return f;
    }
    uint16_t bits;
    memcpy(&bits, at, sizeof bits);
    return p->type == VL2_F16 ? vl2_f16_to_f32(bits) : vl2_bf16_to_f32(bits);
}

static void set_weight(const product *p, size_t j, size_t i, float value) {
    char *at = p->w + j * p->stride + i * element(p->type);
    if (p->type == VL2_F32) {
        memcpy(at, &value, sizeof value);
        return;
    }
    uint16_t bits = p->type == VL2_F16 ? vl2_f32_to_f16(value) : vl2_f32_to_bf16(value);
    memcpy(at, &bits, sizeof bits);
}

static product make(check *c, const vl2_dot *dot, vl2_dtype type, bool rounds, size_t m, size_t n,
                    size_t k, int how) {
    product p = {.m = m, .n = n, .k = k, .type = type, .rounds = rounds};
    p.stride = (k + 3) * element(type);
    p.x = malloc(m * k * sizeof *p.x);
    p.w_memory = malloc(n * p.stride + 64);
    size_t kp = vl2_dot_padded(dot, k);
    p.xp = aligned_alloc(64, (m * kp * dot->x_bytes + 63) / 64 * 64);
    p.wp = aligned_alloc(64, (n * kp * dot->w_bytes + 63) / 64 * 64);
    if (!p.x || !p.w_memory || !p.xp || !p.wp) abort();
    p.w = p.w_memory + 2 * element(type) + (type == VL2_F32 ? 4 : 2);
    float *row = malloc(k * sizeof *row);
    if (!row) abort();
    check_fill(c, p.x, m * k, how);
    for (size_t j = 0; j < n; j++) {
        check_fill(c, row, k, how == 2 ? 0 : how);
        for (size_t i = 0; i < k; i++) set_weight(&p, j, i, row[i]);
    }
    free(row);
    for (size_t i = 0; i < m; i++) dot->pack_x(p.xp + i * kp * dot->x_bytes, p.x + i * k, k);
    for (size_t j = 0; j < n; j++) dot->pack_w(p.wp + j * kp * dot->w_bytes, p.w + j * p.stride, k);
    return p;
}

static void drop(product *p) {
    free(p->x);
    free(p->w_memory);
    free(p->xp);
    free(p->wp);
}

/* Output (i, j) in double, and what an error may be. */
static double exact(const product *p, size_t i, size_t j, double before, double *bound) {
    double sum = 0.0, size = 0.0;
    for (size_t l = 0; l < p->k; l++) {
        float x = p->x[i * p->k + l];
        if (p->rounds) x = vl2_bf16_to_f32(vl2_f32_to_bf16(x));
        double term = (double)x * weight(p, j, l);
        sum += term;
        size += fabs(term);
    }
    *bound = ((double)p->k / 8 + 12) * FLT_EPSILON * (size + fabs(before)) +
             (double)p->k * 4 * FLT_MIN; /* products below FLT_MIN may be flushed or rounded away */
    return before + sum;
}

static void run(const vl2_dot *dot, const product *p, float *y, size_t ldy, bool direct) {
    if (direct)
        dot->direct(y, ldy, p->xp, p->m, p->w, p->stride, p->n, p->k, p->add);
    else
        dot->packed(y, ldy, p->xp, p->m, p->wp, p->n, p->k, p->add);
}

/* Values, margins between and around the rows; then each row alone, bit for bit. */
static void compare(check *c, const vl2_dot *dot, const product *p, bool direct) {
    size_t ldy = p->n + 5, size = (p->m - 1) * ldy + p->n;
    float *y = check_guarded(size), *one = check_guarded(p->n);
    const float poison = y[-1], before = 0.25f;
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n && p->add; j++) y[i * ldy + j] = before;
    run(dot, p, y, ldy, direct);
    double worst = 0.0;
    bool near = true, kept = check_intact(y, size), same = true;
    for (size_t i = 0; i < p->m; i++) {
        for (size_t j = 0; j < p->n; j++) {
            double bound, e = exact(p, i, j, p->add ? before : 0.0, &bound);
            double off = fabs(y[i * ldy + j] - e);
            if (!(off <= bound)) near = false;
            if (off / bound > worst) worst = off / bound;
        }
        for (size_t j = p->n; j < ldy && i + 1 < p->m; j++) kept &= y[i * ldy + j] == poison;
        product row = *p;
        row.m = 1;
        row.xp = p->xp + i * vl2_dot_padded(dot, p->k) * dot->x_bytes;
        for (size_t j = 0; j < p->n && p->add; j++) one[j] = before;
        run(dot, &row, one, p->n, !direct);
        same &= memcmp(one, y + i * ldy, p->n * sizeof *one) == 0;
        kept &= check_intact(one, p->n);
    }
    const char *way = direct ? "direct" : "packed";
    const char *type = vl2_dtype_of(p->type)->name;
    check_that(c, near, "%s %s%s m %zu n %zu k %zu add %d: %.3g times the bound", way, type,
               p->rounds ? " rounded" : "", p->m, p->n, p->k, p->add, worst);
    check_that(c, kept, "%s %s m %zu n %zu k %zu: wrote outside", way, type, p->m, p->n, p->k);
    check_that(c, same, "%s %s m %zu n %zu k %zu: a row alone has other bits", way, type, p->m,
               p->n, p->k);
    check_free(y);
    check_free(one);
}

static void check_dot(check *c, const vl2_dot *dot, vl2_dtype type, bool rounds) {
    static const size_t KS[] = {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 72, 127, 448, 577, 640};
    static const size_t SIZES[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17};
    size_t n_sizes = sizeof SIZES / sizeof *SIZES, n_ks = sizeof KS / sizeof *KS;
    for (size_t a = 0; a < n_sizes; a++)
        for (size_t b = 0; b < n_sizes; b++) {
            size_t k = KS[(a * n_sizes + b) % n_ks];
            int how = type == VL2_F16 ? 0 : (int)((a + b) % CHECK_PATTERNS);
            product p = make(c, dot, type, rounds, SIZES[a], SIZES[b], k, how);
            p.add = (a + b) % 2;
            compare(c, dot, &p, false);
            compare(c, dot, &p, true);
            drop(&p);
        }
    for (size_t i = 0; i < n_ks; i++) {
        product p = make(c, dot, type, rounds, 3, 9, KS[i], 0);
        compare(c, dot, &p, false);
        compare(c, dot, &p, true);
        drop(&p);
    }
}

/* ---- outer, widen, transpose -------------------------------------------------------------------- */

static void check_outer(check *c, size_t m, size_t n, size_t k) {
    float *a = malloc(m * k * sizeof *a), *b = malloc(k * n * sizeof *b);
    if (!a || !b) abort();
    check_fill(c, a, m * k, 0);
    check_fill(c, b, k * n, 0);
    const float *rows[VL2_ATTN_ROWS];
    for (size_t i = 0; i < m; i++) rows[i] = a + (m - 1 - i) * k;
    float *y = check_guarded(m * n), *one = check_guarded(n);
    c->k->outer(y, n, rows, m, b, n, n, k);
    bool near = true, same = true;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0.0, size = 0.0;
            for (size_t l = 0; l < k; l++) {
                double term = (double)rows[i][l] * b[l * n + j];
                sum += term;
                size += fabs(term);
            }
            near &= fabs(y[i * n + j] - sum) <= (double)(k + 4) * FLT_EPSILON * size;
        }
        c->k->outer(one, n, rows + i, 1, b, n, n, k);
        same &= memcmp(one, y + i * n, n * sizeof *one) == 0;
    }
    check_that(c, near, "outer m %zu n %zu k %zu: off", m, n, k);
    check_that(c, same, "outer m %zu n %zu k %zu: a row alone has other bits", m, n, k);
    check_that(c, check_intact(y, m * n) && check_intact(one, n),
               "outer m %zu n %zu k %zu: wrote outside", m, n, k);
    check_free(y);
    check_free(one);
    free(a);
    free(b);
}

static void check_widen(check *c, vl2_dtype type, size_t n) {
    char *row = malloc(n * 4 + 8), *at = row + element(type);
    if (!row) abort();
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)(int64_t)(check_random(c) * 2147483647.0);
        if (i % 5 == 0) bits &= 0x807f807fu; /* denormals */
        memcpy(at + i * element(type), &bits, element(type));
    }
    float *y = check_guarded(n), *e = check_guarded(n);
    c->k->widen[type](y, at, n);
    c->plain->widen[type](e, at, n);
    bool same = true;
    for (size_t i = 0; i < n; i++)
        same &= memcmp(&y[i], &e[i], 4) == 0 || (isnan(y[i]) && isnan(e[i]));
    check_that(c, same && check_intact(y, n), "widen %s n %zu", vl2_dtype_of(type)->name, n);
    check_free(y);
    check_free(e);
    free(row);
}

static void check_transpose(check *c, vl2_dtype type, size_t n, size_t k) {
    size_t stride = (k + 3) * element(type), size = k * VL2_ATTN_KEYS;
    char *rows = malloc(n * stride + 8);
    if (!rows) abort();
    for (size_t i = 0; i < n * stride / 2; i++) {
        uint16_t bits = vl2_f32_to_bf16((float)check_random(c));
        memcpy(rows + 2 * i, &bits, 2);
    }
    float *y = check_guarded(size), *e = check_guarded(size);
    c->k->transpose[type](y, rows, stride, n, k);
    c->plain->transpose[type](e, rows, stride, n, k);
    check_that(c, memcmp(y, e, size * sizeof *y) == 0 && check_intact(y, size),
               "transpose %s n %zu k %zu", vl2_dtype_of(type)->name, n, k);
    check_free(y);
    check_free(e);
    free(rows);
}

/* One row straight from the cache: the bits of `outer` over what is transposed and widened. */
static void check_alone(check *c, vl2_dtype type, size_t n, size_t k) {
    size_t stride = (k + 3) * element(type), kp = (k + 15) / 16 * 16;
    char *rows = malloc(VL2_ATTN_KEYS * stride + 8);
    float *q = malloc(k * sizeof *q), *kt = malloc(k * VL2_ATTN_KEYS * sizeof *kt);
    float *wide = calloc(VL2_ATTN_KEYS * kp, sizeof *wide);
    if (!rows || !q || !kt || !wide) abort();
    check_fill(c, q, k, 0);
    for (size_t i = 0; i < VL2_ATTN_KEYS * (k + 3); i++) {
        float f = (float)check_random(c);
        uint16_t bits = vl2_f32_to_bf16(f);
        memcpy(rows + i * element(type), type == VL2_F32 ? (void *)&f : (void *)&bits,
               element(type));
    }
    float *s = check_guarded(VL2_ATTN_KEYS), *e = check_guarded(VL2_ATTN_KEYS);
    const float *row = q;
    c->k->transpose[type](kt, rows, stride, n, k);
    c->k->outer(e, VL2_ATTN_KEYS, &row, 1, kt, VL2_ATTN_KEYS, VL2_ATTN_KEYS, k);
    c->k->scores[type](s, q, rows, stride, n, k, n % 2 ? rows : NULL);
    check_that(c, memcmp(s, e, n * sizeof *s) == 0 && check_intact(s, VL2_ATTN_KEYS),
               "scores %s n %zu k %zu", vl2_dtype_of(type)->name, n, k);
    float *o = check_guarded(k), *f = check_guarded(kp);
    row = e;
    for (size_t i = 0; i < n; i++) c->k->widen[type](wide + i * kp, rows + i * stride, k);
    c->k->outer(f, kp, &row, 1, wide, kp, kp, n);
    c->k->weighted[type](o, e, rows, stride, n, k, n % 2 ? rows : NULL);
    check_that(c, memcmp(o, f, k * sizeof *o) == 0 && check_intact(o, k), "weighted %s n %zu k %zu",
               vl2_dtype_of(type)->name, n, k);
    float *guarded[] = {s, e, o, f};
    for (size_t i = 0; i < 4; i++) check_free(guarded[i]);
    free(rows);
    free(q);
    free(kt);
    free(wide);
}

void check_dots(check *c) {
    for (int t = 0; t < VL2_WEIGHT_TYPES; t++) {
        check_start(c, "product");
        check_dot(c, &c->k->exact[t], (vl2_dtype)t, false);
        if (memcmp(&c->k->exact[t], &c->k->fast[t], sizeof c->k->fast[t]) != 0)
            check_dot(c, &c->k->fast[t], (vl2_dtype)t, c->k->fast[t].x_bytes == 2);
        check_start(c, "widen");
        for (size_t n = 1; n < 70; n++) check_widen(c, (vl2_dtype)t, n);
        check_start(c, "transpose");
        if (!c->k->transpose[t]) continue;
        for (size_t n = 1; n <= VL2_ATTN_KEYS; n += n < 20 ? 3 : 11)
            for (size_t k = 1; k < 150; k += k < 20 ? 3 : 13) check_alone(c, (vl2_dtype)t, n, k);
        for (size_t n = 1; n <= VL2_ATTN_KEYS; n += n < 20 ? 1 : 11)
            for (size_t k = 1; k < 90; k += k < 20 ? 3 : 13) check_transpose(c, (vl2_dtype)t, n, k);
    }
    check_start(c, "outer");
    for (size_t m = 1; m <= VL2_ATTN_ROWS; m++)
        for (size_t n = 16; n <= 160; n += 16) check_outer(c, m, n, 1 + (m * 7 + n) % 75);
}
