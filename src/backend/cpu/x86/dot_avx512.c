/* Products with AVX-512 (F, BW, DQ, VL): sixteen sums an output, tiles of 6 rows by 4 outputs.
 *
 * A step is 32 elements: the first fma takes elements 0 … 15 and the second 16 … 31; for bf16 the even
 * and the odd ones, which one shift and one mask widen, an order that packed rows have already. */
#include "backend/cpu/x86/x86.h"

#include "backend/cpu/x86/avx512.h"

#include <string.h>

enum {
    STEP = 32,
    BLOCK = 640,
    MR = 6,
    NR = 4,
    AHEAD = 1024 /* bytes that rows of mapped weights are fetched ahead */
};

#define INLINE static inline __attribute__((always_inline))

INLINE size_t padded(size_t k) { return (k + STEP - 1) / STEP * STEP; }
INLINE size_t size_of(vl2_dtype type) { return type == VL2_F32 ? 4 : 2; }

/* ---- loading ---------------------------------------------------------------------------------- */

INLINE void load_step(vl2_dtype type, const char *p, __m512 *first, __m512 *second) {
    if (type == VL2_F32) {
        *first = _mm512_loadu_ps((const float *)p);
        *second = _mm512_loadu_ps((const float *)p + 16);
    } else if (type == VL2_F16) {
        *first = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
        *second = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p + 1));
    } else {
        __m512i pairs = _mm512_loadu_si512(p);
        *first = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
        *second = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000u)));
    }
}

INLINE void pack_row(vl2_dtype type, float *out, const char *row, size_t k) {
    __m512 a, b;
    size_t i = 0;
    for (; i + STEP <= k; i += STEP) {
        load_step(type, row + i * size_of(type), &a, &b);
        _mm512_storeu_ps(out + i, a);
        _mm512_storeu_ps(out + i + 16, b);
    }
    if (i == k) return;
    char tail[STEP * 4] = {0};
    memcpy(tail, row + i * size_of(type), (k - i) * size_of(type));
    load_step(type, tail, &a, &b);
    _mm512_storeu_ps(out + i, a);
    _mm512_storeu_ps(out + i + 16, b);
}

static void pack_f32(void *out, const void *row, size_t k) { pack_row(VL2_F32, out, row, k); }
static void pack_f16(void *out, const void *row, size_t k) { pack_row(VL2_F16, out, row, k); }
static void pack_bf16(void *out, const void *row, size_t k) { pack_row(VL2_BF16, out, row, k); }
static void pack_x(void *out, const float *x, size_t k) { pack_f32(out, x, k); }

/* A step of 32 floats, even elements first. */
INLINE void split_step(float *out, const float *x) {
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    _mm512_storeu_ps(out, _mm512_permutex2var_ps(a, even, b));
    _mm512_storeu_ps(out + 16, _mm512_permutex2var_ps(a, odd, b));
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
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(bits + i))));
    for (; i < n; i++) out[i] = vl2_f16_to_f32(bits[i]);
}

static void widen_bf16(float *out, const void *row, size_t n) {
    const uint16_t *bits = row;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(bits + i)));
        _mm512_storeu_si512(out + i, _mm512_slli_epi32(wide, 16));
    }
    for (; i < n; i++) out[i] = vl2_bf16_to_f32(bits[i]);
}

/* ---- sums ------------------------------------------------------------------------------------- */

/* Sixteen lanes to eight, then four vectors at once. */
INLINE __m128 add_lanes(const __m512 *a, size_t n) {
    __m256 h[4];
    for (size_t i = 0; i < 4; i++)
        h[i] = i < n ? _mm256_add_ps(_mm512_castps512_ps256(a[i]), _mm512_extractf32x8_ps(a[i], 1))
                     : _mm256_setzero_ps();
    __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(h[0], h[1]), _mm256_hadd_ps(h[2], h[3]));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

INLINE void put(float *y, __m128 sums, size_t n, bool add) {
    if (n == 4) {
        _mm_storeu_ps(y, add ? _mm_add_ps(_mm_loadu_ps(y), sums) : sums);
        return;
    }
    float s[4];
    _mm_storeu_ps(s, sums);
    for (size_t i = 0; i < n; i++) y[i] = add ? y[i] + s[i] : s[i];
}

/* ---- packed rows by packed rows ---------------------------------------------------------------- */

INLINE void packed_tile(float *y, size_t ldy, const float *x, const float *w, size_t kp, size_t m,
                        size_t n, bool add) {
    __m512 acc[MR][NR];
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) acc[i][j] = _mm512_setzero_ps();
    for (size_t k = 0; k < kp; k += STEP) {
        for (size_t h = 0; h < STEP; h += 16) {
            __m512 ws[NR];
            for (size_t j = 0; j < n; j++) ws[j] = _mm512_loadu_ps(w + j * kp + k + h);
            for (size_t i = 0; i < m; i++) {
                __m512 xs = _mm512_loadu_ps(x + i * kp + k + h);
                for (size_t j = 0; j < n; j++) acc[i][j] = _mm512_fmadd_ps(xs, ws[j], acc[i][j]);
            }
        }
    }
    for (size_t i = 0; i < m; i++) put(y + i * ldy, add_lanes(acc[i], n), n, add);
}

