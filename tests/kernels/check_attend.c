/* Attention by tiles: what the kernels bring into their form, one block against double and against each
 * query alone, two blocks merged, and the way out. */
#include "kernels/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = VL2_TILE_RUN, K_MOST = 128, V_MOST = 96, N_MOST = 256 };

typedef struct attend_case {
    size_t m, n, k_dim, v_dim, kp, vp, np;
    vl2_dtype type;
    float scale;
    float *q;                  /* [m, k_dim] */
    char *k, *v;               /* rows as a cache has them */
    size_t k_stride, v_stride; /* bytes */
    char *qp, *kp_rows, *v_turned;
    float *s, *o;
    void *p;
    int32_t seen[COLUMNS];
    float max[COLUMNS], sum[COLUMNS];
} attend_case;

static size_t up(size_t n, size_t step) { return (n + step - 1) / step * step; }

static void *room(size_t bytes) {
    void *p = aligned_alloc(64, up(bytes + 64, 64));
    if (!p) abort();
    memset(p, 0xff, up(bytes + 64, 64)); /* NaN where nothing is written */
    return p;
}

static char *rows(check *c, vl2_dtype type, size_t n, size_t width, size_t *stride) {
    size_t element = type == VL2_F32 ? 4 : 2;
    *stride = (width + 2) * element;
    char *out = room(n * *stride);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++) {
            float f = (float)check_random(c);
            uint16_t bits = vl2_f32_to_bf16(f);
            memcpy(out + i * *stride + j * element, type == VL2_F32 ? (void *)&f : (void *)&bits,
                   element);
        }
    return out;
}

/* What a value of a row counts as. */
static double at(vl2_dtype type, const char *data, size_t stride, size_t i, size_t j) {
    uint16_t bits;
    float f;
    if (type == VL2_F32) {
        memcpy(&f, data + i * stride + j * 4, sizeof f);
        bits = vl2_f32_to_bf16(f);
    } else {
        memcpy(&bits, data + i * stride + j * 2, sizeof bits);
    }
    return vl2_bf16_to_f32(bits);
}

static attend_case make(check *c, size_t m, size_t n, size_t k_dim, size_t v_dim, vl2_dtype type) {
    attend_case a = {.m = m, .n = n, .k_dim = k_dim, .v_dim = v_dim, .type = type};
    a.kp = up(k_dim, VL2_ATTEND_STEP);
    a.vp = up(v_dim, VL2_ATTEND_SIDE);
    a.np = up(n, VL2_ATTEND_STEP);
    a.scale = 0.4f;
    a.q = malloc(m * k_dim * sizeof *a.q);
    if (!a.q) abort();
    check_fill(c, a.q, m * k_dim, 0);
    a.k = rows(c, type, n, k_dim, &a.k_stride);
    a.v = rows(c, type, n, v_dim, &a.v_stride);
    a.qp = room(m * a.kp * 2);
    a.kp_rows = room(a.np * a.kp * 2);
    a.v_turned = room(a.vp * a.np * 2);
    a.s = room(a.np * COLUMNS * 4);
    a.p = room(a.np * COLUMNS * 2);
    a.o = room(a.vp * COLUMNS * 4);
    for (size_t i = 0; i < m; i++) /* some see all, some part, some nothing */
        a.seen[i] = (int32_t)(i % 3 == 0 ? n : i % 7 == 4 ? 0 : (i * 37) % (n + 1));
    c->k->attend.keys(a.kp_rows, a.k, a.k_stride, type, n, k_dim);
    c->k->attend.values(a.v_turned, a.v, a.v_stride, type, n, v_dim);
    return a;
}

