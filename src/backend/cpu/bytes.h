/* backend/cpu/bytes.h - products of rows rounded to bytes with weights that are bytes, a scale for each
 * whole row of both: what their kernels compute, to the bit.
 *
 * An output's weights are scale * q, q in -127 … 127, scale = max |w| / 127. A row of x is d * (q - zero),
 * q in 0 … 255: d = (greatest - least) / 255, where 0 counts as one of the values, and zero is what 0
 * becomes, so that a row that lies on one side (after GELU) has all steps there. Then
 *
 *     y = (d * scale) * (float)(sum of qw * (qx - zero))
 *
 * each operation rounded to float32 by itself. Integers have no order: every kernel of every level gives
 * the same bits, for one row or many. tests/kernels holds them to equality with ref/bytes_c.c.
 *
 * A row whose range is set by few values has coarse steps for all others. Where the range is more than
 * VL2_BYTES_CREST times the root mean square, what rounding left of the row is a second row of bytes, and y
 * is the sum of both products: 16 bits for rows with outliers, and no channel need be known beforehand. */
#ifndef VL2_BACKEND_CPU_BYTES_H
#define VL2_BACKEND_CPU_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VL2_BYTES_STEP = 64,  /* k is padded to these: zeros of weights */
    VL2_BYTES_STRIP = 16, /* outputs whose weights lie together */
    VL2_BYTES_CREST = 12,
    VL2_BYTES_MOST_K = 65536 /* 255 * 127 * k fits 32 bits */
};

/* Weights [n,k] in one piece of memory: float scale [n padded], int32 sum [n padded] of an output's q, and
 * strips of 16 outputs, int8 [k padded / 4][16][4] each. What is padded is 0. */
typedef struct vl2_bytes_w {
    const float *scale;
    const int32_t *sum;
    const int8_t *q;
    size_t kp; /* k padded */
} vl2_bytes_w;

typedef struct vl2_bytes_row {
    float d;
    int32_t zero;
} vl2_bytes_row;

typedef struct vl2_bytes {
    size_t x_bytes; /* of an element of a packed row, whose form is the level's own */
    /* out: k padded elements. rest [k]: what rounding left, x - d * (q - zero). True where the row's range
     * is over VL2_BYTES_CREST times its root mean square. With an infinity or NaN, d is NaN. */
    bool (*pack)(void *out, vl2_bytes_row *row, float *rest, const float *x, size_t k);
    /* y[i * ldy + j] of m packed rows and outputs first … first + n; both multiples of the strip. */
    void (*product)(float *y, size_t ldy, const void *x, const vl2_bytes_row *rows, size_t m,
                    const vl2_bytes_w *w, size_t first, size_t n);
} vl2_bytes;

static inline size_t vl2_bytes_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

/* What a row's range makes of it: false where it packs as zeros, with *d 0 or NaN. `bits`: the greatest
 * of |x|, as a whole number, which puts what is no number last. */
static inline bool vl2_bytes_scale(float *d, float *inverse, float least, float greatest,
                                   uint32_t bits) {
    const float span = greatest - least;
    union {
        uint32_t bits;
        float value;
    } nan = {0x7fc00000u};
    *inverse = 0.0f;
    *d = 0.0f;
    if (bits >= 0x7f800000u || span > 3.4e38f) *d = nan.value;
    if (bits >= 0x7f800000u || span > 3.4e38f || span < 1e-30f) return false;
    *d = span / 255.0f;
    *inverse = 255.0f / span;
    return true;
}

/* Whether so many squared steps are few for a row of k. */
static inline bool vl2_bytes_is_sparse(uint64_t squares, size_t k) {
    return squares * VL2_BYTES_CREST * VL2_BYTES_CREST < (uint64_t)255 * 255 * k;
}

#endif
