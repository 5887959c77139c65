#include "lang/attn_mla.h"

#include <string.h>

static const float norm_eps = 1e-6f; /* of the norms of q_a and c, whatever rms_norm_eps says */

void vl2_attn_mla_carve(vl2_arena *arena, vl2_attn_mla_scratch *out,
                        const vl2_language_config *lang, size_t max_rows) {
    const size_t h = lang->heads, dq = lang->nope_dim + lang->rope_dim;
    const size_t row = lang->kv_lora + lang->rope_dim, keys = VL2_ATTN_MLA_KEYS, f = sizeof(float);
    out->q = vl2_arena_array(arena, max_rows, h * dq * f);
    out->q_low = vl2_arena_array(arena, max_rows, lang->q_lora * f);
    out->c = vl2_arena_array(arena, max_rows, row * f);
    out->mixed = vl2_arena_array(arena, max_rows, h * lang->v_dim * f);
    const size_t both = arena->used; /* one form at a time */
    out->q_absorbed = vl2_arena_array(arena, max_rows, h * row * f);
    out->mixed_absorbed = vl2_arena_array(arena, max_rows, h * lang->kv_lora * f);
    const size_t absorbed_end = arena->used;
    arena->used = both;
    out->cached = vl2_arena_array(arena, keys, row * f);
    out->keys = vl2_arena_array(arena, keys, h * dq * f);
    out->values = vl2_arena_array(arena, keys, h * lang->v_dim * f);
    out->state = vl2_arena_array(arena, max_rows, h * (lang->v_dim + 2) * f);
    if (arena->used < absorbed_end) arena->used = absorbed_end;
}

/* Multiply-adds a head, without what is the same in both forms (a key's rope part; kv_b on the new
 * tokens, as queries or as keys): absorbed, 2C for each pair of query and key; expanded, Dn+Dvh for
 * each pair and C*(Dn+Dvh) to rebuild each key of the past. With the released models' dimensions
 * and a long past that is 171 rows. */
bool vl2_attn_mla_expands(const vl2_language_config *lang, size_t n_rows, size_t past) {
    const double n = (double)n_rows, p = (double)past, pairs = n * p + n * n / 2.0;
    const double c = (double)lang->kv_lora, both = (double)(lang->nope_dim + lang->v_dim);
    if (lang->kv_lora + lang->rope_dim > VL2_HEAD_DIM_MAX) return true; /* no key is that long */
    return pairs * both + p * c * both < pairs * 2.0 * c;
}

/* x -> q, or q_low where queries come by it. */
static vl2_group query_group(const vl2_language_config *lang, const vl2_layer *layer, size_t r) {
    return (vl2_group){.w = lang->q_lora ? &layer->q_a.w : &layer->q.w, .n = r};
}
static vl2_call query_call(const float *normed, const vl2_language_config *lang,
                           const vl2_layer *layer, const vl2_attn_mla_scratch *s,
                           const vl2_group *q) {
    return (vl2_call){.y = lang->q_lora ? s->q_low : s->q,
                      .ldy = q->w->rows,
                      .x = normed,
                      .ldx = lang->hidden,
                      .groups = q,
                      .n_groups = 1,
                      .b = lang->q_lora ? &layer->q_a.b : &layer->q.b};
}

void vl2_attn_mla_store(vl2_backend *be, const float *normed, const vl2_attn_rows *rows,
                        const vl2_language_config *lang, const vl2_layer *layer, size_t index,
                        const vl2_attn_mla_scratch *s) {
    const size_t c = lang->kv_lora, dr = lang->rope_dim, width = c + dr, r = rows->n_rows;
    const vl2_group kv = {.w = &layer->kv_a.w, .n = r}, q = query_group(lang, layer, r);
    const vl2_call calls[] = {{.y = s->c,
                               .ldy = width,
                               .x = normed,
                               .ldx = lang->hidden,
                               .groups = &kv,
                               .n_groups = 1,
                               .b = &layer->kv_a.b},
                              query_call(normed, lang, layer, s, &q)};
    be->ops->products(be, calls, rows->queries ? 2 : 1);
    be->ops->rmsnorm(be, s->c, width, s->c, width, r, c, &layer->kv_norm.w, norm_eps);
    be->ops->rope(be, s->c + c, width, r, 1, dr, dr / 2, rows->cos, rows->sin, true);
    vl2_attn_store(be, rows, index, s->c, NULL, width);
}

