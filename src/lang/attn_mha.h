/* lang/attn_mha.h - attention with keys and values a head, grouped or not: docs/MODEL.md §7.
 *
 *   normed [R,D] -> q [R,H,Dh], k and v [R,Hk,Dh]; rope (half-split) on q and k; k and v -> cache
 *   x [R,D] += o(softmax(q k^T * scale) v) */
#ifndef VL2_LANG_ATTN_MHA_H
#define VL2_LANG_ATTN_MHA_H

#include "lang/attn.h"
#include "model/weights.h"

typedef struct vl2_attn_mha_scratch { /* for up to max_rows rows */
    float *q;                         /* [max_rows, H*Dh] */
    float *k, *v;                     /* [max_rows, Hk*Dh] */
    float *mixed;                     /* [max_rows, H*Dh] */
} vl2_attn_mha_scratch;

void vl2_attn_mha_carve(vl2_arena *arena, vl2_attn_mha_scratch *out,
                        const vl2_language_config *lang, size_t max_rows);
/* Puts the rows' keys and values into layer `index` of their caches, and, if rows->queries says so, makes
 * of the same product what `attend` needs. */
void vl2_attn_mha_store(vl2_backend *be, const float *normed, const vl2_attn_rows *rows,
                        const vl2_language_config *lang, const vl2_layer *layer, size_t index,
                        const vl2_attn_mha_scratch *scratch);
/* x += what the rows see of their caches. The rows may be the last ones of those stored. */
void vl2_attn_mha_attend(vl2_backend *be, float *x, const float *normed, const vl2_attn_rows *rows,
                         const vl2_language_config *lang, const vl2_layer *layer, size_t index,
                         const vl2_attn_tables *tables, const vl2_attn_mha_scratch *scratch);

#endif
