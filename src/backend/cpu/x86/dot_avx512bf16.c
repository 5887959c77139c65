/* Products of bf16 weights with activations rounded to bf16, by vdpbf16ps: twice the products of a
 * float32 fma. A step is 32 elements in their own order; lane i sums elements 2i and 2i+1. */
#include "backend/cpu/x86/x86.h"

#include "backend/cpu/x86/dpbf16.h"

#include <string.h>

enum {
    STEP = 32,
    BLOCK = 1280,
    MR = 6,
    NR = 4,
    AHEAD = 1024 /* bytes that rows of mapped weights are fetched ahead */
};

#define INLINE static inline __attribute__((always_inline))

INLINE size_t padded(size_t k) { return (k + STEP - 1) / STEP * STEP; }

/* ---- packing ---------------------------------------------------------------------------------- */

static void pack_x(void *out, const float *x, size_t k) {
    uint16_t *p = out;
    const __m512i one = _mm512_set1_epi32(1), bias = _mm512_set1_epi32(0x7fff);
    size_t i = 0;
    for (; i + 16 <= k; i += 16) {
        __m512 a = _mm512_loadu_ps(x + i);
        __m512i u = _mm512_castps_si512(a);
        __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), one);
        __m512i r = _mm512_add_epi32(_mm512_add_epi32(u, bias), odd);
        __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
        r = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), r, quiet);
        _mm256_storeu_si256((__m256i *)(p + i), _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16)));
    }
    for (; i < k; i++) p[i] = vl2_f32_to_bf16(x[i]);
    memset(p + k, 0, (padded(k) - k) * sizeof *p);
}

static void pack_w(void *out, const void *row, size_t k) {
    uint16_t *p = out;
    memcpy(p, row, k * sizeof *p);
    memset(p + k, 0, (padded(k) - k) * sizeof *p);
}

/* ---- sums ------------------------------------------------------------------------------------- */

INLINE __m128 add_lanes(const __m512 *a, size_t n) {
    __m256 h[4];
    for (size_t i = 0; i < 4; i++)
        h[i] = i < n ? _mm256_add_ps(_mm512_castps512_ps256(a[i]), _mm512_extractf32x8_ps(a[i], 1))
                     : _mm256_setzero_ps();
    __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(h[0], h[1]), _mm256_hadd_ps(h[2], h[3]));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

INLINE void put(float *y, __m128 sums, size_t n, bool add) {
    float s[4];
    _mm_storeu_ps(s, sums);
    for (size_t i = 0; i < n; i++) y[i] = add ? y[i] + s[i] : s[i];
}

/* One step of m rows of x by n of w. */
INLINE void step_tile(__m512 *acc, const uint16_t *x, size_t kp, const char *w, size_t stride,
                      size_t m, size_t n) {
    __m512i ws[8];
    for (size_t j = 0; j < n; j++) ws[j] = _mm512_loadu_si512(w + j * stride);
    for (size_t i = 0; i < m; i++) {
        __m512i xs = _mm512_loadu_si512(x + i * kp);
        for (size_t j = 0; j < n; j++) acc[i * n + j] = vl2_dpbf16(acc[i * n + j], xs, ws[j]);
    }
}

/* w has k elements a row, packed (k a multiple of STEP, near = true) or as the file has it. */
INLINE void tile(float *y, size_t ldy, const uint16_t *x, size_t kp, const char *w, size_t stride,
                 size_t k, size_t m, size_t n, bool add, bool near) {
    __m512 acc[MR * NR];
    for (size_t i = 0; i < m * n; i++) acc[i] = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + STEP <= k; i += STEP) {
        for (size_t j = 0; j < n && !near; j++) { /* of this tile, and of the next one */
            _mm_prefetch(w + j * stride + i * 2 + AHEAD, _MM_HINT_T0);
            _mm_prefetch(w + (j + n) * stride + i * 2, _MM_HINT_T1);
        }
        step_tile(acc, x + i, kp, w + i * 2, stride, m, n);
    }
    if (i < k) {
        char tail[8][STEP * 2];
        memset(tail, 0, sizeof tail);
        for (size_t j = 0; j < n; j++) memcpy(tail[j], w + j * stride + i * 2, (k - i) * 2);
        step_tile(acc, x + i, kp, tail[0], sizeof tail[0], m, n);
    }
    for (size_t r = 0; r < m; r++)
        for (size_t j = 0; j < n; j += 4) {
            size_t width = n - j < 4 ? n - j : 4;
            put(y + r * ldy + j, add_lanes(acc + r * n + j, width), width, add);
        }
}

INLINE void rows(float *y, size_t ldy, const uint16_t *x, size_t kp, const char *w, size_t stride,
                 size_t n, size_t k, size_t m, bool add, bool near) {
    size_t j = 0;
    if (m == 1)
        for (; j + 8 <= n; j += 8)
            tile(y + j, ldy, x, kp, w + j * stride, stride, k, 1, 8, add, near);
    for (; j + NR <= n; j += NR)
        tile(y + j, ldy, x, kp, w + j * stride, stride, k, m, NR, add, near);
    for (; j < n; j++) tile(y + j, ldy, x, kp, w + j * stride, stride, k, m, 1, add, near);
}

INLINE void all_rows(float *y, size_t ldy, const uint16_t *x, size_t kp, const char *w,
                     size_t stride, size_t n, size_t k, size_t m, bool add, bool near) {
    size_t i = 0;
    for (; i + MR <= m; i += MR)
        rows(y + i * ldy, ldy, x + i * kp, kp, w, stride, n, k, MR, add, near);
    if (i + 3 <= m) {
        rows(y + i * ldy, ldy, x + i * kp, kp, w, stride, n, k, 3, add, near);
        i += 3;
    }
    for (; i < m; i++) rows(y + i * ldy, ldy, x + i * kp, kp, w, stride, n, k, 1, add, near);
}

static void packed(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t n, size_t k,
                   bool add) {
    size_t kp = padded(k);
    for (size_t j = 0; j < n; j += NR)
        all_rows(y + j, ldy, x, kp, (const char *)w + j * kp * 2, kp * 2, n - j < NR ? n - j : NR,
                 kp, m, add, true);
}

static void direct(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t w_stride,
                   size_t n, size_t k, bool add) {
    all_rows(y, ldy, x, padded(k), w, w_stride, n, k, m, add, false);
}

void vl2_dot_avx512bf16_fill(vl2_kernels *out) {
    out->fast[VL2_BF16] = (vl2_dot){.step = STEP,
                                    .block = BLOCK,
                                    .x_bytes = sizeof(uint16_t),
                                    .w_bytes = sizeof(uint16_t),
                                    .pack_x = pack_x,
                                    .pack_w = pack_w,
                                    .packed = packed,
                                    .direct = direct};
}
