/* backend/cpu/x86/attend_avx512.h - attention over one block of keys, queries as columns throughout: all
 * but the two products, which are attend_amx.c's and attend_avx512bf16.c's.
 *
 * Scores come out as [keys, queries], so that the softmax over keys needs no sums across lanes: a lane
 * is a query. Two keys' weights side by side, as bf16, are what the product with the values wants; the
 * values are turned once for all queries. Scores, weights' sums and results are float32. */
#ifndef VL2_BACKEND_CPU_X86_ATTEND_AVX512_H
#define VL2_BACKEND_CPU_X86_ATTEND_AVX512_H

#include "backend/cpu/x86/columns_avx512.h"

#include "backend/cpu/rows_vec_exp.h"

#include <string.h>

enum { COLUMNS = VL2_TILE_RUN, LINE = COLUMNS * sizeof(float), MEMORY_LINE = 64 };

/* ---- keys and values --------------------------------------------------------------------------- */

/* Pairs (a, b) as bf16: lane i holds a[i] below b[i]. */
INLINE __m512 pairs(__m512 a, __m512 b) {
#if defined(VL2_EMULATE_AVX512)
    uint16_t first[SIDE], second[SIDE], both[STEP];
    v_store_bf16(first, a);
    v_store_bf16(second, b);
    for (size_t i = 0; i < SIDE; i++) both[2 * i] = first[i], both[2 * i + 1] = second[i];
    return _mm512_loadu_ps(both);
#else
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh(b, a);
    return (__m512)_mm512_permutexvar_epi16(order, both);
#endif
}

INLINE __m512 load_wide(vl2_dtype type, const char *p, size_t left) {
    if (type == VL2_F32)
        return left >= SIDE ? v_load((const float *)(const void *)p)
                            : v_load_part((const float *)(const void *)p, left);
    if (left >= SIDE) return v_load_bf16((const uint16_t *)(const void *)p);
    uint16_t some[SIDE] = {0};
    memcpy(some, p, left * sizeof *some);
    return v_load_bf16(some);
}

static void keys(void *out, const void *rows, size_t stride, vl2_dtype type, size_t n, size_t k) {
    size_t kp = up(k, STEP), element = type == VL2_F32 ? 4 : 2;
    uint16_t *to = out;
    memset(to + n * kp, 0, (up(n, STEP) - n) * kp * sizeof *to);
    for (size_t r = 0; r < n; r++, to += kp) {
        const char *row = (const char *)rows + r * stride;
        for (size_t i = 0; i < kp; i += SIDE) {
            __m512 a = i < k ? load_wide(type, row + i * element, k - i) : _mm512_setzero_ps();
            v_store_bf16(to + i, a);
        }
    }
}

/* Sixteen values of a row above sixteen of the next, as pairs; bf16 stays as it is. */
INLINE __m512 row_pairs(vl2_dtype type, const char *row, size_t stride, size_t rows, size_t left) {
#if !defined(VL2_EMULATE_AVX512)
    if (type == VL2_BF16 && rows >= 2 && left >= SIDE) {
        const __m512i order =
            _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                             22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
        __m512i first = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)row));
        __m256i second = _mm256_loadu_si256((const __m256i *)(row + stride));
        return (__m512)_mm512_permutexvar_epi16(order, _mm512_inserti64x4(first, second, 1));
    }
#endif
    __m512 first = _mm512_setzero_ps(), second = first;
    if (rows) first = load_wide(type, row, left);
    if (rows > 1) second = load_wide(type, row + stride, left);
    return pairs(first, second);
}

static void values(void *out, const void *rows, size_t stride, vl2_dtype type, size_t n, size_t v) {
    size_t line = up(n, STEP), element = type == VL2_F32 ? 4 : 2;
    for (size_t j = 0; j < v; j += SIDE)
        for (size_t t = 0; t < line; t += STEP) {
            __m512 a[SIDE];
            for (size_t p = 0; p < SIDE; p++) {
                size_t at = t + 2 * p;
                a[p] = row_pairs(type, (const char *)rows + at * stride + j * element, stride,
                                 at < n ? n - at : 0, v - j);
            }
            v_transpose(a);
            for (size_t i = 0; i < SIDE; i++)
                v_store((float *)((uint16_t *)out + (j + i) * line + t), a[i]);
        }
}

