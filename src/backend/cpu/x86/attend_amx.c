/* Attention over one block of keys by AMX tiles, queries as columns throughout.
 *
 * Scores come out as [keys, queries], so that the softmax over keys needs no sums across lanes: a lane
 * is a query. Two keys' weights side by side, as bf16, are what the product with the values wants; the
 * values are turned once for all queries. Scores, weights' sums and results are float32. */
#include "backend/cpu/x86/x86.h"

#include "backend/cpu/x86/amx.h"
#include "backend/cpu/x86/vec_avx512.h"

#include "backend/cpu/rows_vec_exp.h"

enum { SIDE = 16, STEP = 32, COLUMNS = VL2_TILE_RUN, LINE = COLUMNS * sizeof(float) };

#define INLINE static inline __attribute__((always_inline))

INLINE size_t up(size_t n, size_t step) { return (n + step - 1) / step * step; }
INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }

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

/* 32 floats as bf16, in their order. */
INLINE __m512 narrow(__m512 a, __m512 b) {
#if defined(VL2_EMULATE_AVX512)
    uint16_t bits[STEP];
    v_store_bf16(bits, a);
    v_store_bf16(bits + SIDE, b);
    return _mm512_loadu_ps(bits);
#else
    return (__m512)_mm512_cvtne2ps_pbh(b, a);
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

/* ---- one block ---------------------------------------------------------------------------------- */

/* Tiles 0-3: 16 and 16 rows by the columns of 16 and 16 queries; 4, 5: their left side; 6, 7: right. */
static void configure(vl2_tile_config *c, size_t m0, size_t m1) {
    memset(c, 0, sizeof *c);
    c->palette = 1;
    for (int i = 0; i < 4; i++)
        if (i % 2 == 0 || m1) tile_shape(c, i, SIDE, 4 * (i % 2 ? m1 : m0));
    tile_shape(c, 4, SIDE, TILE_LINE);
    tile_shape(c, 5, SIDE, TILE_LINE);
    tile_shape(c, 6, SIDE, 4 * m0);
    if (m1) tile_shape(c, 7, SIDE, 4 * m1);
    TILE_CONFIG(c);
}

typedef struct
    sides { /* out [16 or 32, COLUMNS] = a [.., steps * 32] times x [steps * 16 pairs, ..] */
    const char *a, *x0, *x1;
    size_t a_stride, x0_stride, x1_stride, steps;
} sides;

INLINE void multiply(float *out, const sides *p, bool two, bool both) {
    TILE_ZERO(0);
    if (both) TILE_ZERO(1);
    if (two) TILE_ZERO(2);
    if (two && both) TILE_ZERO(3);
    for (size_t i = 0; i < p->steps; i++) {
        TILE_LOAD(4, p->a + i * TILE_LINE, p->a_stride);
        TILE_LOAD(6, p->x0 + i * SIDE * p->x0_stride, p->x0_stride);
        TILE_DOT(0, 4, 6);
        if (both) {
            TILE_LOAD(7, p->x1 + i * SIDE * p->x1_stride, p->x1_stride);
            TILE_DOT(1, 4, 7);
        }
        if (!two) continue;
        TILE_LOAD(5, p->a + SIDE * p->a_stride + i * TILE_LINE, p->a_stride);
        TILE_DOT(2, 5, 6);
        if (both) TILE_DOT(3, 5, 7);
    }
    TILE_STORE(0, out, (size_t)LINE);
    if (both) TILE_STORE(1, out + SIDE, (size_t)LINE);
    if (two) TILE_STORE(2, out + SIDE * COLUMNS, (size_t)LINE);
    if (two && both) TILE_STORE(3, out + SIDE * COLUMNS + SIDE, (size_t)LINE);
}

static void multiply_rows(float *out, sides p, size_t rows, bool both) {
    size_t i = 0;
    for (; i + STEP <= rows; i += STEP, p.a += STEP * p.a_stride) {
        if (both)
            multiply(out + i * COLUMNS, &p, true, true);
        else
            multiply(out + i * COLUMNS, &p, true, false);
    }
    if (i < rows) multiply(out + i * COLUMNS, &p, false, both);
}

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

static void block(const vl2_attend_block *b) {
    _Alignas(TILE_LINE) vl2_tile_config config;
    size_t m0 = least(b->m, SIDE), m1 = b->m - m0, n = up(b->n, STEP), kp = up(b->k_dim, STEP);
    size_t all = b->n;
    for (size_t i = 0; i < b->m; i++) all = least(all, (size_t)b->seen[i]);
    configure(&config, m0, m1);
    sides score = {.a = b->k,
                   .a_stride = b->k_stride,
                   .x0 = b->q,
                   .x0_stride = 4 * m0,
                   .x1 = (const char *)b->q + kp * m0 * 2,
                   .x1_stride = 4 * m1,
                   .steps = kp / STEP};
    multiply_rows(b->s, score, n, m1 > 0);
    softmax(b, 0, n, all);
    if (m1) softmax(b, SIDE, n, all);
    sides weigh = {.a = b->v,
                   .a_stride = n * 2,
                   .x0 = (const char *)b->p,
                   .x0_stride = LINE,
                   .x1 = (const char *)b->p + SIDE * 4,
                   .x1_stride = LINE,
                   .steps = n / STEP};
    multiply_rows(b->o, weigh, up(b->v_dim, SIDE), m1 > 0);
    TILE_RELEASE();
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
    const size_t lines = 2 * (b->next_bytes / TILE_LINE);
    return (ahead){b->next_k, b->next_v, lines / 2 * TILE_LINE, (lines + 2) / 3, 0};
}

/* At one of `points` places of a third. */
INLINE void ask(ahead *a, size_t points) {
    for (size_t i = 0; i < (a->third + points - 1) / points; i++) {
        const size_t at = a->at * TILE_LINE;
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

/* Keys from t on, `stride` bytes apart: as many as tiles read, those from n on of no use. */
INLINE const char *whole_step(const vl2_attend_block *b, size_t t, size_t *stride) {
    const char *from = (const char *)b->k + t * b->k_stride;
    const size_t line = b->k_dim * 2, rows = b->n - t;
    *stride = b->k_stride;
    if (rows >= STEP) return from;
    for (size_t r = 0; r < rows; r++)
        memcpy((char *)b->tail + r * line, from + r * b->k_stride, line);
    *stride = line;
    return b->tail;
}

static void alone(const vl2_attend_block *b) {
    _Alignas(TILE_LINE) vl2_tile_config config;
    size_t n = up(b->n, STEP), kp = b->k_dim, line = b->v_dim * 4;
    ahead next = ahead_of(b);
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int i = 0; i < 4; i++) tile_shape(&config, i, i < 2 ? SIDE : 1, i < 2 ? 4 : TILE_LINE);
    tile_shape(&config, 4, SIDE, TILE_LINE); /* keys */
    tile_shape(&config, 5, 1, TILE_LINE);    /* weights */
    tile_shape(&config, 6, SIDE, 4);         /* the query */
    tile_shape(&config, 7, SIDE, TILE_LINE); /* values */
    TILE_CONFIG(&config);
    for (size_t t = 0; t < n; t += STEP) {
        size_t stride;
        const char *k = whole_step(b, t, &stride);
        TILE_ZERO(0);
        TILE_ZERO(1);
        for (size_t i = 0; i < kp; i += STEP) {
            TILE_LOAD(6, (const char *)b->q + i * 2, (size_t)4);
            TILE_LOAD(4, k + i * 2, stride);
            TILE_DOT(0, 4, 6);
            TILE_LOAD(4, k + SIDE * stride + i * 2, stride);
            TILE_DOT(1, 4, 6);
            ask(&next, n / STEP * (kp / STEP));
        }
        TILE_STORE(0, b->s + t, (size_t)4);
        TILE_STORE(1, b->s + t + SIDE, (size_t)4);
    }
    softmax_alone(b, n);
    pair_values(b, n, &next);
    for (size_t j = 0; j < b->v_dim; j += STEP) {
        TILE_ZERO(2);
        TILE_ZERO(3);
        for (size_t t = 0; t < n; t += STEP) {
            const char *v = (const char *)b->turned + t / 2 * line + j * 4;
            TILE_LOAD(5, (const char *)b->p + t * 2, (size_t)TILE_LINE);
            TILE_LOAD(7, v, line);
            TILE_DOT(2, 5, 7);
            TILE_LOAD(7, v + TILE_LINE, line);
            TILE_DOT(3, 5, 7);
            ask(&next, n / STEP * (b->v_dim / STEP));
        }
        TILE_STORE(2, b->o + j, (size_t)TILE_LINE);
        TILE_STORE(3, b->o + j + SIDE, (size_t)TILE_LINE);
    }
    TILE_RELEASE();
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

void vl2_attend_amx_fill(vl2_kernels *out) {
    out->attend = (vl2_attend){.keys = keys,
                               .values = values,
                               .block = block,
                               .alone = alone,
                               .merge = merge,
                               .merge_alone = merge_alone,
                               .finish = finish};
}
