/* backend/cpu/x86/bytes_avx2.h - products of rows of bytes in vectors of 256 bits. With AVX-VNNI's dot
 * products where VL2_Q_VNNI is defined; with AVX2 alone in 16 bits, where q - zero has room: then a packed
 * row holds those, and bytes of weights are widened on their way. */
#ifndef VL2_BACKEND_CPU_X86_BYTES_AVX2_H
#define VL2_BACKEND_CPU_X86_BYTES_AVX2_H

#include "backend/cpu/x86/vec_avx2.h"
#include "backend/cpu/x86/x86.h"
#include "backend/cpu/unroll.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef __m256i vi;
INLINE vi vi_set(int32_t a) { return _mm256_set1_epi32(a); }
INLINE vi vi_load(const void *p) { return _mm256_loadu_si256(p); }
INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
INLINE vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
INLINE vi vi_max(vi a, vi b) { return _mm256_max_epi32(a, b); }
INLINE vi vi_min(vi a, vi b) { return _mm256_min_epi32(a, b); }
INLINE vi vi_abs(vi a) { return _mm256_abs_epi32(a); }
INLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
INLINE vi vi_madd(vi a, vi b) { return _mm256_madd_epi16(a, b); }
INLINE vi b_bits(vf a) { return _mm256_castps_si256(a); }
INLINE vi b_whole(vf a) { return _mm256_cvtps_epi32(a); }
INLINE vf b_float(vi a) { return _mm256_cvtepi32_ps(a); }
INLINE uint32_t b_top(vi a) {
    uint32_t lanes[VL], top = 0;
    memcpy(lanes, &a, sizeof lanes);
    for (int i = 0; i < VL; i++) top = lanes[i] > top ? lanes[i] : top;
    return top;
}
INLINE uint64_t b_total(vi a) {
    uint32_t lanes[VL];
    uint64_t sum = 0;
    memcpy(lanes, &a, sizeof lanes);
    for (int i = 0; i < VL; i++) sum += lanes[i];
    return sum;
}
INLINE void b_put(void *out, size_t i, vi q, vi zero) {
#if defined(VL2_Q_VNNI)
    const __m128i twice =
        _mm_packus_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    _mm_storel_epi64((__m128i *)(void *)((uint8_t *)out + i), _mm_packus_epi16(twice, twice));
    (void)zero;
#else
    q = vi_sub(q, zero);
    _mm_storeu_si128((__m128i *)(void *)((int16_t *)out + i),
                     _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1)));
#endif
}

#include "backend/cpu/x86/bytes_rows.h"

INLINE void put(float *y, const vl2_bytes_row *row, const float *scale, vi sum) {
    v_store(y, v_mul(v_mul(v_set(row->d), v_load(scale)), b_float(sum)));
}

#if defined(VL2_Q_VNNI)
enum { ROWS = 6, X_BYTES = 1, PARTS = VL2_BYTES_STRIP / VL };

/* R rows of x by a strip of outputs. */
INLINE void tile(float *y, size_t ldy, const uint8_t *x, const vl2_bytes_row *rows,
                 const vl2_bytes_w *w, size_t output, const int R) {
    const int8_t *q = w->q + output * w->kp;
    vi acc[ROWS * PARTS];
    VL2_EACH(r, R) VL2_EACH(c, PARTS) acc[r * PARTS + c] = vi_set(0);
    for (size_t k = 0; k < w->kp; k += 4, q += 4 * VL2_BYTES_STRIP) {
        vi v[PARTS];
        VL2_EACH(c, PARTS) v[c] = vi_load(q + 4 * VL * c);
        VL2_EACH(r, R) {
            int32_t four;
            memcpy(&four, x + (size_t)r * w->kp + k, sizeof four);
            VL2_EACH(c, PARTS)
            acc[r * PARTS + c] = vl2_dpbusd(acc[r * PARTS + c], vi_set(four), v[c]);
        }
    }
    VL2_EACH(c, PARTS) {
        const size_t at = (size_t)c * VL;
        const vi sum = vi_load(w->sum + output + at);
        VL2_EACH(r, R) {
            const vi left = _mm256_mullo_epi32(sum, vi_set(rows[r].zero));
            put(y + (size_t)r * ldy + at, &rows[r], w->scale + output + at,
                vi_sub(acc[r * PARTS + c], left));
        }
    }
}
static void product(float *y, size_t ldy, const void *x, const vl2_bytes_row *rows, size_t m,
                    const vl2_bytes_w *w, size_t first, size_t n) {
    for (size_t j = 0; j < n; j += VL2_BYTES_STRIP) {
        const char *from = x;
        const size_t row = w->kp * X_BYTES;
        size_t i = 0;
        for (; i + ROWS <= m; i += ROWS)
            tile(y + i * ldy + j, ldy, (const void *)(from + i * row), rows + i, w, first + j,
                 ROWS);
        for (; i < m; i++)
            tile(y + i * ldy + j, ldy, (const void *)(from + i * row), rows + i, w, first + j, 1);
    }
}
#else
/* A tile has half a strip's outputs: two vectors of four, with two lanes for each. At most BLOCK of k, so
 * that its rows and weights stay in the first cache. */
