/* model/quantize_lanes.h - the search for scales, several blocks side by side.
 *
 * One body for all instruction sets: quantize_plain.c and quantize_avx2.c include it, compiled for
 * their level. A lane of a vector belongs to a block of 32, or to a sub-block of a super-block, and
 * nothing is summed across lanes. Each operation is one IEEE rounding, in one order: all levels
 * write the same bytes. */
#ifndef VL2_MODEL_QUANTIZE_LANES_H
#define VL2_MODEL_QUANTIZE_LANES_H

#include "model/quant.h"

#include <float.h>
#include <math.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX2__)
enum { LANES = 8 };
typedef float lanes __attribute__((vector_size(32)));
typedef int32_t masks __attribute__((vector_size(32)));
#else
enum { LANES = 4 };
typedef float lanes __attribute__((vector_size(16)));
typedef int32_t masks __attribute__((vector_size(16)));
#endif
enum { SUB = 32, SMALL = 16, GROUP = VL2_QUANT_SUPER };

static inline lanes splat(float x) { return x - (lanes){0}; }

static inline lanes pick(masks m, lanes yes, lanes no) {
    return (lanes)(((masks)yes & m) | ((masks)no & ~m));
}

static inline lanes least(lanes a, lanes b) {
#if defined(__AVX2__)
    return _mm256_min_ps(a, b);
#elif defined(__SSE2__)
    return _mm_min_ps(a, b);
#else
    return pick(a < b, a, b);
#endif
}

static inline lanes most(lanes a, lanes b) {
#if defined(__AVX2__)
    return _mm256_max_ps(a, b);
#elif defined(__SSE2__)
    return _mm_max_ps(a, b);
#else
    return pick(a > b, a, b);
#endif
}

static inline lanes size_of(lanes x) { return (lanes)((masks)x & 0x7fffffff); }

/* Nearest whole number, ties to even, for |x| < 2^22; beyond that still near. */
static inline lanes nearest(lanes x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: what is behind the point does not fit */
    return (x + magic) - magic;
}

static inline lanes nearest_within(lanes x, float low, float high) {
    return least(most(nearest(x), splat(low)), splat(high));
}

/* 1 / x, and 0 where x is 0 */
static inline lanes inverse_of(lanes x) { return pick(x != 0, 1 / x, splat(0)); }

/* A half-precision number, as the file will have it. */
static inline float as_half(float x) {
    x = x < -65504 ? -65504 : (x > 65504 ? 65504 : x);
    return vl2_f16_to_f32(vl2_f32_to_f16(x));
}

static inline lanes as_halves(lanes x) {
    for (int j = 0; j < LANES; j++) x[j] = as_half(x[j]);
    return x;
}

/* Numbers of a row, and how much the square of each one's error counts. */
typedef struct group {
    float x[GROUP], w[GROUP];
} group;

/* n numbers of each of LANES blocks, and their weights. */
typedef struct columns {
    lanes x[SUB], w[SUB];
} columns;

static inline void turn(lanes *out, const float *x, int first, int n) {
    float turned[SUB][LANES];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < LANES; j++) turned[i][j] = x[(first + j) * n + i];
    memcpy(out, turned, (size_t)n * sizeof *out);
}

/* Blocks `first` and on of a group. */
static inline void load_columns(columns *c, const group *g, int first, int n) {
    turn(c->x, g->x, first, n);
    turn(c->w, g->w, first, n);
}

/* q[block][i] = the whole numbers in v[i] */
static inline void store_columns(uint8_t *q, const lanes *v, int first, int n) {
    int32_t whole[SUB][LANES];
    for (int i = 0; i < n; i++) {
        masks m = __builtin_convertvector(v[i], masks);
        memcpy(whole[i], &m, sizeof m);
    }
    for (int j = 0; j < LANES; j++)
        for (int i = 0; i < n; i++) q[(first + j) * n + i] = (uint8_t)whole[i][j];
}

/* ---- scales around zero: x ~ d * q, low <= q <= high --------------------------------------------- */

typedef struct levels {
    float low, high;
} levels;