/* q [R,H,Dn+Dr], the rope part rotated. */
static void project_queries(vl2_backend *be, const float *normed, const vl2_attn_rows *rows,
                            const vl2_language_config *lang, const vl2_layer *layer,
                            const vl2_attn_mla_scratch *s) {
    const size_t r = rows->n_rows, low = lang->q_lora;
    const size_t dn = lang->nope_dim, dr = lang->rope_dim, width = lang->heads * (dn + dr);
    const vl2_group group = query_group(lang, layer, r);
    const vl2_call call = query_call(normed, lang, layer, s, &group);
    const vl2_vec none = {0};
    if (!rows->queries) be->ops->products(be, &call, 1);
    if (low) {
        be->ops->rmsnorm(be, s->q_low, low, s->q_low, low, r, low, &layer->q_norm.w, norm_eps);
        be->ops->linear(be, s->q, width, s->q_low, low, r, &layer->q_b, &none, VL2_EPI_NONE, false);
    }
    be->ops->rope(be, s->q + dn, width, r, lang->heads, dn + dr, dr / 2, rows->cos, rows->sin,
                  true);
}

/* What both forms have in common; the rest of the call is for the form to fill in. */
static vl2_attn causal_call(const vl2_language_config *lang) {
    return (vl2_attn){.heads = lang->heads,
                      .scale = (float)lang->softmax_scale,
                      .causal = true,
                      .first = true,
                      .last = true};
}

/* Each head's q (or whatever K numbers `x_head` apart) moved into the compressed space: [H,Dn] ->
 * [H,C]; a file may have the keys' half of kv_b as published, or transposed. */
static void absorb_keys(vl2_backend *be, float *y, size_t ldy, size_t y_head, const float *q,
                        size_t ldq, size_t q_head, size_t r, const vl2_language_config *lang,
                        const vl2_layer *layer) {
    const size_t h = lang->heads, c = lang->kv_lora, dn = lang->nope_dim;
    if (layer->k_b.data)
        be->ops->heads_linear(be, y, ldy, y_head, q, ldq, q_head, r, h, c, &layer->k_b, c, 0);
    else
        be->ops->heads_times(be, y, ldy, y_head, q, ldq, q_head, r, h, dn, &layer->kv_b,
                             dn + lang->v_dim, 0);
}

/* The keys of n tokens: [C] -> [H,Dn] */
static void expand_keys(vl2_backend *be, float *y, size_t ldy, size_t y_head, const float *c,
                        size_t ldc, size_t n, const vl2_language_config *lang,
                        const vl2_layer *layer) {
    const size_t h = lang->heads, dn = lang->nope_dim, low = lang->kv_lora;
    if (layer->k_b.data)
        be->ops->heads_times(be, y, ldy, y_head, c, ldc, 0, n, h, low, &layer->k_b, low, 0);
    else
        be->ops->heads_linear(be, y, ldy, y_head, c, ldc, 0, n, h, dn, &layer->kv_b,
                              dn + lang->v_dim, 0);
}

/* The values' half: of n rows, x_head 0 where all heads share them. */
static void expand_values(vl2_backend *be, float *y, const float *x, size_t ldx, size_t x_head,
                          size_t n, const vl2_language_config *lang, const vl2_layer *layer) {
    const size_t h = lang->heads, dn = lang->nope_dim, dv = lang->v_dim;
    const bool split = layer->v_b.data != NULL;
    be->ops->heads_linear(be, y, h * dv, dv, x, ldx, x_head, n, h, dv,
                          split ? &layer->v_b : &layer->kv_b, split ? dv : dn + dv, split ? 0 : dn);
}

/* Some consecutive parts: mixed [.., H, Dvh] = kv_b's values of (q_nope kv_b's keys | q_rope) over c. */
static void attend_absorbed(vl2_backend *be, const vl2_attn_part *parts, size_t n,
                            const vl2_language_config *lang, const vl2_layer *layer, size_t index,
                            const vl2_attn_tables *tables, const vl2_attn_mla_scratch *s) {
    const size_t h = lang->heads, c = lang->kv_lora, dn = lang->nope_dim, dr = lang->rope_dim;
    const size_t dv = lang->v_dim, wide = c + dr, dq = dn + dr, first = parts[0].row;
    const size_t r = parts[n - 1].row + parts[n - 1].n_rows - first;
    float *q = s->q + first * h * dq, *q_wide = s->q_absorbed + first * h * wide;
    absorb_keys(be, q_wide, h * wide, wide, q, h * dq, dq, r, lang, layer);
    for (size_t i = 0; i < r * h; i++) {
        memcpy(q_wide + i * wide + c, q + i * dq + dn, dr * sizeof(float));
    }
    vl2_attn call = causal_call(lang);
    call.q = s->q_absorbed;
    call.ldq = h * wide;
    call.out = s->mixed_absorbed;
    call.ldo = h * c;
    call.kv_type = vl2_kv_pool_type(parts[0].kv->pool);
    call.kv_heads = 1;
    call.k_dim = wide;
    call.v_dim = c;
    call.k_token = call.v_token = wide;
    call.seqs = tables->seqs;
    call.n_seqs = vl2_attn_list(tables, parts, n, index);
    be->ops->attention(be, &call);
    expand_values(be, s->mixed + first * h * dv, s->mixed_absorbed + first * h * c, h * c, c, r,
                  lang, layer);
}

