/* image/views.h - a picture -> views of S x S pixels: docs/MODEL.md §4.
 *
 * Bit-exact with Pillow's ImageOps.pad(BICUBIC) and the reference's tile order. Which resolution a
 * picture takes is model/resolution.h's. */
#ifndef VL2_IMAGE_VIEWS_H
#define VL2_IMAGE_VIEWS_H

#include "base/pool.h"
#include "model/config.h"

/* *out: u8 [1 + tw*th, 3, S, S] - the global view first, then the tiles row by row - channels as
 * planes, not normalised (vl2_mem_free). The pool may be NULL. */
vl2_status vl2_views_make(uint8_t **out, const vl2_image_config *config, const vl2_picture *picture,
                          size_t tiles_wide, size_t tiles_high, vl2_pool *pool, vl2_error *err);

#endif
