/* image/resize.h - Pillow's antialiased bicubic resize, bit for bit: docs/MODEL.md §4. */
#ifndef VL2_IMAGE_RESIZE_H
#define VL2_IMAGE_RESIZE_H

#include "base/pool.h"

/* Scales rgb u8 [height, width, 3] to *out u8 [out_height, out_width, 3] (vl2_mem_free); all sides
 * greater than 0. The pool may be NULL. */
vl2_status vl2_resize_bicubic(uint8_t **out, const uint8_t *rgb, size_t width, size_t height,
                              size_t out_width, size_t out_height, vl2_pool *pool, vl2_error *err);

/* The two inner loops, in plain C and with what this machine has; tests hold them against each
 * other. */
typedef struct vl2_resize_kernels {
    /* One output row [n, 3] from one row [width, 3]: `taps` weights for each pixel, a multiple of
     * VL2_RESIZE_STEP with zeros behind, from pixel first[i] on; may read up to VL2_RESIZE_STEP
     * pixels more than the last tap needs. */
    void (*across)(uint8_t *rgb, const uint8_t *row, const uint32_t *first, const int32_t *weights,
                   size_t taps, size_t n);
    /* One output row from `taps` rows, `n` bytes each. */
    void (*down)(uint8_t *out, const uint8_t *rows, size_t stride, const int32_t *weights,
                 size_t taps, size_t n);
} vl2_resize_kernels;
enum { VL2_RESIZE_STEP = 8 };
vl2_resize_kernels vl2_resize_plain(void);
vl2_resize_kernels vl2_resize_best(void);

#endif
