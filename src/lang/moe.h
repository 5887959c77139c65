/* lang/moe.h - routed and shared experts, by groups of rows: docs/MODEL.md §7.
 *
 *   x [m,D] += sum over a row's k experts of weight * expert(normed)  (+ shared(normed))
 *
 * The m*k (row, expert) pairs are sorted by expert, so that each expert's rows are one product. A
 * row's experts are added in the order in which the router named them, whoever else is there. */
#ifndef VL2_LANG_MOE_H
#define VL2_LANG_MOE_H

#include "lang/router.h"

typedef struct vl2_moe_scratch { /* for up to max_rows rows */
    vl2_router_scratch router;
    uint32_t *experts; /* [max_rows, k] */
    float *weights;    /* [max_rows, k] */
    uint32_t *rows;    /* [max_rows * k]: the row of each place of the grouped order */
    uint32_t *slots;   /* [max_rows, k]: the place of each pair in it */
    size_t *starts;    /* [E + 1] */
    vl2_group *groups; /* [E] */
    float *hidden;     /* [max_rows * k, Fe] */
    float *outputs;    /* [max_rows * k, D] */
    float *shared;     /* [max_rows, Fs] */
    float *last;       /* [max_rows, D]: what shared experts give */
} vl2_moe_scratch;

void vl2_moe_carve(vl2_arena *arena, vl2_moe_scratch *out, const vl2_language_config *lang,
                   size_t max_rows);
/* normed [m,D]. False when a router score is not a number. */
bool vl2_moe_forward(vl2_backend *be, float *x, const float *normed, size_t m,
                     const vl2_language_config *lang, const vl2_layer *layer,
                     const vl2_moe_scratch *scratch);

#endif