/* keys [n,H,Dn+Dr] and values [n,H,Dvh] of tokens first … first+n-1, from the cache. */
static void expand(vl2_backend *be, const vl2_kv_seq *kv, size_t first, size_t n,
                   const vl2_language_config *lang, const vl2_layer *layer, size_t index,
                   const vl2_attn_mla_scratch *s) {
    const size_t h = lang->heads, c = lang->kv_lora, dn = lang->nope_dim, dr = lang->rope_dim;
    const size_t wide = c + dr, dq = dn + dr;
    for (size_t t = 0; t < n; t += VL2_KV_BLOCK) {
        const size_t some = n - t < VL2_KV_BLOCK ? n - t : VL2_KV_BLOCK;
        vl2_dtype_to_f32(s->cached + t * wide, vl2_kv_k(kv, index, first + t),
                         vl2_kv_pool_type(kv->pool), some * wide);
    }
    expand_keys(be, s->keys, h * dq, dq, s->cached, wide, n, lang, layer);
    expand_values(be, s->values, s->cached, wide, 0, n, lang, layer);
    for (size_t i = 0; i < n * h; i++) {
        memcpy(s->keys + i * dq + dn, s->cached + i / h * wide + c, dr * sizeof(float));
    }
}

/* One part: mixed [.., H, Dvh], VL2_ATTN_MLA_KEYS keys at a time. */
static void attend_expanded(vl2_backend *be, const vl2_attn_part *part,
                            const vl2_language_config *lang, const vl2_layer *layer, size_t index,
                            const vl2_attn_mla_scratch *s) {
    const size_t h = lang->heads, dq = lang->nope_dim + lang->rope_dim, dv = lang->v_dim;
    const size_t keys = part->position + part->n_rows;
    vl2_kv_block blocks[VL2_ATTN_MLA_BLOCKS];
    vl2_attn_seq seq = {
        .row = part->row, .n_rows = part->n_rows, .position = part->position, .blocks = blocks};
    vl2_attn call = causal_call(lang);
    call.q = s->q;
    call.out = s->mixed;
    call.ldq = call.k_token = h * dq;
    call.ldo = call.v_token = h * dv;
    call.kv_type = VL2_F32;
    call.kv_heads = h;
    call.k_dim = call.k_head = dq;
    call.v_dim = call.v_head = dv;
    call.state = s->state;
    call.seqs = &seq;
    call.n_seqs = 1;
    for (size_t t = 0; t < keys; t += VL2_ATTN_MLA_KEYS) {
        const size_t n = keys - t < VL2_ATTN_MLA_KEYS ? keys - t : VL2_ATTN_MLA_KEYS;
        expand(be, part->kv, t, n, lang, layer, index, s);
        seq.first_key = t;
        seq.n_blocks = 0;
        for (size_t at = 0; at < n; at += VL2_KV_BLOCK) {
            blocks[seq.n_blocks++] =
                (vl2_kv_block){.k = s->keys + at * h * dq,
                               .v = s->values + at * h * dv,
                               .n = n - at < VL2_KV_BLOCK ? n - at : VL2_KV_BLOCK};
        }
        call.first = t == 0;
        call.last = t + n == keys;
        be->ops->attention(be, &call);
    }
}

/* How many parts from parts[0] on take the absorbed form. */
static size_t absorbed_run(const vl2_attn_part *parts, size_t n, const vl2_language_config *lang) {
    size_t run = 0;
    while (run < n && !vl2_attn_mla_expands(lang, parts[run].n_rows, parts[run].position)) run++;
    return run;
}

void vl2_attn_mla_attend(vl2_backend *be, float *x, const float *normed, const vl2_attn_rows *rows,
                         const vl2_language_config *lang, const vl2_layer *layer, size_t index,
                         const vl2_attn_tables *tables, const vl2_attn_mla_scratch *s) {
    project_queries(be, normed, rows, lang, layer, s);
    for (size_t i = 0; i < rows->n_parts;) {
        const size_t run = absorbed_run(rows->parts + i, rows->n_parts - i, lang);
        if (run) {
            attend_absorbed(be, rows->parts + i, run, lang, layer, index, tables, s);
            i += run;
        } else {
            attend_expanded(be, &rows->parts[i], lang, layer, index, s);
            i++;
        }
    }
    be->ops->linear(be, x, lang->hidden, s->mixed, lang->heads * lang->v_dim, rows->n_rows,
                    &layer->o.w, &layer->o.b, VL2_EPI_ADD, false);
}
