/* Products with AVX2, FMA and F16C.
 *
 * An output is one vector of eight sums over k, in steps of 16 elements: lane i of the first fma of a
 * step takes element i, of the second element 8+i; for bf16 the first takes the even elements and the
 * second the odd ones, which one shift and one mask widen. Packed rows have that order already. The
 * lanes are added as ((0+1)+(2+3)) + ((4+5)+(6+7)). */
#include "backend/cpu/x86/x86.h"

#include <immintrin.h>
#include <string.h>

enum {
    STEP = 16,
    BLOCK = 640, /* eight rows of weights and three of x fit in 32 KiB */
    MR = 3,
    NR = 4,
    AHEAD = 256 /* bytes that rows of mapped weights are fetched ahead */
};

#define INLINE static inline __attribute__((always_inline))

INLINE size_t padded(size_t k) { return (k + STEP - 1) / STEP * STEP; }

/* ---- loading ---------------------------------------------------------------------------------- */

INLINE void load_step(vl2_dtype type, const char *p, __m256 *first, __m256 *second) {
    if (type == VL2_F32) {
        *first = _mm256_loadu_ps((const float *)p);
        *second = _mm256_loadu_ps((const float *)p + 8);
    } else if (type == VL2_F16) {
        *first = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
        *second = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + 1));
    } else {
        __m256i pairs = _mm256_loadu_si256((const __m256i *)p);
        *first = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
        *second = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000u)));
    }
}

INLINE size_t size_of(vl2_dtype type) { return type == VL2_F32 ? 4 : 2; }

INLINE void pack_row(vl2_dtype type, float *out, const char *row, size_t k) {
    __m256 a, b;
    size_t i = 0;
    for (; i + STEP <= k; i += STEP) {
        load_step(type, row + i * size_of(type), &a, &b);
        _mm256_storeu_ps(out + i, a);
        _mm256_storeu_ps(out + i + 8, b);
    }
    if (i == k) return;
    char tail[STEP * 4] = {0};
    memcpy(tail, row + i * size_of(type), (k - i) * size_of(type));
    load_step(type, tail, &a, &b);
    _mm256_storeu_ps(out + i, a);
    _mm256_storeu_ps(out + i + 8, b);
}

static void pack_f32(void *out, const void *row, size_t k) { pack_row(VL2_F32, out, row, k); }
static void pack_f16(void *out, const void *row, size_t k) { pack_row(VL2_F16, out, row, k); }
static void pack_bf16(void *out, const void *row, size_t k) { pack_row(VL2_BF16, out, row, k); }
static void pack_x(void *out, const float *x, size_t k) {
    pack_row(VL2_F32, out, (const char *)x, k);
}

/* A step of 16 floats, even elements first. */
INLINE void split_step(float *out, const float *x) {
    __m256 a = _mm256_loadu_ps(x), b = _mm256_loadu_ps(x + 8);
    __m256i even = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
    __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
    _mm256_storeu_si256((__m256i *)out, _mm256_permute4x64_epi64(even, 0xd8));
    _mm256_storeu_si256((__m256i *)out + 1, _mm256_permute4x64_epi64(odd, 0xd8));
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

static void widen_f32(float *out, const void *row, size_t n) { memcpy(out, row, n * sizeof *out); }

static void widen_f16(float *out, const void *row, size_t n) {
    const uint16_t *bits = row;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(bits + i))));
    for (; i < n; i++) out[i] = _cvtsh_ss(bits[i]);
}

static void widen_bf16(float *out, const void *row, size_t n) {
    const uint16_t *bits = row;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(bits + i)));
        _mm256_storeu_si256((__m256i *)(out + i), _mm256_slli_epi32(wide, 16));
    }
    for (; i < n; i++) out[i] = vl2_bf16_to_f32(bits[i]);
}

/* ---- sums ------------------------------------------------------------------------------------- */

