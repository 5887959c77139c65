/* vision/mosaic.h - where the projected rows of a picture's views go: docs/MODEL.md §6.
 *
 *   rows [1 + tw*th, g*g, D] -> [g*(g+1) + 1 + th*g*(tw*g+1), D], with newlines and the separator,
 *   in the order of the sequence (global view first or last). */
#ifndef VL2_VISION_MOSAIC_H
#define VL2_VISION_MOSAIC_H

#include "model/weights.h"

/* Puts view `view`'s rows [g*g, D] (0 is the global one) at their places in out; once for each view. */
void vl2_mosaic_place(float *out, const float *rows, size_t view, size_t tiles_wide,
                      size_t tiles_high, const vl2_config *config);
/* Fills the newlines and the separator. */
void vl2_mosaic_frame(float *out, size_t tiles_wide, size_t tiles_high, const vl2_config *config,
                      const vl2_projector_weights *w);

#endif
