/* lang/attn.h - what both forms of attention share: the rows of a step and where their keys are. */
#ifndef VL2_LANG_ATTN_H
#define VL2_LANG_ATTN_H

#include "base/arena.h"
#include "lang/kv.h"

typedef struct vl2_attn_part { /* one sequence's rows in a step */
    const vl2_kv_seq *kv;
    size_t row, n_rows;
    size_t position; /* in the sequence, of the first row */
} vl2_attn_part;

typedef struct vl2_attn_rows { /* all rows of a step */
    vl2_attn_part *parts;      /* one behind the other */
    size_t n_parts, n_rows;    /* R */
    float *cos, *sin;          /* [R, half] */
    bool queries;              /* of a layer: made together with keys, as all rows have some */
} vl2_attn_rows;

typedef struct vl2_attn_tables { /* a call's sequences and their blocks */
    vl2_attn_seq *seqs;          /* [max_seqs] */
    vl2_kv_block *blocks;        /* [max_seqs * blocks of max_tokens] */
} vl2_attn_tables;

void vl2_attn_carve(vl2_arena *arena, vl2_attn_tables *out, size_t max_seqs, size_t max_tokens);
/* Puts all rows' keys and values, [R,width] each (v NULL: the keys are all there is), into the cache. */
void vl2_attn_store(vl2_backend *be, const vl2_attn_rows *rows, size_t layer, const float *k,
                    const float *v, size_t width);
/* Lists n parts with all that is cached for them of `layer` up to their last row; returns how many
 * of them have rows. */
size_t vl2_attn_list(const vl2_attn_tables *tables, const vl2_attn_part *parts, size_t n,
                     size_t layer);

#endif