/* The lanes of n <= 4 vectors, added; the rest of the result is of no use. */
INLINE __m128 add_lanes(const __m256 *a, size_t n) {
    __m256 zero = _mm256_setzero_ps();
    __m256 ab = _mm256_hadd_ps(a[0], n > 1 ? a[1] : zero);
    __m256 cd = _mm256_hadd_ps(n > 2 ? a[2] : zero, n > 3 ? a[3] : zero);
    __m256 all = _mm256_hadd_ps(ab, cd);
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
    __m256 acc[MR][NR];
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) acc[i][j] = _mm256_setzero_ps();
    for (size_t k = 0; k < kp; k += STEP) {
        for (size_t h = 0; h < STEP; h += 8) {
            __m256 xs[MR];
            for (size_t i = 0; i < m; i++) xs[i] = _mm256_loadu_ps(x + i * kp + k + h);
            for (size_t j = 0; j < n; j++) {
                __m256 ws = _mm256_loadu_ps(w + j * kp + k + h);
                for (size_t i = 0; i < m; i++) acc[i][j] = _mm256_fmadd_ps(xs[i], ws, acc[i][j]);
            }
        }
    }
    for (size_t i = 0; i < m; i++) put(y + i * ldy, add_lanes(acc[i], n), n, add);
}

/* The whole tile. It takes all sixteen registers, and compilers that are short of one read operands again for
 * each use, or keep sums in memory. */
#define ROW_BY(w, a, b, c)                                                                         \
    "vmovups " w ", %%ymm15\n\t"                                                                   \
    "vfmadd231ps %%ymm12, %%ymm15, %" a "\n\t"                                                     \
    "vfmadd231ps %%ymm13, %%ymm15, %" b "\n\t"                                                     \
    "vfmadd231ps %%ymm14, %%ymm15, %" c "\n\t"
#define X_ROWS(at)                                                                                 \
    "vmovups " at "(%[x]), %%ymm12\n\t"                                                            \
    "vmovups " at "(%[x],%[row]), %%ymm13\n\t"                                                     \
    "vmovups " at "(%[x],%[row],2), %%ymm14\n\t"
#define W_ROW_1(at) ROW_BY(at "(%[w])", "0", "4", "8")
#define W_ROW_2(at) ROW_BY(at "(%[w],%[row])", "1", "5", "9")
#define W_ROW_3(at) ROW_BY(at "(%[w],%[row],2)", "2", "6", "10")
#define W_ROW_4(at) ROW_BY(at "(%[w],%[rows])", "3", "7", "11")
#define EIGHT(at) X_ROWS(at) W_ROW_1(at) W_ROW_2(at) W_ROW_3(at) W_ROW_4(at)
#define CLEAR(a) "vxorps %" a ", %" a ", %" a "\n\t"
#define CLEAR_ROW(a, b, c, d) CLEAR(a) CLEAR(b) CLEAR(c) CLEAR(d)
#define CLEAR_ALL                                                                                  \
    CLEAR_ROW("0", "1", "2", "3") CLEAR_ROW("4", "5", "6", "7") CLEAR_ROW("8", "9", "10", "11")
#define LOOP ".p2align 5\n1:\n\t"
#define NEXT "add $64, %[x]\n\tadd $64, %[w]\n\tdec %[steps]\n\tjnz 1b"
#define SUMS(i) "=&x"(acc[i][0]), "=&x"(acc[i][1]), "=&x"(acc[i][2]), "=&x"(acc[i][3])

INLINE void packed_whole(float *y, size_t ldy, const float *x, const float *w, size_t kp,
                         bool add) {
    __m256 acc[MR][NR];
    size_t steps = kp / STEP;
    __asm__ volatile(CLEAR_ALL LOOP EIGHT("0") EIGHT("32") NEXT
                     : SUMS(0), SUMS(1), SUMS(2), [x] "+r"(x), [w] "+r"(w), [steps] "+r"(steps)
                     : [row] "r"(kp * sizeof *x), [rows] "r"(3 * kp * sizeof *x)
                     : "memory", "cc", "xmm12", "xmm13", "xmm14", "xmm15");
    for (size_t i = 0; i < MR; i++) put(y + i * ldy, add_lanes(acc[i], NR), NR, add);
}