typedef struct fitness { /* of rounded numbers q to x: the error is sum wx^2 - xq^2 / qq */
    lanes xq, qq;        /* sums of w x q, w q q */
} fitness;

static inline void fit(fitness *f, const columns *c, int i, lanes q) {
    const lanes wq = c->w[i] * q;
    f->xq += wq * c->x[i];
    f->qq += wq * q;
}

typedef struct choice { /* the best scale so far, and by how much it lowers the error */
    lanes d, gain;
} choice;

static inline void consider(choice *best, fitness f) {
    const masks better = f.xq * f.xq > best->gain * f.qq;
    best->d = pick(better, f.xq / f.qq, best->d);
    best->gain = pick(better, f.xq * f.xq / f.qq, best->gain);
}

/* The number of greatest size of each block, with its sign. */
static lanes greatest(const columns *c, int n) {
    lanes out = {0};
    for (int i = 0; i < n; i++) out = pick(size_of(c->x[i]) > size_of(out), c->x[i], out);
    return pick(size_of(out) < 1e-30f, splat(0), out); /* too small for any scale */
}

static inline fitness fit_levels(const columns *c, int n, lanes inverse, levels l) {
    fitness f = {0};
    for (int i = 0; i < n; i++) fit(&f, c, i, nearest_within(c->x[i] * inverse, l.low, l.high));
    return f;
}

/* The d of least error among candidates near the one that just covers the greatest number; the
 * greatest goes to the end of the levels that reaches further. 0 for a block of zeros. */
static inline lanes search_scale(const columns *c, int n, levels l, int steps) {
    choice best = {0};
    const lanes unit = inverse_of(greatest(c, n));
    for (int sign = -1; sign <= 1; sign += 2)
        for (int step = -steps; step <= steps; step++)
            consider(&best,
                     fit_levels(c, n, unit * ((float)sign * (l.low - 0.15f * (float)step)), l));
    return best.d;
}

/* Whole numbers for 8 blocks of 32, from `low` on as 0; and the blocks' scales. */
typedef struct rounded {
    float d[GROUP / SUB];
    uint8_t q[GROUP];
} rounded;

static inline void round_levels(uint8_t *q, const columns *c, int first, int n, lanes d, levels l) {
    const lanes inverse = inverse_of(d);
    lanes v[SUB];
    for (int i = 0; i < n; i++) v[i] = nearest_within(c->x[i] * inverse, l.low, l.high) - l.low;
    store_columns(q, v, first, n);
}

static inline void search_blocks(rounded *out, const group *x, levels l, int steps) {
    columns c;
    for (int b = 0; b < GROUP / SUB; b += LANES) {
        load_columns(&c, x, b, SUB);
        lanes d = as_halves(search_scale(&c, SUB, l, steps));
        memcpy(out->d + b, &d, sizeof d);
        round_levels(out->q, &c, b, SUB, d, l);
    }
}

