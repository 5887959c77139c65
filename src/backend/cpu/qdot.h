/* backend/cpu/qdot.h - products with quantized weights: what their kernels compute, to the bit.
 *
 * A row of activations is quantized once: in units of 32 elements for weights in blocks of 32, of
 * 256 for super-blocks, q = round(x / d) with d = max |x| / 127. Of a unit, integers are summed
 * exactly; two numbers come out of it:
 *
 *     a = sum over sub-blocks of 16 of scale * (sum of qw * qx - offset * sum of qx)
 *     b = sum over sub-blocks of 16 of min * sum of qx
 *     t = (dw * dx) * a + (mw * dx) * b          (the second term only where the type has one)
 *
 * with each operation rounded to float32 by itself, and y = ((t_0 + t_1) + t_2) + … over the units.
 * Integers have no order, and the floats have one: every kernel of every level gives the same bits,
 * for one row or many. tests/kernels holds them to equality with ref/q_c.c. */
#ifndef VL2_BACKEND_CPU_QDOT_H
#define VL2_BACKEND_CPU_QDOT_H

#include "model/quant.h"

enum {
    VL2_QUNIT_MAX = VL2_QUANT_SUPER,
    VL2_QPANEL = 16, /* outputs of a panel */
    VL2_Q_TYPES = VL2_DTYPE_COUNT - VL2_Q8_0,
    VL2_Q_ROOM = 16 << 10 /* bytes for what a kernel unpacks: half a first cache */
};

/* 256 elements (or the last blocks of a row) of 16 outputs, as tiles of many rows want them. What
 * super-blocks have in `scale` and `min` is each level's own. */
typedef struct vl2_qpanel {
    _Alignas(64) uint8_t q[VL2_QUNIT_MAX / 4][VL2_QPANEL][4];
    int32_t scale[16][VL2_QPANEL];
    int32_t min[16][VL2_QPANEL];
    float d[8][VL2_QPANEL], m[8][VL2_QPANEL]; /* of 32 elements; super-blocks: [0] alone */
} vl2_qpanel;

typedef struct vl2_qdot {
    size_t unit; /* elements of a unit: the type's block */
    /* A packed row: q int8 [k], d float [k/unit], sums int16 [k/16]; vl2_qx_bytes of it. */
    void (*pack_x)(void *out, const float *x, size_t k);
    /* y[i * ldy + j] for m packed rows x and n rows of weights as the file has them. */
    void (*direct)(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t w_stride,
                   size_t n, size_t k);
    /* Panels of n <= 16 rows of weights, k elements from w on; NULL: the level has no such tiles. */
    void (*pack_w)(vl2_qpanel *out, const void *w, size_t w_stride, size_t n, size_t k);
    /* y = sum, or += with k0 > 0, of elements [k0, k0 + kn) of m packed rows of k; k0 is a multiple
     * of 256 and the panels begin there. y has room for 16 columns. */
    void (*packed)(float *y, size_t ldy, const void *x, size_t m, size_t k, const vl2_qpanel *w,
                   size_t k0, size_t kn);
    /* What `direct` does, faster for more than `few` rows; room: VL2_Q_ROOM bytes at a multiple of 64.
     * NULL: the level has panels instead (Arm's), or neither. */
    void (*many)(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t w_stride,
                 size_t n, size_t k, void *room);
    size_t few;
} vl2_qdot;

/* Where the parts of a packed row are; rows follow each other. */
static inline size_t vl2_qx_scales(size_t k) { return (k + 63) / 64 * 64; }
static inline size_t vl2_qx_sums(size_t k, size_t unit) {
    return vl2_qx_scales(k) + k / unit * sizeof(float);
}
static inline size_t vl2_qx_bytes(size_t k, size_t unit) {
    return (vl2_qx_sums(k, unit) + k / 16 * sizeof(int16_t) + 63) / 64 * 64;
}

#endif