INLINE void packed_rows(float *y, size_t ldy, const float *x, const float *w, size_t kp, size_t m,
                        size_t n, bool add) {
    if (n >= 4)
        packed_tile(y, ldy, x, w, kp, m, 4, add);
    else if (n == 3)
        packed_tile(y, ldy, x, w, kp, m, 3, add);
    else if (n == 2)
        packed_tile(y, ldy, x, w, kp, m, 2, add);
    else
        packed_tile(y, ldy, x, w, kp, m, 1, add);
}

/* What is no whole tile: m < MR rows, or n < NR outputs. */
static __attribute__((noinline)) void packed_rest(float *y, size_t ldy, const float *x,
                                                  const float *w, size_t kp, size_t m, size_t n,
                                                  bool add) {
    if (m >= MR)
        packed_rows(y, ldy, x, w, kp, MR, n, add);
    else if (m == 2)
        packed_rows(y, ldy, x, w, kp, 2, n, add);
    else
        packed_rows(y, ldy, x, w, kp, 1, n, add);
}

/* Two tiles' worth of w at a time stay in the first-level cache while x passes by. */
static void packed(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t n, size_t k,
                   bool add) {
    const size_t kp = padded(k);
    const float *ws = w;
    for (size_t j0 = 0; j0 < n; j0 += 2 * NR) {
        const size_t end = j0 + 2 * NR < n ? j0 + 2 * NR : n;
        const size_t whole = kp ? end - (end - j0) % NR : j0;
        const float *xs = x;
        size_t i = 0;
        for (; i + MR <= m; i += MR, xs += MR * kp) {
            for (size_t j = j0; j < whole; j += NR)
                packed_whole(y + i * ldy + j, ldy, xs, ws + j * kp, kp, add);
            for (size_t j = whole; j < end; j += NR)
                packed_rest(y + i * ldy + j, ldy, xs, ws + j * kp, kp, MR, end - j, add);
        }
        for (size_t j = j0; i < m && j < end; j += NR)
            packed_rest(y + i * ldy + j, ldy, xs, ws + j * kp, kp, m - i, end - j, add);
    }
}

/* ---- packed rows by weights as they lie in the file --------------------------------------------- */

INLINE void step_tile(__m256 *acc, const float *x, size_t kp, const char *w, size_t stride,
                      vl2_dtype type, size_t m, size_t n) {
    for (size_t j = 0; j < n; j++) {
        __m256 first, second;
        load_step(type, w + j * stride, &first, &second);
        for (size_t i = 0; i < m; i++) {
            acc[i * n + j] = _mm256_fmadd_ps(_mm256_loadu_ps(x + i * kp), first, acc[i * n + j]);
            acc[i * n + j] =
                _mm256_fmadd_ps(_mm256_loadu_ps(x + i * kp + 8), second, acc[i * n + j]);
        }
    }
}

INLINE void direct_tile(float *y, size_t ldy, const float *x, size_t kp, const char *w,
                        size_t stride, size_t k, vl2_dtype type, size_t m, size_t n, bool add) {
    __m256 acc[12];
    for (size_t i = 0; i < m * n; i++) acc[i] = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + STEP <= k; i += STEP) {
        for (size_t j = 0; j < n; j++) { /* of this tile, and of the next one */
            _mm_prefetch(w + j * stride + i * size_of(type) + AHEAD, _MM_HINT_T0);
            _mm_prefetch(w + (j + n) * stride + i * size_of(type), _MM_HINT_T1);
        }
        step_tile(acc, x + i, kp, w + i * size_of(type), stride, type, m, n);
    }
    if (i < k) {
        char tail[12][STEP * 4];
        memset(tail, 0, sizeof tail);
        for (size_t j = 0; j < n; j++)
            memcpy(tail[j], w + j * stride + i * size_of(type), (k - i) * size_of(type));
        step_tile(acc, x + i, kp, tail[0], sizeof tail[0], type, m, n);
    }
    for (size_t r = 0; r < m; r++)
        for (size_t j = 0; j < n; j += 4)
            put(y + r * ldy + j, add_lanes(acc + r * n + j, n - j < 4 ? n - j : 4),
                n - j < 4 ? n - j : 4, add);
}