static void pack_nibbles(uint8_t out[16], const uint8_t q[SUB]) {
    for (int i = 0; i < 16; i++) out[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

static void q4_0(vl2_q4_0 *out, int n, const group *x) {
    rounded r;
    search_blocks(&r, x, (levels){-8, 7}, 7);
    for (int b = 0; b < n; b++) {
        vl2_quant_set_half(out[b].d, r.d[b]);
        pack_nibbles(out[b].qs, r.q + b * SUB);
    }
}

static void q5_0(vl2_q5_0 *out, int n, const group *x) {
    rounded r;
    search_blocks(&r, x, (levels){-16, 15}, 7);
    for (int b = 0; b < n; b++) {
        uint32_t high = 0;
        for (int i = 0; i < SUB; i++) high |= (uint32_t)(r.q[b * SUB + i] >> 4) << i;
        for (int i = 0; i < 4; i++) out[b].qh[i] = (uint8_t)(high >> 8 * i);
        vl2_quant_set_half(out[b].d, r.d[b]);
        pack_nibbles(out[b].qs, r.q + b * SUB);
    }
}

/* ---- Q8_0 ------------------------------------------------------------------------------------- */

static lanes error_within(const columns *c, int n, lanes d, float low, float high) {
    lanes e = {0}, inverse = inverse_of(d);
    for (int i = 0; i < n; i++) {
        lanes r = d * nearest_within(c->x[i] * inverse, low, high) - c->x[i];
        e += c->w[i] * r * r;
    }
    return e;
}

/* Of the halves on both sides of max / 127, the better one: the lower cuts the greatest numbers. */
static void q8_0(vl2_q8_0 *out, int n, const group *x) {
    static const levels l = {-127, 127};
    rounded r;
    columns c;
    for (int b = 0; b < GROUP / SUB; b += LANES) {
        load_columns(&c, x, b, SUB);
        lanes low = as_halves(size_of(greatest(&c, SUB)) / 127);
        lanes high = as_halves(low * 1.0009765625f + 0x1p-24f);
        masks lower =
            error_within(&c, SUB, low, l.low, l.high) <= error_within(&c, SUB, high, l.low, l.high);
        lanes d = pick(lower, low, high);
        memcpy(r.d + b, &d, sizeof d);
        round_levels(r.q, &c, b, SUB, d, l);
    }
    for (int b = 0; b < n; b++) {
        vl2_quant_set_half(out[b].d, r.d[b]);
        for (int i = 0; i < SUB; i++) out[b].q[i] = (int8_t)(r.q[b * SUB + i] - 127);
    }
}

/* ---- IQ4_NL: levels that are not evenly spaced -------------------------------------------------- */

/* The nearest of the values: a step up for each border that lies below x. */
static inline lanes nearest_value(lanes x) {
    lanes q = splat((float)vl2_quant_nl[0]);
    for (int k = 0; k < 15; k++) {
        const float border = 0.5f * (float)(vl2_quant_nl[k] + vl2_quant_nl[k + 1]);
        const lanes step = splat((float)(vl2_quant_nl[k + 1] - vl2_quant_nl[k]));
        q += (lanes)((x > border) & (masks)step);
    }
    return q;
}

static lanes search_values(const columns *c) {
    choice best = {0};
    const lanes unit = inverse_of(greatest(c, SUB));
    for (int sign = -1; sign <= 1; sign += 2) {
        for (int step = -5; step <= 5; step++) {
            const lanes inverse =
                unit * ((float)sign * ((float)vl2_quant_nl[0] + 3.2f * (float)step));
            fitness f = {0};
            for (int i = 0; i < SUB; i++) fit(&f, c, i, nearest_value(c->x[i] * inverse));
            consider(&best, f);
        }
    }
    return best.d;
}

static void iq4_nl(vl2_q4_0 *out, int n, const group *x) {
    rounded r;
    columns c;
    for (int b = 0; b < GROUP / SUB; b += LANES) {
        load_columns(&c, x, b, SUB);
        lanes d = as_halves(search_values(&c)), inverse = inverse_of(d);
        memcpy(r.d + b, &d, sizeof d);
        for (int i = 0; i < SUB; i++) {
            masks index = {0};
            for (int k = 0; k < 15; k++)
                index -= c.x[i] * inverse > 0.5f * (float)(vl2_quant_nl[k] + vl2_quant_nl[k + 1]);
            for (int j = 0; j < LANES; j++) r.q[(b + j) * SUB + i] = (uint8_t)index[j];
        }
    }
    for (int b = 0; b < n; b++) {
        vl2_quant_set_half(out[b].d, r.d[b]);
        pack_nibbles(out[b].qs, r.q + b * SUB);
    }
}

/* ---- Q4_K, Q5_K: x ~ scale * q - min, 0 <= q <= top ---------------------------------------------- */

typedef struct affine {
    lanes scale, min; /* both at least 0 */
} affine;

static inline lanes round_affine(lanes x, affine a, lanes inverse, float top) {
    return nearest_within((x + a.min) * inverse, 0, top);
}

static inline lanes affine_error(const columns *c, affine a, float top) {
    lanes e = {0}, inverse = inverse_of(a.scale);
    for (int i = 0; i < SUB; i++) {
        lanes r = a.scale * round_affine(c->x[i], a, inverse, top) - a.min - c->x[i];
        e += c->w[i] * r * r;
    }
    return e;
}

typedef struct sums { /* of weights, and of weighted numbers and their products */
    lanes w, x, q, qq, xq;
} sums;

static inline sums sums_of(const columns *c, affine a, float top) {
    sums s = {0};
    const lanes inverse = inverse_of(a.scale);
    for (int i = 0; i < SUB; i++) {
        const lanes v = round_affine(c->x[i], a, inverse, top), wv = c->w[i] * v;
        s.w += c->w[i];
        s.x += c->w[i] * c->x[i];
        s.q += wv;
        s.qq += wv * v;
        s.xq += wv * c->x[i];
    }
    return s;
}

/* The least-squares line through the points (q, x) that rounding with `a` gives. *gain: by how much
 * it lowers the error from that of zeros. */
static inline affine fit_line(lanes *gain, const columns *c, affine a, float top) {
    const sums s = sums_of(c, a, top);
    lanes det = s.w * s.qq - s.q * s.q;
    affine line = {(s.w * s.xq - s.q * s.x) / det, (s.q * s.xq - s.qq * s.x) / det};
    masks level = det <= 1e-5f * (s.w * s.qq); /* all q are one number, but for rounding */
    masks through = (line.min < 0) | level;    /* the origin */
    line.scale = pick(through, pick(s.qq > 0, s.xq / s.qq, splat(0)), line.scale);
    line.min = pick(through, splat(0), line.min);
    masks bad = ~(line.scale > 0);
    line.scale = pick(bad, a.scale, line.scale);
    line.min = pick(bad, a.min, line.min);
    *gain = pick(bad, splat(-INFINITY), line.scale * s.xq - line.min * s.x);
    return line;
}

static inline affine search_affine(const columns *c, float top) {
    lanes low = {0}, high = {0}, gain, best_gain = splat(-INFINITY);
    for (int i = 0; i < SUB; i++) {
        low = least(low, c->x[i]);
        high = most(high, c->x[i]);
    }
    const masks flat = high - low < 1e-30f;
    const affine whole = {pick(flat, splat(0), (high - low) / top), pick(flat, splat(0), -low)};
    affine best = whole;
    for (int step = -9; step <= 9; step += 2) {
        affine start = {whole.scale * (top / (top + 0.2f * (float)step)), whole.min};
        affine line = fit_line(&gain, c, start, top);
        masks better = gain > best_gain;
        best.scale = pick(better, line.scale, best.scale);
        best.min = pick(better, line.min, best.min);
        best_gain = most(gain, best_gain);
    }
    for (int i = 0; i < 2; i++) best = fit_line(&gain, c, best, top);
    return best;
}

typedef struct super { /* a super-block with least values */
    float d, dmin;
    affine whole[8 / LANES]; /* of the sub-blocks, in units of d and dmin: up to 63 */
} super;

static inline affine in_units(const super *s, affine whole) {
    return (affine){whole.scale * s->d, whole.min * s->dmin};
}

/* Around the rounded scale and least value, the pair of whole numbers with the least error. */
static inline lanes settle(affine *out, const super *s, const columns *c, affine wanted,
                           float top) {
    const affine start = {nearest(wanted.scale * (s->d > 0 ? 1 / s->d : 0)),
                          nearest(wanted.min * (s->dmin > 0 ? 1 / s->dmin : 0))};
    lanes least_error = splat(INFINITY);
    *out = (affine){0};
    for (int a = -1; a <= 1; a++) {
        for (int b = -1; b <= 1; b++) {
            affine tried = {least(most(start.scale + (float)a, splat(0)), splat(63)),
                            least(most(start.min + (float)b, splat(0)), splat(63))};
            lanes e = affine_error(c, in_units(s, tried), top);
            out->scale = pick(e < least_error, tried.scale, out->scale);
            out->min = pick(e < least_error, tried.min, out->min);
            least_error = least(e, least_error);
        }
    }
    return least_error;
}

static double total(lanes x) {
    double sum = 0;
    for (int j = 0; j < LANES; j++) sum += (double)x[j];
    return sum;
}

/* Sub-blocks' whole numbers for d and dmin as they are; the error. */
static double settle_all(super *s, const columns *c, const affine *wanted, float top) {
    double e = 0;
    for (int k = 0; k < 8 / LANES; k++) e += total(settle(&s->whole[k], s, c + k, wanted[k], top));
    return e;
}

/* d and dmin that fit the rounded q best, scales and least values as they are. */
static void refit(super *s, const columns *c, float top) {
    double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int k = 0; k < 8 / LANES; k++) {
        const affine whole = s->whole[k];
        const sums of = sums_of(c + k, in_units(s, whole), top);
        aa += total(whole.scale * whole.scale * of.qq);
        ab -= total(whole.scale * whole.min * of.q);
        bb += total(whole.min * whole.min * of.w);
        xa += total(whole.scale * of.xq);
        xb -= total(whole.min * of.x);
    }
    double det = aa * bb - ab * ab;
    if (det <= 1e-9 * aa * bb || det <= 0) return;
    double d = (xa * bb - xb * ab) / det, dmin = (xb * aa - xa * ab) / det;
    if (d > 0 && dmin >= 0) {
        s->d = as_half((float)d);
        s->dmin = as_half((float)dmin);
    }
}

static float greatest_lane(lanes x) {
    float out = x[0];
    for (int j = 1; j < LANES; j++) out = x[j] > out ? x[j] : out;
    return out;
}

static void search_super(super *out, const columns *c, float top) {
    affine wanted[8 / LANES];
    lanes scale = {0}, min = {0};
    for (int k = 0; k < 8 / LANES; k++) {
        wanted[k] = search_affine(c + k, top);
        scale = most(scale, wanted[k].scale);
        min = most(min, wanted[k].min);
    }
    *out =
        (super){.d = as_half(greatest_lane(scale) / 63), .dmin = as_half(greatest_lane(min) / 63)};
    double error = settle_all(out, c, wanted, top);
    for (int round = 0; round < 2; round++) {
        super next = *out;
        refit(&next, c, top);
        double e = settle_all(&next, c, wanted, top);
        if (e >= error) break;
        *out = next;
        error = e;
    }
}

/* The search for a super-block, its numbers rounded, and its scales packed: quant.h's layout. */
static void affine_super(uint8_t q[GROUP], uint8_t scales[12], uint8_t d[2], uint8_t dmin[2],
                         const group *x, float top) {
    columns c[8 / LANES];
    super s;
    uint8_t scale[8], min[8];
    for (int k = 0; k < 8 / LANES; k++) load_columns(c + k, x, k * LANES, SUB);
    search_super(&s, c, top);
    for (int k = 0; k < 8 / LANES; k++) {
        const affine a = in_units(&s, s.whole[k]);
        const lanes inverse = inverse_of(a.scale);
        lanes v[SUB];
        for (int i = 0; i < SUB; i++) v[i] = round_affine(c[k].x[i], a, inverse, top);
        store_columns(q, v, k * LANES, SUB);
        for (int j = 0; j < LANES; j++) {
            scale[k * LANES + j] = (uint8_t)s.whole[k].scale[j];
            min[k * LANES + j] = (uint8_t)s.whole[k].min[j];
        }
    }
    vl2_quant_set_half(d, s.d);
    vl2_quant_set_half(dmin, s.dmin);
    for (int j = 0; j < 4; j++) {
        scales[j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
        scales[j + 4] = (uint8_t)(min[j] | min[j + 4] >> 4 << 6);
        scales[j + 8] = (uint8_t)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
    }
}

static void q4_k(vl2_q4_k *out, const group *x) {
    uint8_t q[GROUP];
    affine_super(q, out->scales, out->d, out->dmin, x, 15);
    for (int i = 0; i < 128; i++) {
        int at = i / 32 * 64 + i % 32;
        out->qs[i] = (uint8_t)(q[at] | q[at + 32] << 4);
    }
}

static void q5_k(vl2_q5_k *out, const group *x) {
    uint8_t q[GROUP];
    affine_super(q, out->scales, out->d, out->dmin, x, 31);
    memset(out->qh, 0, sizeof out->qh);
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < SUB; i++) out->qh[i] |= (uint8_t)(q[j * SUB + i] >> 4 << j);
    for (int i = 0; i < 128; i++) {
        int at = i / 32 * 64 + i % 32;
        out->qs[i] = (uint8_t)((q[at] & 15) | (q[at + 32] & 15) << 4);
    }
}

/* ---- Q6_K: sub-blocks of 16 around zero ---------------------------------------------------------- */

/* Of the whole numbers next to wanted / d, the scale with the least error. */
static inline lanes settle_scale(const columns *c, float d, lanes wanted, levels l) {
    lanes start = nearest_within(wanted * (d != 0 ? 1 / d : 0), -128, 127), best = {0};
    lanes least_error = splat(INFINITY);
    for (int a = -1; a <= 1; a++) {
        lanes tried = least(most(start + (float)a, splat(-128)), splat(127));
        lanes e = error_within(c, SMALL, tried * d, l.low, l.high);
        best = pick(e < least_error, tried, best);
        least_error = least(e, least_error);
    }
    return best;
}

static void q6_k(vl2_q6_k *out, const group *x) {
    static const levels l = {-32, 31};
    enum { CHUNKS = 16 / LANES };
    columns c[CHUNKS];
    lanes wanted[CHUNKS];
    uint8_t q[GROUP];
    float greatest_scale = 0;
    for (int k = 0; k < CHUNKS; k++) {
        load_columns(c + k, x, k * LANES, SMALL);
        wanted[k] = search_scale(c + k, SMALL, l, 6);
        for (int j = 0; j < LANES; j++)
            if (fabsf(wanted[k][j]) > fabsf(greatest_scale)) greatest_scale = wanted[k][j];
    }
    const float d = as_half(greatest_scale / -128);
    memset(out, 0, sizeof *out);
    vl2_quant_set_half(out->d, d);
    for (int k = 0; k < CHUNKS; k++) {
        lanes scale = settle_scale(c + k, d, wanted[k], l);
        round_levels(q, c + k, k * LANES, SMALL, scale * d, l);
        for (int j = 0; j < LANES; j++) out->scales[k * LANES + j] = (int8_t)scale[j];
    }
    for (int run = 0; run < GROUP / 32; run++) {
        const uint8_t *from = q + 32 * run;
        uint8_t *low = out->ql + run / 4 * 64 + run % 2 * 32, *high = out->qh + run / 4 * 32;
        for (int i = 0; i < 32; i++) low[i] |= (uint8_t)((from[i] & 15) << run / 2 % 2 * 4);
        for (int i = 0; i < 32; i++) high[i] |= (uint8_t)(from[i] >> 4 << 2 * (run % 4));
    }
}

/* ---- rows ------------------------------------------------------------------------------------- */

/* n blocks; zeros are behind them. */
static void quantize_group(void *out, int n, const group *x, vl2_dtype type) {
    if (type == VL2_Q8_0) q8_0(out, n, x);
    if (type == VL2_Q4_0) q4_0(out, n, x);
    if (type == VL2_Q5_0) q5_0(out, n, x);
    if (type == VL2_IQ4_NL) iq4_nl(out, n, x);
    if (type == VL2_Q4_K) q4_k(out, x);
    if (type == VL2_Q5_K) q5_k(out, x);
    if (type == VL2_Q6_K) q6_k(out, x);
}

/* What is no number, or no half can scale, would spoil its whole block. */
static void tame(float out[GROUP], const float *x, size_t n) {
    memset(out, 0, GROUP * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        float v = fabsf(x[i]) <= FLT_MAX ? x[i] : 0;
        out[i] = v < -65504 ? -65504 : (v > 65504 ? 65504 : v);
    }
}

static void quantize_row(void *row, const float *x, const float *w, vl2_dtype type, size_t n) {
    const vl2_dtype_traits *t = vl2_dtype_of(type);
    group some;
    for (size_t i = 0; i < GROUP; i++) some.w[i] = 1;
    for (size_t i = 0; i < n; i += GROUP) {
        const size_t left = n - i < GROUP ? n - i : GROUP;
        tame(some.x, x + i, left);
        if (w) memcpy(some.w, w + i, left * sizeof *w); /* behind them numbers are 0 */
        quantize_group((char *)row + i / t->block * t->block_bytes, (int)(left / t->block), &some,
                       type);
    }
}

#endif
