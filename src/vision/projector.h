/* vision/projector.h - patch features -> language-model rows: docs/MODEL.md §6.
 *
 *   feat [n, G*G, Dv] --pad, r x r unfold--> [n*g*g, Dv*r*r] --Linear, GELU (erf), …--> [n, g*g, D] */
#ifndef VL2_VISION_PROJECTOR_H
#define VL2_VISION_PROJECTOR_H

#include "backend/ops.h"
#include "base/arena.h"
#include "model/weights.h"

typedef struct vl2_projector_scratch {
    float *unfolded; /* [n*g*g, Dv*r*r]; with token_pooling [n*g*g, Dv*2*2] */
    float *a, *b;    /* [n*g*g, max(hidden, Dv)] each */
} vl2_projector_scratch;

void vl2_projector_carve(vl2_arena *arena, vl2_projector_scratch *out, const vl2_config *config,
                         size_t n);
/* What vl2_backend_reserve must be asked for before n views go through at once. */
void vl2_projector_extent(size_t *max_rows, size_t *max_cols, const vl2_config *config, size_t n);
/* rows [n, g*g, D] is the caller's. */
void vl2_projector_forward(vl2_backend *be, float *rows, const float *feat, size_t n,
                           const vl2_config *config, const vl2_projector_weights *w,
                           const vl2_projector_scratch *scratch);

#endif
