/* lang/router.h - which experts a row goes to, and with what weights: docs/MODEL.md §7.
 *
 *   normed [m,D] -> logits [m,E], never rounded -> scores -> k experts and weights a row
 *
 * All in float32. */
#ifndef VL2_LANG_ROUTER_H
#define VL2_LANG_ROUTER_H

#include "backend/ops.h"
#include "base/arena.h"
#include "model/weights.h"

typedef struct vl2_router_scratch { /* for up to max_rows rows */
    float *scores;                  /* [max_rows, E] */
    float *choice;                  /* [E]: what the choice is made by */
    float *groups;                  /* [groups]: their values */
    uint32_t *order;                /* [max(E, groups)] */
} vl2_router_scratch;

void vl2_router_carve(vl2_arena *arena, vl2_router_scratch *out, const vl2_language_config *lang,
                      size_t max_rows);
/* experts, weights [m,k]. False when a score is not a number: the indices are in range all the same. */
bool vl2_router_forward(vl2_backend *be, uint32_t *experts, float *weights, const float *normed,
                        size_t m, const vl2_language_config *lang, const vl2_layer *layer,
                        const vl2_router_scratch *scratch);
/* One row: experts, weights [k] from logits [E], which become the scores. bias [E], of noaux_tc. */
bool vl2_router_choose(uint32_t *experts, float *weights, float *logits, const float *bias,
                       const vl2_language_config *lang, const vl2_router_scratch *scratch);

#endif