/* ---- the softmax of a block ---------------------------------------------------------------------- */

INLINE __mmask16 sees(__m512i seen, size_t t) {
#if defined(VL2_EMULATE_AVX512)
    int32_t all[SIDE];
    unsigned mask = 0;
    memcpy(all, &seen, sizeof all);
    for (int i = 0; i < SIDE; i++) mask |= (unsigned)(all[i] > (int)t) << i;
    return (__mmask16)mask;
#else
    return _mm512_cmpgt_epi32_mask(seen, _mm512_set1_epi32((int)t));
#endif
}

/* 2^x for x <= 0, to 8e-8. */
INLINE vf power(vf x) {
#if defined(VL2_EMULATE_AVX512)
    return v_exp(v_mul(x, v_set(0.693147181f)));
#else
    vf r = _mm512_reduce_ps(x, 1); /* x - floor(x) */
    vf p = v_set(0.00187757626f);
    p = v_fma(p, r, v_set(0.00898934109f));
    p = v_fma(p, r, v_set(0.0558263172f));
    p = v_fma(p, r, v_set(0.240153617f));
    p = v_fma(p, r, v_set(0.693153073f));
    p = v_fma(p, r, v_set(0.999999925f));
    return _mm512_scalef_ps(p, x);
#endif
}

/* Sixteen queries: n keys (a multiple of STEP), of which all see the first `all`. */
INLINE void softmax(const vl2_attend_block *b, size_t column, size_t n, size_t all) {
    const float *s = b->s + column;
    float *p = (float *)b->p + column;
    const vf low = v_set(VL2_ATTEND_NOTHING), zero = v_set(0.0f), scale = v_set(b->scale);
    __m512i seen = _mm512_loadu_si512(b->seen + column);
    vf top[4] = {low, low, low, low};
    size_t t = 0;
    for (; t + 4 <= all; t += 4)
        for (size_t i = 0; i < 4; i++) top[i] = v_max(v_load(s + (t + i) * COLUMNS), top[i]);
    for (; t < n; t++)
        top[0] = v_max(_mm512_mask_blend_ps(sees(seen, t), low, v_load(s + t * COLUMNS)), top[0]);
    vf max = v_mul(v_max(v_max(top[0], top[1]), v_max(top[2], top[3])), scale);
    vf sum[2] = {zero, zero}, by = v_set(b->scale * 1.44269504f);
    vf from = v_mul(v_max(v_max(top[0], top[1]), v_max(top[2], top[3])), by);
    for (t = 0; t < n; t += 2) {
        vf e[2];
        for (size_t i = 0; i < 2; i++) {
            e[i] = power(v_sub(v_mul(v_load(s + (t + i) * COLUMNS), by), from));
            if (t + 2 > all) e[i] = _mm512_mask_blend_ps(sees(seen, t + i), zero, e[i]);
            sum[i] = v_add(sum[i], e[i]);
        }
        v_store(p + t / 2 * COLUMNS, pairs(e[0], e[1]));
    }
    v_store(b->max + column, max);
    v_store(b->sum + column, v_add(sum[0], sum[1]));
}

/* ---- one query ----------------------------------------------------------------------------------- */

/* Keys [n padded] of one lane each: what `softmax` does in its lane, in the same order. */
INLINE void softmax_alone(const vl2_attend_block *b, size_t n) {
    const size_t all = (size_t)b->seen[0];
    const vf low = v_set(VL2_ATTEND_NOTHING), zero = v_set(0.0f);
    vf top = low;
    for (size_t t = 0; t < all; t += SIDE) {
        vf a = v_load(b->s + t);
        top = v_max(all - t < SIDE ? v_keep(a, low, all - t) : a, top);
    }
    vf max = v_set(v_greatest(top)), by = v_set(b->scale * 1.44269504f), from = v_mul(max, by);
    for (size_t t = 0; t < n; t += STEP) {
        vf e[2];
        for (size_t i = 0; i < 2; i++) {
            size_t at = t + i * SIDE, left = at < all ? all - at : 0;
            e[i] = power(v_sub(v_mul(v_load(b->s + at), by), from));
            if (left < SIDE) e[i] = v_keep(e[i], zero, left);
            v_store(b->s + at, e[i]);
        }
        v_store((float *)b->p + t / 2, narrow(e[0], e[1]));
    }
    float sum[2] = {0.0f, 0.0f};
    for (size_t t = 0; t < n; t += 2)
        for (size_t i = 0; i < 2; i++) sum[i] += b->s[t + i];
    *b->max = v_greatest(top) * b->scale;
    *b->sum = sum[0] + sum[1];
}

