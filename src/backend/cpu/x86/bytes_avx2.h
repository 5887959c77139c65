/* backend/cpu/x86/bytes_avx2.h - products of rows of bytes in vectors of 256 bits. With AVX-VNNI's dot
 * products where VL2_Q_VNNI is defined; with AVX2 alone in 16 bits, where q - zero has room: then a packed
 * row holds those, and bytes of weights are widened on their way. */
#ifndef VL2_BACKEND_CPU_X86_BYTES_AVX2_H
#define VL2_BACKEND_CPU_X86_BYTES_AVX2_H

#include "backend/cpu/x86/vec_avx2.h"
#include "backend/cpu/x86/x86.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define EACH(i, n) _Pragma("GCC unroll 8") for (int i = 0; i < (n); i++)

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
    EACH(r, R) EACH(c, PARTS) acc[r * PARTS + c] = vi_set(0);
    for (size_t k = 0; k < w->kp; k += 4, q += 4 * VL2_BYTES_STRIP) {
        vi v[PARTS];
        EACH(c, PARTS) v[c] = vi_load(q + 4 * VL * c);
        EACH(r, R) {
            int32_t four;
            memcpy(&four, x + (size_t)r * w->kp + k, sizeof four);
            EACH(c, PARTS) acc[r * PARTS + c] = vl2_dpbusd(acc[r * PARTS + c], vi_set(four), v[c]);
        }
    }
    EACH(c, PARTS) {
        const size_t at = (size_t)c * VL;
        const vi sum = vi_load(w->sum + output + at);
        EACH(r, R) {
            const vi left = _mm256_mullo_epi32(sum, vi_set(rows[r].zero));
            put(y + (size_t)r * ldy + at, &rows[r], w->scale + output + at,
                vi_sub(acc[r * PARTS + c], left));
        }
    }
}
#else
enum { ROWS = 3, X_BYTES = 2, PARTS = VL2_BYTES_STRIP / 4 };

/* R rows of x by a strip of outputs; a lane sums two of four elements of k, four outputs a vector. */
INLINE void tile(float *y, size_t ldy, const int16_t *x, const vl2_bytes_row *rows,
                 const vl2_bytes_w *w, size_t output, const int R) {
    const int8_t *q = w->q + output * w->kp;
    vi acc[ROWS * PARTS];
    EACH(r, R) EACH(c, PARTS) acc[r * PARTS + c] = vi_set(0);
    for (size_t k = 0; k < w->kp; k += 4, q += 4 * VL2_BYTES_STRIP) {
        vi fours[ROWS];
        EACH(r, R) {
            long long four;
            memcpy(&four, x + (size_t)r * w->kp + k, sizeof four);
            fours[r] = _mm256_set1_epi64x(four);
        }
        EACH(c, PARTS) {
            const vi v = _mm256_cvtepi8_epi16(_mm_load_si128((const void *)(q + 16 * c)));
            EACH(r, R)
            acc[r * PARTS + c] = vi_add(acc[r * PARTS + c], vi_madd(v, fours[r]));
        }
    }
    EACH(r, R) EACH(c, PARTS / 2) {
        const vi pairs = _mm256_hadd_epi32(acc[r * PARTS + 2 * c], acc[r * PARTS + 2 * c + 1]);
        const size_t at = (size_t)c * VL;
        put(y + (size_t)r * ldy + at, &rows[r], w->scale + output + at,
            _mm256_permute4x64_epi64(pairs, 0xd8));
    }
}
#endif

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

static void bytes_fill(vl2_kernels *out) {
    out->bytes = (vl2_bytes){.x_bytes = X_BYTES, .pack = b_pack, .product = product};
}

#endif