static void drop(attend_case *a) {
    void *all[] = {a->q, a->k, a->v, a->qp, a->kp_rows, a->v_turned, a->s, a->p, a->o};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* Query rows [first, first+n) as a block of their own. */
static vl2_attend_block run(check *c, attend_case *a, size_t first, size_t n) {
    const float *q[COLUMNS];
    for (size_t i = 0; i < n; i++) q[i] = a->q + (first + i) * a->k_dim;
    for (size_t i = 0; i < n; i += VL2_TILE_ROWS)
        c->k->attend.queries(a->qp + i * a->kp * 2, q + i,
                             n - i < VL2_TILE_ROWS ? n - i : VL2_TILE_ROWS, a->k_dim);
    int32_t seen[COLUMNS] = {0};
    memcpy(seen, a->seen + first, n * sizeof *seen);
    vl2_attend_block b = {.q = a->qp,
                          .m = n,
                          .k = a->kp_rows,
                          .k_stride = a->kp * 2,
                          .v = a->v_turned,
                          .n = a->n,
                          .k_dim = a->k_dim,
                          .v_dim = a->v_dim,
                          .seen = seen,
                          .scale = a->scale,
                          .s = a->s,
                          .p = a->p,
                          .o = a->o,
                          .max = a->max,
                          .sum = a->sum};
    c->k->attend.block(&b);
    b.seen = a->seen + first;
    return b;
}

static void check_forms(check *c, const attend_case *a) {
    bool keys = true, values = true;
    for (size_t i = 0; i < a->np; i++) {
        for (size_t j = 0; j < a->kp; j++) {
            double e = i < a->n && j < a->k_dim ? at(a->type, a->k, a->k_stride, i, j) : 0.0;
            keys &= at(VL2_BF16, a->kp_rows, a->kp * 2, i, j) == e;
        }
        for (size_t j = 0; j < a->vp; j++) {
            double e = i < a->n && j < a->v_dim ? at(a->type, a->v, a->v_stride, i, j) : 0.0;
            values &= at(VL2_BF16, a->v_turned, a->np * 2, j, i) == e;
        }
    }
    check_that(c, keys, "attend keys n %zu k %zu", a->n, a->k_dim);
    check_that(c, values, "attend values n %zu v %zu", a->n, a->v_dim);
}

/* Query r in double: o unscaled by the sum, relative to the greatest score. */
static void exactly(const attend_case *a, size_t r, double *o, double *max, double *sum) {
    double s[N_MOST];
    *max = VL2_ATTEND_NOTHING;
    *sum = 0.0;
    for (size_t j = 0; j < a->v_dim; j++) o[j] = 0.0;
    for (size_t i = 0; i < (size_t)a->seen[r]; i++) {
        s[i] = 0.0;
        for (size_t l = 0; l < a->k_dim; l++)
            s[i] += (double)vl2_bf16_to_f32(vl2_f32_to_bf16(a->q[r * a->k_dim + l])) *
                    at(a->type, a->k, a->k_stride, i, l);
        s[i] *= (double)a->scale;
        *max = s[i] > *max ? s[i] : *max;
    }
    for (size_t i = 0; i < (size_t)a->seen[r]; i++) {
        double e = exp(s[i] - *max);
        *sum += e;
        for (size_t j = 0; j < a->v_dim; j++) o[j] += e * at(a->type, a->v, a->v_stride, i, j);
    }
}

static void check_block(check *c, attend_case *a) {
    double o[V_MOST], max, sum;
    float kept[V_MOST * COLUMNS], kept_max[COLUMNS], kept_sum[COLUMNS];
    bool near = true, same = true;
    run(c, a, 0, a->m);
    memcpy(kept, a->o, a->v_dim * COLUMNS * sizeof *kept);
    memcpy(kept_max, a->max, sizeof kept_max);
    memcpy(kept_sum, a->sum, sizeof kept_sum);
    for (size_t r = 0; r < a->m; r++) {
        exactly(a, r, o, &max, &sum);
        if (a->seen[r]) near &= fabs(kept_max[r] - max) <= 1e-5 * (1.0 + fabs(max));
        near &= fabs(kept_sum[r] - sum) <= 1e-5 * sum;
        for (size_t j = 0; j < a->v_dim; j++) /* weights have 8 bits */
            near &= fabs(kept[j * COLUMNS + r] - o[j]) <= 4e-3 * sum;
        run(c, a, r, 1);
        same &= a->max[0] == kept_max[r] && a->sum[0] == kept_sum[r];
        for (size_t j = 0; j < a->v_dim; j++) same &= a->o[j * COLUMNS] == kept[j * COLUMNS + r];
    }
    check_that(c, near, "attend m %zu n %zu k %zu v %zu: off", a->m, a->n, a->k_dim, a->v_dim);
    check_that(c, same, "attend m %zu n %zu k %zu v %zu: a query alone has other bits", a->m, a->n,
               a->k_dim, a->v_dim);
}

/* The way of one query, where the cache's rows need no padding. */
static void check_one(check *c, attend_case *a) {
    if (a->type != VL2_BF16 || a->k_dim != a->kp || a->v_dim % VL2_ATTEND_STEP) return;
    float *turned = room(a->np * a->v_dim * 2), *tail = room(VL2_ATTEND_STEP * a->k_dim * 2),
          *o = check_guarded(a->v_dim), max, sum;
    bool same = true;
    for (size_t r = 0; r < a->m; r++) {
        vl2_attend_block b = run(c, a, r, 1);
        float *columns = a->o;
        if (a->seen[r] == 0) continue; /* is not asked for */
        b.k = a->k;
        b.k_stride = a->k_stride;
        b.v = a->v;
        b.v_stride = a->v_stride;
        b.next_k = a->k;
        b.next_v = a->v;
        b.next_bytes = a->n * a->v_dim;
        b.turned = turned;
        b.tail = tail;
        b.o = o;
        b.max = &max;
        b.sum = &sum;
        c->k->attend.alone(&b);
        same &= max == a->max[0] && sum == a->sum[0];
        for (size_t j = 0; j < a->v_dim; j++) same &= o[j] == columns[j * COLUMNS];
    }
    check_that(c, same && check_intact(o, a->v_dim), "attend alone n %zu k %zu v %zu", a->n,
               a->k_dim, a->v_dim);
    check_free(o);
    free(turned);
    free(tail);
}

static void check_merge(check *c, size_t m, size_t v_dim) {
    float o[V_MOST * COLUMNS], p[V_MOST * COLUMNS], before[V_MOST * COLUMNS], one[V_MOST];
    float max[COLUMNS], sum[COLUMNS], p_max[COLUMNS], p_sum[COLUMNS], was[COLUMNS], had[COLUMNS];
    check_fill(c, o, v_dim * COLUMNS, 0);
    check_fill(c, p, v_dim * COLUMNS, 0);
    for (size_t i = 0; i < COLUMNS; i++) {
        was[i] = max[i] = (float)check_random(c) * 20.0f;
        had[i] = sum[i] = 1.0f + (float)check_random(c) / 2;
        p_max[i] = i % 5 == 3 ? VL2_ATTEND_NOTHING : (float)check_random(c) * 20.0f;
        p_sum[i] = i % 5 == 3 ? 0.0f : 1.0f;
        for (size_t j = 0; j < v_dim && i % 5 == 3; j++) p[j * COLUMNS + i] = 0.0f;
    }
    memcpy(before, o, sizeof before);
    c->k->attend.merge(o, max, sum, p, p_max, p_sum, m, v_dim);
    bool near = true, same = true;
    for (size_t i = 0; i < m; i++) {
        double top = fmax(was[i], p_max[i]), a = exp(was[i] - top), b = exp(p_max[i] - top);
        float one_max = was[i], one_sum = had[i], row[V_MOST];
        near &= max[i] == (float)top;
        near &= fabs(sum[i] - (had[i] * a + p_sum[i] * b)) <= 1e-6 * (had[i] + p_sum[i]);
        for (size_t j = 0; j < v_dim; j++) {
            one[j] = before[j * COLUMNS + i];
            row[j] = p[j * COLUMNS + i];
            near &= fabs(o[j * COLUMNS + i] - (one[j] * a + row[j] * b)) <= 2e-6;
        }
        if (v_dim % VL2_ATTEND_STEP) continue;
        c->k->attend.merge_alone(one, &one_max, &one_sum, row, p_max[i], p_sum[i], v_dim);
        same &= one_max == max[i] && one_sum == sum[i];
        for (size_t j = 0; j < v_dim; j++) same &= one[j] == o[j * COLUMNS + i];
    }
    check_that(c, near, "attend merge m %zu v %zu: off", m, v_dim);
    check_that(c, same, "attend merge m %zu v %zu: alone has other bits", m, v_dim);
}

static void check_finish(check *c, size_t m, size_t v_dim) {
    float o[V_MOST * COLUMNS], sum[COLUMNS], *out[COLUMNS];
    check_fill(c, o, v_dim * COLUMNS, 0);
    for (size_t i = 0; i < COLUMNS; i++) sum[i] = 1.0f + (float)i;
    for (size_t i = 0; i < m; i++) out[i] = check_guarded(v_dim);
    c->k->attend.finish(out, o, sum, m, v_dim);
    bool near = true;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < v_dim; j++)
            near &= fabs(out[i][j] - o[j * COLUMNS + i] / sum[i]) <= 2e-7;
        near &= check_intact(out[i], v_dim);
        check_free(out[i]);
    }
    check_that(c, near, "attend finish m %zu v %zu", m, v_dim);
}

