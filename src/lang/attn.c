#include "lang/attn.h"

void vl2_attn_carve(vl2_arena *arena, vl2_attn_tables *out, size_t max_seqs, size_t max_tokens) {
    const size_t max_blocks = max_tokens / VL2_KV_BLOCK + 1;
    out->seqs = vl2_arena_array(arena, max_seqs, sizeof *out->seqs);
    out->blocks = vl2_arena_array(arena, max_seqs, max_blocks * sizeof *out->blocks);
}

void vl2_attn_store(vl2_backend *be, const vl2_attn_rows *rows, size_t layer, const float *k,
                    const float *v, size_t width) {
    for (size_t p = 0; p < rows->n_parts; p++) {
        const vl2_attn_part *part = &rows->parts[p];
        const vl2_dtype type = vl2_kv_pool_type(part->kv->pool);
        for (size_t i = 0, n; i < part->n_rows; i += n) { /* a block's tokens lie together */
            const size_t t = part->position + i, room = VL2_KV_BLOCK - t % VL2_KV_BLOCK;
            const size_t left = part->n_rows - i, at = (part->row + i) * width;
            n = left < room ? left : room;
            be->ops->store_kv(be, vl2_kv_k(part->kv, layer, t), type, k + at, width, n, width);
            if (v)
                be->ops->store_kv(be, vl2_kv_v(part->kv, layer, t), type, v + at, width, n, width);
        }
    }
}

size_t vl2_attn_list(const vl2_attn_tables *tables, const vl2_attn_part *parts, size_t n,
                     size_t layer) {
    vl2_kv_block *blocks = tables->blocks;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const vl2_attn_part *part = &parts[i];
        if (part->n_rows == 0) continue;
        const size_t n_blocks =
            vl2_kv_blocks(blocks, part->kv, layer, part->position + part->n_rows);
        tables->seqs[count++] = (vl2_attn_seq){.row = part->row,
                                               .n_rows = part->n_rows,
                                               .position = part->position,
                                               .blocks = blocks,
                                               .n_blocks = n_blocks};
        blocks += n_blocks;
    }
    return count;
}
