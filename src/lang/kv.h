/* lang/kv.h - the KV cache: a pool of blocks of tokens, counted references, tables per sequence.
 *
 * A block holds VL2_KV_BLOCK tokens of all layers. For one layer and token it keeps
 *   MLA: c [C] (after its norm) then k_rope [Dr] (rotated);   MHA: k [Hk,Dh] (rotated), v [Hk,Dh].
 * In a block, a layer's tokens lie together: MLA [block, C+Dr]; MHA k [block, Hk*Dh] then v [block, Hk*Dh].
 * Blocks are shared between sequences with the same beginning; only a block that is held once is
 * written (the last partial one is copied at a fork). The pool's memory is taken once; taking and
 * giving back a block allocates nothing. */
#ifndef VL2_LANG_KV_H
#define VL2_LANG_KV_H

#include "backend/ops.h"
#include "model/config.h"

enum {
    VL2_KV_BLOCK = 64
}; /* tokens; attention sums block by block, so this is part of the numbers */

typedef struct vl2_kv_pool vl2_kv_pool;
typedef struct vl2_kv_seq { /* one sequence's table */
    vl2_kv_pool *pool;
    uint32_t *blocks; /* room for max_blocks */
    size_t n_blocks, max_blocks;
    size_t length;     /* tokens that are in the cache */
    size_t max_tokens; /* that it may ever hold */
} vl2_kv_seq;

/* Memory of a pool for `tokens` tokens (rounded up to whole blocks), exactly what creating it maps;
 * SIZE_MAX when that is too large to count. */
size_t vl2_kv_pool_bytes(const vl2_language_config *lang, vl2_dtype type, size_t tokens);
/* type: VL2_F32 or VL2_BF16. All sequences must be freed before their pool. */
vl2_status vl2_kv_pool_create(vl2_kv_pool **out, const vl2_language_config *lang, vl2_dtype type,
                              size_t tokens, vl2_error *err);
void vl2_kv_pool_free(vl2_kv_pool *pool);
size_t vl2_kv_pool_free_blocks(const vl2_kv_pool *pool);
vl2_dtype vl2_kv_pool_type(const vl2_kv_pool *pool);

vl2_status vl2_kv_seq_create(vl2_kv_seq *out, vl2_kv_pool *pool, size_t max_tokens, vl2_error *err);
/* *out begins with the first n_tokens of `from`; VL2_ERR_KV_FULL when the partial block's copy does
 * not fit. */
vl2_status vl2_kv_seq_fork(vl2_kv_seq *out, const vl2_kv_seq *from, size_t n_tokens,
                           vl2_error *err);
void vl2_kv_seq_free(vl2_kv_seq *seq);
/* Makes room for n more tokens after `length` (blocks taken, a shared last block copied, length
 * unchanged); VL2_ERR_KV_FULL or VL2_ERR_CONTEXT leave the sequence as it was. */
vl2_status vl2_kv_seq_reserve(vl2_kv_seq *seq, size_t n, vl2_error *err);
/* Forgets what lies past n_tokens and gives its whole blocks back, reserved ones too. */
void vl2_kv_seq_truncate(vl2_kv_seq *seq, size_t n_tokens);
/* Where token t's values of a layer are: MLA: k = c|k_rope; MHA: k, and v apart. */
void *vl2_kv_k(const vl2_kv_seq *seq, size_t layer, size_t t);
void *vl2_kv_v(const vl2_kv_seq *seq, size_t layer, size_t t);
/* The blocks of `layer` that hold tokens [0, n): out has room for them; returns how many. For MLA
 * v = k: the values are the keys' first C. */
size_t vl2_kv_blocks(vl2_kv_block *out, const vl2_kv_seq *seq, size_t layer, size_t n);

#endif