void check_attend(check *c) {
    static const size_t MS[] = {1, 2, 15, 16, 17, 31, 32}, NS[] = {1, 7, 32, 33, 64, 100, 256};
    static const size_t KS[] = {5, 18, 32, 64, 72, 128}, VS[] = {11, 16, 32, 64, 72, 96};
    const size_t n_ns = sizeof NS / sizeof *NS, n_ks = sizeof KS / sizeof *KS;
    check_start(c, "attend");
    if (!c->k->attend.block) return;
    for (size_t i = 0; i < sizeof MS / sizeof *MS; i++) {
        for (size_t j = 0; j < n_ns * n_ks; j++) {
            if ((i + j) % 3) continue; /* a third of all, with every pair of sizes */
            vl2_dtype type = j % 2 ? VL2_BF16 : VL2_F32;
            attend_case a = make(c, MS[i], NS[j % n_ns], KS[j / n_ns], VS[(i + j) % n_ks], type);
            check_forms(c, &a);
            check_block(c, &a);
            check_one(c, &a);
            drop(&a);
        }
        attend_case a = make(c, MS[i], NS[i], 64, 96, VL2_BF16);
        check_block(c, &a);
        check_one(c, &a);
        drop(&a);
        for (size_t v = 0; v < n_ks; v++) check_merge(c, MS[i], VS[v]);
        for (size_t v = 0; v < n_ks; v++) check_finish(c, MS[i], VS[v]);
    }
}
