/* model/resolution.h - which of a model's resolutions a picture takes: docs/MODEL.md §4.
 *
 * Pure arithmetic, shared by the prompt (token counts) and the image room (views). */
#ifndef VL2_MODEL_RESOLUTION_H
#define VL2_MODEL_RESOLUTION_H

#include "model/config.h"

/* The local picture, in tiles of S x S pixels, for a picture of width x height pixels: the candidate
 * that keeps most of its pixels, of equals the one that wastes least, of those the first. Without
 * `crop` (conversations of more than two pictures), or for an empty picture, 1 x 1. */
void vl2_resolution_choose(size_t *tiles_wide, size_t *tiles_high, const vl2_image_config *config,
                           size_t width, size_t height, bool crop);

#endif