/* Memory that comes next. Its lines are asked for a few at a time, all along, since a core waits for few
 * at once: a third with the scores, one with the pairs of values, one with the sums. */
typedef struct ahead {
    const char *k, *v;
    size_t bytes, third; /* of each; lines of both */
    size_t at;           /* lines of both that have been asked for */
} ahead;

INLINE ahead ahead_of(const vl2_attend_block *b) {
    const size_t lines = 2 * (b->next_bytes / MEMORY_LINE);
    return (ahead){b->next_k, b->next_v, lines / 2 * MEMORY_LINE, (lines + 2) / 3, 0};
}

/* At one of `points` places of a third. */
INLINE void ask(ahead *a, size_t points) {
    for (size_t i = 0; i < (a->third + points - 1) / points; i++) {
        const size_t at = a->at * MEMORY_LINE;
        if (at >= 2 * a->bytes) return;
        __builtin_prefetch(at < a->bytes ? a->k + at : a->v + (at - a->bytes), 0, 2);
        a->at++;
    }
}

/* Values as pairs of keys [n padded / 2, v_dim] in b->turned. */
INLINE void pair_values(const vl2_attend_block *b, size_t n, ahead *next) {
    float *to = b->turned;
    for (size_t t = 0; t < n; t += 2) {
        const char *row = (const char *)b->v + t * b->v_stride;
        ask(next, n / 2);
        for (size_t j = 0; j < b->v_dim; j += SIDE, to += SIDE)
            v_store(to,
                    row_pairs(VL2_BF16, row + 2 * j, b->v_stride, t < b->n ? b->n - t : 0, SIDE));
    }
}

/* ---- between blocks ------------------------------------------------------------------------------ */

static void merge(float *o, float *max, float *sum, const float *p, const float *p_max,
                  const float *p_sum, size_t m, size_t v_dim) {
    for (size_t c = 0; c < m; c += SIDE) {
        vf old = v_load(max + c), new = v_load(p_max + c), top = v_max(old, new);
        vf a = v_exp(v_sub(old, top)), b = v_exp(v_sub(new, top));
        v_store(max + c, top);
        v_store(sum + c, v_fma(v_load(p_sum + c), b, v_mul(v_load(sum + c), a)));
        for (size_t j = 0; j < v_dim; j++) {
            float *at = o + j * COLUMNS + c;
            v_store(at, v_fma(v_load(p + j * COLUMNS + c), b, v_mul(v_load(at), a)));
        }
    }
}

static void merge_alone(float *o, float *max, float *sum, const float *p, float p_max, float p_sum,
                        size_t v_dim) {
    vf old = v_set(*max), new = v_set(p_max), top = v_max(old, new);
    vf a = v_exp(v_sub(old, top)), b = v_exp(v_sub(new, top));
    float lanes[SIDE];
    v_store(lanes, v_fma(v_set(p_sum), b, v_mul(v_set(*sum), a)));
    *sum = lanes[0];
    v_store(lanes, top);
    *max = lanes[0];
    for (size_t j = 0; j < v_dim; j += SIDE)
        v_store(o + j, v_fma(v_load(p + j), b, v_mul(v_load(o + j), a)));
}

static void finish(float *const *out, const float *o, const float *sum, size_t m, size_t v_dim) {
    for (size_t c = 0; c < m; c += SIDE) {
        vf total = v_load(sum + c), one = v_set(1.0f);
        vf by = v_div(one, v_max(total, v_set(1e-37f)));
        size_t rows = least(m - c, SIDE);
        for (size_t j = 0; j < v_dim; j += SIDE) {
            vf a[SIDE];
            size_t n = least(v_dim - j, SIDE);
            for (size_t i = 0; i < SIDE; i++)
                a[i] = i < n ? v_mul(v_load(o + (j + i) * COLUMNS + c), by) : v_set(0.0f);
            v_transpose(a);
            for (size_t i = 0; i < rows; i++) {
                if (n == SIDE)
                    v_store(out[c + i] + j, a[i]);
                else
                    v_store_part(out[c + i] + j, a[i], n);
            }
        }
    }
}

#endif
