/* Products of rows of bytes, AVX-512 with VNNI: six rows of x by 64 outputs at a time. */
#include "backend/cpu/x86/vec_avx512.h"
#include "backend/cpu/x86/x86.h"
#include "backend/cpu/unroll.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { ROWS = 6, STRIPS = 4 };

typedef __m512i vi;
INLINE vi vi_set(int32_t a) { return _mm512_set1_epi32(a); }
INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
INLINE vi vi_max(vi a, vi b) { return _mm512_max_epi32(a, b); }
INLINE vi vi_min(vi a, vi b) { return _mm512_min_epi32(a, b); }
INLINE vi vi_abs(vi a) { return _mm512_abs_epi32(a); }
INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
INLINE vi vi_madd(vi a, vi b) { return _mm512_madd_epi16(a, b); }
INLINE vi b_bits(vf a) { return _mm512_castps_si512(a); }
INLINE vi b_whole(vf a) { return _mm512_cvtps_epi32(a); }
INLINE vf b_float(vi a) { return _mm512_cvtepi32_ps(a); }
INLINE uint32_t b_top(vi a) { return (uint32_t)_mm512_reduce_max_epi32(a); }
INLINE uint64_t b_total(vi a) {
    const vi both =
        _mm512_add_epi64(vi_and(a, _mm512_set1_epi64(0xffffffff)), _mm512_srli_epi64(a, 32));
    uint64_t each[8], sum = 0;
    _mm512_storeu_si512(each, both);
    for (int i = 0; i < 8; i++) sum += each[i];
    return sum;
}
INLINE void b_put(void *out, size_t i, vi q, vi zero) {
    (void)zero;
    _mm_storeu_si128((__m128i *)(void *)((uint8_t *)out + i), _mm512_cvtepi32_epi8(q));
}

#include "backend/cpu/x86/bytes_rows.h"

/* gcc 12 copies sums to the stack and back with each step unless told that each has one register. */
#if defined(VL2_EMULATE_AVX512)
#define keep(sum) ((void)(sum))
#else
#define keep(sum) __asm__("" : "+v"(sum))
#endif

/* R rows of x by C strips of outputs. */
INLINE void tile(float *y, size_t ldy, const uint8_t *x, const vl2_bytes_row *rows,
                 const vl2_bytes_w *w, size_t output, const int R, const int C) {
    const int8_t *q = w->q + output * w->kp;
    const size_t strip = VL2_BYTES_STRIP * w->kp;
    vi acc[ROWS * STRIPS];
    VL2_EACH(r, R) VL2_EACH(c, C) acc[r * C + c] = vi_set(0);
    for (size_t k = 0; k < w->kp; k += 4) {
        vi v[STRIPS];
        VL2_EACH(c, C) v[c] = _mm512_load_si512(q + (size_t)c * strip + k * VL2_BYTES_STRIP);
        VL2_EACH(r, R) {
            int32_t four;
            memcpy(&four, x + (size_t)r * w->kp + k, sizeof four);
            VL2_EACH(c, C) acc[r * C + c] = _mm512_dpbusd_epi32(acc[r * C + c], vi_set(four), v[c]);
        }
        VL2_EACH(i, R * C) keep(acc[i]);
    }
    VL2_EACH(c, C) {
        const size_t at = (size_t)c * VL2_BYTES_STRIP;
        const vf scale = v_load(w->scale + output + at);
        const vi sum = _mm512_loadu_si512(w->sum + output + at);
        VL2_EACH(r, R) {
            const vi left = _mm512_mullo_epi32(sum, vi_set(rows[r].zero));
            const vf whole = b_float(vi_sub(acc[r * C + c], left));
            v_store(y + (size_t)r * ldy + at, v_mul(v_mul(v_set(rows[r].d), scale), whole));
        }
    }
}

INLINE void strips(float *y, size_t ldy, const uint8_t *x, const vl2_bytes_row *rows, size_t m,
                   const vl2_bytes_w *w, size_t output, const int C) {
    size_t i = 0;
    for (; i + ROWS <= m; i += ROWS)
        tile(y + i * ldy, ldy, x + i * w->kp, rows + i, w, output, ROWS, C);
    for (; i + 3 <= m; i += 3) tile(y + i * ldy, ldy, x + i * w->kp, rows + i, w, output, 3, C);
    for (; i < m; i++) tile(y + i * ldy, ldy, x + i * w->kp, rows + i, w, output, 1, C);
}

static void product(float *y, size_t ldy, const void *x, const vl2_bytes_row *rows, size_t m,
                    const vl2_bytes_w *w, size_t first, size_t n) {
    enum { WIDE = STRIPS * VL2_BYTES_STRIP };
    size_t j = 0;
    for (; j + WIDE <= n; j += WIDE) strips(y + j, ldy, x, rows, m, w, first + j, STRIPS);
    for (; j < n; j += VL2_BYTES_STRIP) strips(y + j, ldy, x, rows, m, w, first + j, 1);
}

void vl2_bytes_avx512vnni_fill(vl2_kernels *out) {
    out->bytes = (vl2_bytes){.x_bytes = 1, .pack = b_pack, .product = product};
}
