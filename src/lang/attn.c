#include "lang/attn.h"

void vl2_attn_carve(vl2_arena *arena, vl2_attn_tables *out, size_t max_seqs, size_t max_tokens) {
    const size_t max_blocks = max_tokens / VL2_KV_BLOCK + 1;
    out->seqs = vl2_arena_array(arena, max_seqs, sizeof *out->seqs);
    out->blocks = vl2_arena_array(arena, max_seqs, max_blocks * sizeof *out->blocks);
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