INLINE void packed_rows(float *y, size_t ldy, const float *x, const float *w, size_t kp, size_t m,
                        size_t n, bool add) {
    size_t i = 0;
    for (; i + MR <= m; i += MR) packed_tile(y + i * ldy, ldy, x + i * kp, w, kp, MR, n, add);
    if (i + 3 <= m) {
        packed_tile(y + i * ldy, ldy, x + i * kp, w, kp, 3, n, add);
        i += 3;
    }
    for (; i < m; i++) packed_tile(y + i * ldy, ldy, x + i * kp, w, kp, 1, n, add);
}

static void packed(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t n, size_t k,
                   bool add) {
    size_t kp = padded(k), j = 0;
    const float *ws = w;
    for (; j + NR <= n; j += NR) packed_rows(y + j, ldy, x, ws + j * kp, kp, m, NR, add);
    for (; j < n; j++) packed_rows(y + j, ldy, x, ws + j * kp, kp, m, 1, add);
}

/* ---- packed rows by weights as they lie in the file --------------------------------------------- */

INLINE void step_tile(__m512 *acc, const float *x, size_t kp, const char *w, size_t stride,
                      vl2_dtype type, size_t m, size_t n) {
    for (size_t j = 0; j < n; j++) {
        __m512 first, second;
        load_step(type, w + j * stride, &first, &second);
        for (size_t i = 0; i < m; i++) {
            acc[i * n + j] = _mm512_fmadd_ps(_mm512_loadu_ps(x + i * kp), first, acc[i * n + j]);
            acc[i * n + j] =
                _mm512_fmadd_ps(_mm512_loadu_ps(x + i * kp + 16), second, acc[i * n + j]);
        }
    }
}

INLINE void direct_tile(float *y, size_t ldy, const float *x, size_t kp, const char *w,
                        size_t stride, size_t k, vl2_dtype type, size_t m, size_t n, bool add) {
    __m512 acc[MR * NR];
    for (size_t i = 0; i < m * n; i++) acc[i] = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + STEP <= k; i += STEP) {
        for (size_t j = 0; j < n; j++) { /* of this tile, and of the next one */
            _mm_prefetch(w + j * stride + i * size_of(type) + AHEAD, _MM_HINT_T0);
            _mm_prefetch(w + (j + n) * stride + i * size_of(type), _MM_HINT_T1);
        }
        step_tile(acc, x + i, kp, w + i * size_of(type), stride, type, m, n);
    }
    if (i < k) {
        char tail[8][STEP * 4];
        memset(tail, 0, sizeof tail);
        for (size_t j = 0; j < n; j++)
            memcpy(tail[j], w + j * stride + i * size_of(type), (k - i) * size_of(type));
        step_tile(acc, x + i, kp, tail[0], sizeof tail[0], type, m, n);
    }
    for (size_t r = 0; r < m; r++)
        for (size_t j = 0; j < n; j += 4) {
            size_t width = n - j < 4 ? n - j : 4;
            put(y + r * ldy + j, add_lanes(acc + r * n + j, width), width, add);
        }
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
    if (i + 3 <= m) {
        direct_rows(y + i * ldy, ldy, x + i * kp, kp, w, stride, n, k, type, 3, add);
        i += 3;
    }
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
                       size_t k, size_t m, size_t vectors) {
    __m512 acc[24];
    for (size_t i = 0; i < m * vectors; i++) acc[i] = _mm512_setzero_ps();
    for (size_t l = 0; l < k; l++) {
        __m512 bs[4];
        for (size_t j = 0; j < vectors; j++) bs[j] = _mm512_loadu_ps(b + l * ldb + 16 * j);
        for (size_t i = 0; i < m; i++) {
            __m512 as = _mm512_set1_ps(a[i][l]);
            for (size_t j = 0; j < vectors; j++)
                acc[i * vectors + j] = _mm512_fmadd_ps(as, bs[j], acc[i * vectors + j]);
        }
    }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < vectors; j++)
            _mm512_storeu_ps(c + i * ldc + 16 * j, acc[i * vectors + j]);
}

INLINE void outer_rows(float *c, size_t ldc, const float *const *a, const float *b, size_t ldb,
                       size_t n, size_t k, size_t m) {
    size_t j = 0;
    for (; j + 64 <= n; j += 64) outer_tile(c + j, ldc, a, b + j, ldb, k, m, 4);
    for (; j < n; j += 16) outer_tile(c + j, ldc, a, b + j, ldb, k, m, 1);
}

static void outer(float *c, size_t ldc, const float *const *a, size_t m, const float *b, size_t ldb,
                  size_t n, size_t k) {
    size_t i = 0;
    for (; i + 6 <= m; i += 6) outer_rows(c + i * ldc, ldc, a + i, b, ldb, n, k, 6);
    if (i + 3 <= m) {
        outer_rows(c + i * ldc, ldc, a + i, b, ldb, n, k, 3);
        i += 3;
    }
    for (; i < m; i++) outer_rows(c + i * ldc, ldc, a + i, b, ldb, n, k, 1);
}

void vl2_dot_avx512_fill(vl2_kernels *out) {
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
