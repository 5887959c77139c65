/* backend/cpu/arm/bytes_neon.h - products of rows of bytes in vectors of 128 bits: with NEON alone, or with
 * its dot products where VL2_Q_DOTPROD is defined. */
#ifndef VL2_BACKEND_CPU_ARM_BYTES_NEON_H
#define VL2_BACKEND_CPU_ARM_BYTES_NEON_H

#include "backend/cpu/arm/arm.h"
#include "backend/cpu/bytes_plain.h"

#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

enum { PARTS = VL2_BYTES_STRIP / 4, ROWS = 4 };

/* Four outputs' sums of four products each. Alone, NEON has two sums an output. */
#if defined(VL2_Q_DOTPROD)
typedef struct sums {
    int32x4_t a;
} sums;
INLINE sums add_dots(sums s, int8x16_t w, int8x16_t x) { return (sums){vdotq_s32(s.a, w, x)}; }
INLINE sums no_sums(void) { return (sums){vdupq_n_s32(0)}; }
INLINE int32x4_t all_sums(sums s) { return s.a; }
#else
typedef struct sums {
    int32x4_t a, b;
} sums;
INLINE sums add_dots(sums s, int8x16_t w, int8x16_t x) {
    s.a = vpadalq_s16(s.a, vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    s.b = vpadalq_s16(s.b, vmull_s8(vget_high_s8(w), vget_high_s8(x)));
    return s;
}
INLINE sums no_sums(void) { return (sums){vdupq_n_s32(0), vdupq_n_s32(0)}; }
INLINE int32x4_t all_sums(sums s) { return vpaddq_s32(s.a, s.b); }
#endif

/* R rows of x, 128 taken off, by a strip of outputs. */
INLINE void tile(float *y, size_t ldy, const uint8_t *x, const vl2_bytes_row *rows,
                 const vl2_bytes_w *w, size_t output, const size_t R) {
    const int8_t *q = w->q + output * w->kp;
    sums acc[ROWS][PARTS];
    for (size_t r = 0; r < R; r++)
        for (size_t c = 0; c < PARTS; c++) acc[r][c] = no_sums();
    for (size_t k = 0; k < w->kp; k += 4, q += 4 * VL2_BYTES_STRIP)
        for (size_t r = 0; r < R; r++) {
            uint32_t four;
            memcpy(&four, x + r * w->kp + k, sizeof four);
            const int8x16_t v = vreinterpretq_s8_u32(vdupq_n_u32(four ^ 0x80808080u));
            for (size_t c = 0; c < PARTS; c++)
                acc[r][c] = add_dots(acc[r][c], vld1q_s8(q + 16 * c), v);
        }
    for (size_t r = 0; r < R; r++)
        for (size_t c = 0; c < PARTS; c++) {
            const size_t at = 4 * c;
            const int32x4_t sum = vld1q_s32(w->sum + output + at);
            const int32x4_t whole = vmlsq_n_s32(all_sums(acc[r][c]), sum, rows[r].zero - 128);
            const float32x4_t scale = vmulq_n_f32(vld1q_f32(w->scale + output + at), rows[r].d);
            vst1q_f32(y + r * ldy + at, vmulq_f32(scale, vcvtq_f32_s32(whole)));
        }
}

static void product(float *y, size_t ldy, const void *x, const vl2_bytes_row *rows, size_t m,
                    const vl2_bytes_w *w, size_t first, size_t n) {
    const uint8_t *from = x;
    for (size_t j = 0; j < n; j += VL2_BYTES_STRIP) {
        size_t i = 0;
        for (; i + ROWS <= m; i += ROWS)
            tile(y + i * ldy + j, ldy, from + i * w->kp, rows + i, w, first + j, ROWS);
        for (; i < m; i++) tile(y + i * ldy + j, ldy, from + i * w->kp, rows + i, w, first + j, 1);
    }
}

static void bytes_fill(vl2_kernels *out) {
    out->bytes = (vl2_bytes){.x_bytes = 1, .pack = vl2_bytes_pack_plain, .product = product};
}

#endif