enum { ROWS = 6, X_BYTES = 2, HALF = VL2_BYTES_STRIP / 2, BLOCK = 1152 };

/* Sums of R rows by HALF outputs over k elements. */
INLINE void few_sums(vi sums[], const int16_t *x, size_t kp, const int8_t *q, size_t k,
                     const int R) {
    vi acc[2 * ROWS];
    VL2_EACH(r, 2 * R) acc[r] = vi_set(0);
    for (size_t i = 0; i < k; i += 4, q += 4 * VL2_BYTES_STRIP) {
        const vi low = _mm256_cvtepi8_epi16(_mm_load_si128((const void *)q));
        const vi high = _mm256_cvtepi8_epi16(_mm_load_si128((const void *)(q + 16)));
        VL2_EACH(r, R) {
            long long four;
            memcpy(&four, x + (size_t)r * kp + i, sizeof four);
            const vi fours = _mm256_set1_epi64x(four);
            acc[2 * r] = vi_add(acc[2 * r], vi_madd(low, fours));
            acc[2 * r + 1] = vi_add(acc[2 * r + 1], vi_madd(high, fours));
        }
    }
    VL2_EACH(r, R) sums[r] = _mm256_hadd_epi32(acc[2 * r], acc[2 * r + 1]);
}

/* The same of six rows. It takes all sixteen registers, and compilers that are short of one keep sums in
 * memory. */
#define ROW_BY(x, low, high)                                                                       \
    "vpbroadcastq " x ", %%ymm14\n\t"                                                              \
    "vpmaddwd %%ymm12, %%ymm14, %%ymm15\n\t"                                                       \
    "vpmaddwd %%ymm13, %%ymm14, %%ymm14\n\t"                                                       \
    "vpaddd %%ymm15, %" low ", %" low "\n\t"                                                       \
    "vpaddd %%ymm14, %" high ", %" high "\n\t"
#define WIDEN(q) "vpmovsxbw " q "(%[q]), %%ymm12\n\tvpmovsxbw 16+" q "(%[q]), %%ymm13\n\t"
#define ROW_1(x) ROW_BY(x "(%[x])", "0", "1")
#define ROW_2(x) ROW_BY(x "(%[x],%[row])", "2", "3")
#define ROW_3(x) ROW_BY(x "(%[x],%[row],2)", "4", "5")
#define ROW_4(x) ROW_BY(x "(%[x3])", "6", "7")
#define ROW_5(x) ROW_BY(x "(%[x3],%[row])", "8", "9")
#define ROW_6(x) ROW_BY(x "(%[x3],%[row],2)", "10", "11")
#define FOUR(q, x) WIDEN(q) ROW_1(x) ROW_2(x) ROW_3(x) ROW_4(x) ROW_5(x) ROW_6(x)
#define CLEAR(a) "vpxor %" a ", %" a ", %" a "\n\t"
#define CLEAR_4(a, b, c, d) CLEAR(a) CLEAR(b) CLEAR(c) CLEAR(d)
#define CLEAR_ALL                                                                                  \
    CLEAR_4("0", "1", "2", "3") CLEAR_4("4", "5", "6", "7") CLEAR_4("8", "9", "10", "11")
