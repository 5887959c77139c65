/* lang/attn_mla.h - attention over compressed keys and values: docs/MODEL.md §7.
 *
 *   normed [R,D] -> c [R,C] (after its norm) | k_rope [R,Dr] (rotated, interleaved) -> cache
 *                -> q [R,H,Dn+Dr]
 *   x [R,D] += o(softmax((q_nope . k_nope + q_rope . k_rope) * scale) v),  k_nope | v = kv_b(c)
 *
 * Two forms, equal but for rounding; a sequence takes one by its own rows and keys alone:
 *   absorbed  queries are moved into the compressed space by kv_b's key half, attention runs on the
 *             cache as it is, its result goes through kv_b's value half;
 *   expanded  keys and values are rebuilt from the cache, VL2_ATTN_MLA_BLOCKS blocks at a time. */
#ifndef VL2_LANG_ATTN_MLA_H
#define VL2_LANG_ATTN_MLA_H

#include "lang/attn.h"
#include "model/weights.h"

enum {
    VL2_ATTN_MLA_BLOCKS = 4, /* KV blocks expanded at once: memory does not grow with the context */
    VL2_ATTN_MLA_KEYS = VL2_ATTN_MLA_BLOCKS * VL2_KV_BLOCK
};

typedef struct vl2_attn_mla_scratch { /* for up to max_rows rows */
    float *q;                         /* [max_rows, H*(Dn+Dr)] */
    float *q_low;                     /* [max_rows, Cq]; NULL without q_lora */
    float *c;                         /* [max_rows, C+Dr] */
    float *mixed;                     /* [max_rows, H*Dvh] */
    /* absorbed form */
    float *q_absorbed;     /* [max_rows, H*(C+Dr)] */
    float *mixed_absorbed; /* [max_rows, H*C] */
    /* expanded form, in the same memory */
    float *cached; /* [VL2_ATTN_MLA_KEYS, C+Dr] */
    float *keys;   /* [VL2_ATTN_MLA_KEYS, H*(Dn+Dr)] */
    float *values; /* [VL2_ATTN_MLA_KEYS, H*Dvh] */
    float *state;  /* [max_rows, H, Dvh+2] */
} vl2_attn_mla_scratch;

void vl2_attn_mla_carve(vl2_arena *arena, vl2_attn_mla_scratch *out,
                        const vl2_language_config *lang, size_t max_rows);
/* Whether n_rows new rows behind `past` cached tokens take the expanded form: the cheaper one. */
bool vl2_attn_mla_expands(const vl2_language_config *lang, size_t n_rows, size_t past);
/* Puts the rows' compressed keys into layer `index` of their caches, and, if rows->queries says so, makes
 * of the same product what `attend` needs. */
void vl2_attn_mla_store(vl2_backend *be, const float *normed, const vl2_attn_rows *rows,
                        const vl2_language_config *lang, const vl2_layer *layer, size_t index,
                        const vl2_attn_mla_scratch *scratch);
/* x += what the rows see of their caches. The rows may be the last ones of those stored. */
void vl2_attn_mla_attend(vl2_backend *be, float *x, const float *normed, const vl2_attn_rows *rows,
                         const vl2_language_config *lang, const vl2_layer *layer, size_t index,
                         const vl2_attn_tables *tables, const vl2_attn_mla_scratch *scratch);

#endif
