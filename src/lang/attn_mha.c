#include "lang/attn_mha.h"

void vl2_attn_mha_carve(vl2_arena *arena, vl2_attn_mha_scratch *out,
                        const vl2_language_config *lang, size_t max_rows) {
    const size_t row = lang->heads * lang->head_dim * sizeof(float);
    const size_t kv_row = lang->kv_heads * lang->head_dim * sizeof(float);
    out->q = vl2_arena_array(arena, max_rows, row);
    out->k = vl2_arena_array(arena, max_rows, kv_row);
    out->v = vl2_arena_array(arena, max_rows, kv_row);
    out->mixed = vl2_arena_array(arena, max_rows, row);
}

/* x -> q, not rotated yet. */
static vl2_call query_call(const float *normed, const vl2_language_config *lang,
                           const vl2_layer *layer, const vl2_attn_mha_scratch *s,
                           const vl2_group *q) {
    return (vl2_call){.y = s->q,
                      .ldy = lang->heads * lang->head_dim,
                      .x = normed,
                      .ldx = lang->hidden,
                      .groups = q,
                      .n_groups = 1,
                      .b = &layer->q.b};
}

void vl2_attn_mha_store(vl2_backend *be, const float *normed, const vl2_attn_rows *rows,
                        const vl2_language_config *lang, const vl2_layer *layer, size_t index,
                        const vl2_attn_mha_scratch *s) {
    const size_t r = rows->n_rows, width = lang->kv_heads * lang->head_dim;
    const vl2_group q = {.w = &layer->q.w, .n = r}, k = {.w = &layer->k.w, .n = r},
                    v = {.w = &layer->v.w, .n = r};
    vl2_call calls[3];
    calls[0] = calls[1] = calls[2] = query_call(normed, lang, layer, s, &q);
    calls[0].y = s->k;
    calls[1].y = s->v;
    calls[0].ldy = calls[1].ldy = width;
    calls[0].groups = &k;
    calls[1].groups = &v;
    calls[0].b = &layer->k.b;
    calls[1].b = &layer->v.b;
    be->ops->products(be, calls, rows->queries ? 3 : 2);
    be->ops->rope(be, s->k, width, r, lang->kv_heads, lang->head_dim, lang->head_dim / 2, rows->cos,
                  rows->sin, lang->interleaved);
    vl2_attn_store(be, rows, index, s->k, s->v, width);
}

void vl2_attn_mha_attend(vl2_backend *be, float *x, const float *normed, const vl2_attn_rows *rows,
                         const vl2_language_config *lang, const vl2_layer *layer, size_t index,
                         const vl2_attn_tables *tables, const vl2_attn_mha_scratch *s) {
    const size_t d = lang->hidden, r = rows->n_rows, dh = lang->head_dim;
    const size_t width = lang->heads * dh, kv_width = lang->kv_heads * dh;
    const vl2_group q = {.w = &layer->q.w, .n = r};
    const vl2_call call = query_call(normed, lang, layer, s, &q);
    if (!rows->queries) be->ops->products(be, &call, 1);
    be->ops->rope(be, s->q, width, r, lang->heads, dh, dh / 2, rows->cos, rows->sin,
                  lang->interleaved);
    be->ops->attention(be, &(vl2_attn){
                               .q = s->q,
                               .ldq = width,
                               .out = s->mixed,
                               .ldo = width,
                               .kv_type = vl2_kv_pool_type(rows->parts[0].kv->pool),
                               .heads = lang->heads,
                               .kv_heads = lang->kv_heads,
                               .k_dim = dh,
                               .v_dim = dh,
                               .k_token = kv_width,
                               .v_token = kv_width,
                               .k_head = dh,
                               .v_head = dh,
                               .scale = (float)lang->softmax_scale,
                               .causal = true,
                               .first = true,
                               .last = true,
                               .seqs = tables->seqs,
                               .n_seqs = vl2_attn_list(tables, rows->parts, rows->n_parts, index),
                           });
    be->ops->linear(be, x, d, s->mixed, width, r, &layer->o.w, &layer->o.b, VL2_EPI_ADD, false);
}
