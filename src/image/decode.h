/* image/decode.h - bytes -> 8-bit RGB, as Pillow's convert("RGB") has it: docs/MODEL.md §4.
 *
 * One door by content (decode.c), one file a format. Each decoder checks the size that the header
 * tells against the limits before it takes memory, and says what is wrong with `source->name` in
 * front. A truncated file is an error. */
#ifndef VL2_IMAGE_DECODE_H
#define VL2_IMAGE_DECODE_H

#include "base/err.h"
#include "image/picture.h"

typedef struct vl2_source {
    const uint8_t *bytes;
    size_t size;
    const char *name;
    uint64_t max_pixels;
} vl2_source;

/* *out: the picture as it is stored; *orientation: EXIF's, 1 … 8 (1 where there is none). */
typedef vl2_status (*vl2_decode_fn)(vl2_picture **out, int *orientation, const vl2_source *source,
                                    vl2_error *err);

vl2_status vl2_decode_jpeg(vl2_picture **out, int *orientation, const vl2_source *source,
                           vl2_error *err);
vl2_status vl2_decode_png(vl2_picture **out, int *orientation, const vl2_source *source,
                          vl2_error *err);
vl2_status vl2_decode_webp(vl2_picture **out, int *orientation, const vl2_source *source,
                           vl2_error *err);
vl2_status vl2_decode_gif(vl2_picture **out, int *orientation, const vl2_source *source,
                          vl2_error *err);
vl2_status vl2_decode_bmp(vl2_picture **out, int *orientation, const vl2_source *source,
                          vl2_error *err);
vl2_status vl2_decode_pnm(vl2_picture **out, int *orientation, const vl2_source *source,
                          vl2_error *err);
/* Already turned: a TIFF's orientation belongs to how it is stored, and Pillow honours it. */
vl2_status vl2_decode_tiff(vl2_picture **out, int *orientation, const vl2_source *source,
                           vl2_error *err);

/* The formats that this build reads: "jpeg png webp …". */
const char *vl2_decode_formats(void);
/* "NAME: the FORMAT is truncated" (VL2_ERR_FORMAT). */
vl2_status vl2_decode_truncated(const vl2_source *source, const char *format, vl2_error *err);
/* vl2_picture_check_size, then vl2_picture_create. */
vl2_status vl2_decode_take(vl2_picture **out, const vl2_source *source, uint64_t width,
                           uint64_t height, vl2_error *err);

/* CMYK as ink (0 = none) to RGB, in the fixed point of Pillow's Convert.c (docs/MODEL.md §4). */
static inline void vl2_decode_cmyk(uint8_t *rgb, uint8_t c, uint8_t m, uint8_t y, uint8_t k) {
    const int white = 255 - k, ink[3] = {c, m, y};
    for (int i = 0; i < 3; i++) {
        const int t = ink[i] * white + 128, value = white - (((t >> 8) + t) >> 8);
        rgb[i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

/* `n` pixels of one grey byte each, spread to three. */
static inline void vl2_decode_grey(uint8_t *rgb, const uint8_t *grey, size_t n) {
    for (size_t i = 0; i < n; i++) rgb[i * 3] = rgb[i * 3 + 1] = rgb[i * 3 + 2] = grey[i];
}

#endif