/* Outputs [0, n) of m <= MR rows; eight at a time for one row. */
INLINE void direct_rows(float *y, size_t ldy, const float *x, size_t kp, const char *w,
                        size_t stride, size_t n, size_t k, vl2_dtype type, size_t m, bool add) {
    size_t j = 0;
    if (m == 1)
        for (; j + 8 <= n; j += 8)
            direct_tile(y + j, ldy, x, kp, w + j * stride, stride, k, type, 1, 8, add);
    for (; j + 4 <= n; j += 4)
        direct_tile(y + j, ldy, x, kp, w + j * stride, stride, k, type, m, 4, add);
    for (; j < n; j++) direct_tile(y + j, ldy, x, kp, w + j * stride, stride, k, type, m, 1, add);
}

INLINE void direct(float *y, size_t ldy, const float *x, size_t m, const char *w, size_t stride,
                   size_t n, size_t k, bool add, vl2_dtype type) {
    size_t kp = padded(k), i = 0;
    for (; i + MR <= m; i += MR)
        direct_rows(y + i * ldy, ldy, x + i * kp, kp, w, stride, n, k, type, MR, add);
    if (m - i == 2)
        direct_rows(y + i * ldy, ldy, x + i * kp, kp, w, stride, n, k, type, 2, add);
    else if (m - i == 1)
        direct_rows(y + i * ldy, ldy, x + i * kp, kp, w, stride, n, k, type, 1, add);
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
    __m256 acc[12];
    for (size_t i = 0; i < m * vectors; i++) acc[i] = _mm256_setzero_ps();
    for (size_t l = 0; l < k; l++) {
        __m256 bs[8];
        for (size_t j = 0; j < vectors; j++) bs[j] = _mm256_loadu_ps(b + l * ldb + 8 * j);
        for (size_t i = 0; i < m; i++) {
            __m256 as = _mm256_broadcast_ss(a[i] + l);
            for (size_t j = 0; j < vectors; j++)
                acc[i * vectors + j] = _mm256_fmadd_ps(as, bs[j], acc[i * vectors + j]);
        }
    }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < vectors; j++)
            _mm256_storeu_ps(c + i * ldc + 8 * j, acc[i * vectors + j]);
}

/* m rows: as many columns at once as registers hold, then 16 at a time. */
INLINE void outer_rows(float *c, size_t ldc, const float *const *a, const float *b, size_t ldb,
                       size_t n, size_t k, size_t m, size_t vectors) {
    size_t j = 0;
    for (; j + 8 * vectors <= n; j += 8 * vectors)
        outer_tile(c + j, ldc, a, b + j, ldb, k, m, vectors);
    for (; j < n; j += 16) outer_tile(c + j, ldc, a, b + j, ldb, k, m, 2);
}

static void outer(float *c, size_t ldc, const float *const *a, size_t m, const float *b, size_t ldb,
                  size_t n, size_t k) {
    size_t i = 0;
    for (; i + 6 <= m; i += 6) outer_rows(c + i * ldc, ldc, a + i, b, ldb, n, k, 6, 2);
    if (i + 4 <= m) {
        outer_rows(c + i * ldc, ldc, a + i, b, ldb, n, k, 4, 2);
        i += 4;
    }
    if (i + 2 <= m) {
        outer_rows(c + i * ldc, ldc, a + i, b, ldb, n, k, 2, 4);
        i += 2;
    }
    if (i < m) outer_rows(c + i * ldc, ldc, a + i, b, ldb, n, k, 1, 8);
}

void vl2_dot_avx2_fill(vl2_kernels *out) {
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
    out->widen[VL2_F32] = widen_f32;
    out->widen[VL2_F16] = widen_f16;
    out->widen[VL2_BF16] = widen_bf16;
    out->outer = outer;
}
