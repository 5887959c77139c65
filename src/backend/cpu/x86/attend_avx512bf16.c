/* Attention over one block of keys by vdpbf16ps: attend_avx512.h with its two products, in which a lane
 * is a query, and a pair of a key's (or of a value's) elements goes to all lanes. A lane's sum is one chain
 * over the pairs, so a query has the same bits beside any others. */
#include "backend/cpu/x86/x86.h"

#include "backend/cpu/x86/attend_avx512.h"
#include "backend/cpu/x86/dpbf16.h"

#include "backend/cpu/unroll.h"

enum { ROWS = 8 }; /* of keys or values, whose sums stay in registers */

/* out [rows, COLUMNS] = a [rows, pairs] times x [pairs, m0] and [pairs, m1] beside it; strides in bytes */
typedef struct sides {
    const char *a, *x0, *x1;
    size_t a_stride, x0_stride, x1_stride, pairs;
    __mmask16 m0, m1;
} sides;

INLINE __m512i pair_of(const char *p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_set1_epi32(pair);
}

INLINE __m512i line_of(__mmask16 m, const char *p) {
    return _mm512_castps_si512(_mm512_maskz_loadu_ps(m, (const float *)(const void *)p));
}

INLINE void multiply(float *out, const sides *p, const bool both) {
    __m512 sum0[ROWS], sum1[ROWS];
    VL2_EACH(r, ROWS) sum0[r] = sum1[r] = _mm512_setzero_ps();
    for (size_t i = 0; i < p->pairs; i++) {
        const __m512i x0 = line_of(p->m0, p->x0 + i * p->x0_stride);
        const __m512i x1 = both ? line_of(p->m1, p->x1 + i * p->x1_stride) : x0;
        VL2_EACH(r, ROWS) {
            const __m512i a = pair_of(p->a + (size_t)r * p->a_stride + 4 * i);
            sum0[r] = vl2_dpbf16(sum0[r], x0, a);
            if (both) sum1[r] = vl2_dpbf16(sum1[r], x1, a);
        }
    }
    VL2_EACH(r, ROWS) {
        v_store(out + r * COLUMNS, sum0[r]);
        if (both) v_store(out + r * COLUMNS + SIDE, sum1[r]);
    }
}

static void multiply_rows(float *out, sides p, size_t rows, bool both) {
    for (size_t i = 0; i < rows; i += ROWS, p.a += ROWS * p.a_stride) {
        if (both)
            multiply(out + i * COLUMNS, &p, true);
        else
            multiply(out + i * COLUMNS, &p, false);
    }
}

static void block(const vl2_attend_block *b) {
    const size_t m0 = least(b->m, SIDE), m1 = b->m - m0, n = up(b->n, STEP),
                 kp = up(b->k_dim, STEP);
    size_t all = b->n;
    for (size_t i = 0; i < b->m; i++) all = least(all, (size_t)b->seen[i]);
    const sides score = {.a = b->k,
                         .a_stride = b->k_stride,
                         .x0 = b->q,
                         .x0_stride = 4 * m0,
                         .m0 = v_mask(m0),
                         .x1 = (const char *)b->q + kp * m0 * 2,
                         .x1_stride = 4 * m1,
                         .m1 = v_mask(m1),
                         .pairs = (b->k_dim + 1) / 2};
    multiply_rows(b->s, score, n, m1 > 0);
    softmax(b, 0, n, all);
    if (m1) softmax(b, SIDE, n, all);
    const sides weigh = {.a = b->v,
                         .a_stride = n * 2,
                         .x0 = (const char *)b->p,
                         .x0_stride = LINE,
                         .m0 = v_mask(SIDE),
                         .x1 = (const char *)b->p + SIDE * 4,
                         .x1_stride = LINE,
                         .m1 = v_mask(SIDE),
                         .pairs = n / 2};
    multiply_rows(b->o, weigh, up(b->v_dim, ROWS), m1 > 0);
}

/* ---- one query ----------------------------------------------------------------------------------- */

/* Scores of sixteen keys, a lane each: those from `left` on are of no use. */
INLINE void score_keys(const vl2_attend_block *b, size_t t, size_t left, ahead *next) {
    const char *rows = (const char *)b->k + t * b->k_stride;
    const size_t steps = up(b->n, SIDE) / SIDE * (b->k_dim / STEP);
    __m512 sum = _mm512_setzero_ps();
    for (size_t i = 0; i < b->k_dim; i += STEP) {
        vf a[SIDE];
        for (size_t r = 0; r < SIDE; r++) /* the last one again where there are no more */
            a[r] = _mm512_loadu_ps(rows + least(r, left - 1) * b->k_stride + 2 * i);
        v_transpose(a);
        for (size_t p = 0; p < SIDE; p++)
            sum = vl2_dpbf16(sum, pair_of((const char *)b->q + 2 * i + 4 * p),
                             _mm512_castps_si512(a[p]));
        ask(next, steps);
    }
    v_store(b->s + t, sum);
}

/* o from j on, `sums` vectors of it. */
INLINE void weigh_values(const vl2_attend_block *b, size_t j, size_t n, const int sums,
                         ahead *next) {
    __m512 sum[4];
    const char *v = (const char *)b->turned + 4 * j;
    VL2_EACH(i, sums) sum[i] = _mm512_setzero_ps();
    for (size_t t = 0; t < n; t += 2, v += 4 * b->v_dim) {
        ask(next, n / 2 * ((b->v_dim + 4 * SIDE - 1) / (4 * SIDE)));
        const __m512i p = pair_of((const char *)b->p + 2 * t);
        VL2_EACH(i, sums) sum[i] = vl2_dpbf16(sum[i], p, _mm512_loadu_si512(v + 4 * SIDE * i));
    }
    VL2_EACH(i, sums) v_store(b->o + j + SIDE * (size_t)i, sum[i]);
}

static void alone(const vl2_attend_block *b) {
    const size_t n = up(b->n, STEP);
    size_t j = 0;
    ahead next = ahead_of(b);
    for (size_t t = 0; t < n; t += SIDE) {
        if (t < b->n)
            score_keys(b, t, b->n - t, &next);
        else
            v_store(b->s + t, v_set(0.0f));
    }
    softmax_alone(b, n);
    pair_values(b, n, &next);
    for (; j + 4 * SIDE <= b->v_dim; j += 4 * SIDE) weigh_values(b, j, n, 4, &next);
    if (j < b->v_dim) weigh_values(b, j, n, 2, &next);
}

void vl2_attend_avx512bf16_fill(vl2_kernels *out) {
    out->attend = (vl2_attend){.queries = pack_columns,
                               .keys = keys,
                               .values = values,
                               .block = block,
                               .alone = alone,
                               .merge = merge,
                               .merge_alone = merge_alone,
                               .finish = finish};
}