#define LOOP ".p2align 5\n1:\n\t"
#define NEXT "add $128, %[q]\n\tadd $16, %[x]\n\tadd $16, %[x3]\n\tdec %[steps]\n\tjnz 1b"
#define SUMS(i) "=&x"(acc[i]), "=&x"(acc[(i) + 1]), "=&x"(acc[(i) + 2]), "=&x"(acc[(i) + 3])

INLINE void six_sums(vi sums[ROWS], const int16_t *x, size_t kp, const int8_t *q, size_t k) {
    vi acc[2 * ROWS];
    const int16_t *x3 = x + 3 * kp;
    size_t steps = k / 8;
    __asm__ volatile(CLEAR_ALL LOOP FOUR("0", "0") FOUR("64", "8") NEXT
                     : SUMS(0), SUMS(4),
                       SUMS(8), [x] "+r"(x), [x3] "+r"(x3), [q] "+r"(q), [steps] "+r"(steps)
                     : [row] "r"(kp * sizeof *x)
                     : "memory", "cc", "xmm12", "xmm13", "xmm14", "xmm15");
    VL2_EACH(r, ROWS) sums[r] = _mm256_hadd_epi32(acc[2 * r], acc[2 * r + 1]);
}

typedef struct span {      /* of k */
    size_t from, n, whole; /* `whole`: all of it */
} span;

/* R rows by HALF outputs; until k is at its end, y holds whole numbers. */
INLINE void tile(float *y, size_t ldy, const int16_t *x, const vl2_bytes_row *rows,
                 const vl2_bytes_w *w, size_t output, span k, const int R) {
    const size_t half = output % VL2_BYTES_STRIP;
    const int8_t *q = w->q + (output - half) * w->kp + k.from * VL2_BYTES_STRIP + 4 * half;
    vi sums[ROWS];
    if (R == ROWS)
        six_sums(sums, x + k.from, w->kp, q, k.n);
    else
        few_sums(sums, x + k.from, w->kp, q, k.n, R);
    VL2_EACH(r, R) {
        float *at = y + (size_t)r * ldy;
        vi sum = _mm256_permute4x64_epi64(sums[r], 0xd8);
        if (k.from > 0) sum = vi_add(sum, vi_load(at));
        if (k.from + k.n == k.whole)
            put(at, &rows[r], w->scale + output, sum);
        else
            _mm256_storeu_si256((void *)at, sum);
    }
}

INLINE void all_rows(float *y, size_t ldy, const int16_t *x, const vl2_bytes_row *rows, size_t m,
                     const vl2_bytes_w *w, size_t output, span k) {
    size_t i = 0;
    for (; i + ROWS <= m; i += ROWS)
        tile(y + i * ldy, ldy, x + i * w->kp, rows + i, w, output, k, ROWS);
    for (; i + 2 <= m; i += 2) tile(y + i * ldy, ldy, x + i * w->kp, rows + i, w, output, k, 2);
    if (i < m) tile(y + i * ldy, ldy, x + i * w->kp, rows + i, w, output, k, 1);
}

static void product(float *y, size_t ldy, const void *x, const vl2_bytes_row *rows, size_t m,
                    const vl2_bytes_w *w, size_t first, size_t n) {
    const size_t blocks = (w->kp + BLOCK - 1) / BLOCK;
    const size_t block = vl2_bytes_up((w->kp + blocks - 1) / blocks, VL2_BYTES_STEP);
    for (size_t k = 0; k < w->kp; k += block) {
        const span some = {k, w->kp - k < block ? w->kp - k : block, w->kp};
        for (size_t j = 0; j < n; j += HALF) all_rows(y + j, ldy, x, rows, m, w, first + j, some);
    }
}
#endif

static void bytes_fill(vl2_kernels *out) {
    out->bytes = (vl2_bytes){.x_bytes = X_BYTES, .pack = b_pack, .product = product};
}

#endif
