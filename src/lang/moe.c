#include "lang/moe.h"

#include <string.h>

#include "lang/ffn.h"

void vl2_moe_carve(vl2_arena *arena, vl2_moe_scratch *out, const vl2_language_config *lang,
                   size_t max_rows) {
    const size_t k = lang->experts_per_token;
    vl2_router_carve(arena, &out->router, lang, max_rows);
    out->experts = vl2_arena_array(arena, max_rows, k * sizeof *out->experts);
    out->weights = vl2_arena_array(arena, max_rows, k * sizeof *out->weights);
    out->rows = vl2_arena_array(arena, max_rows, k * sizeof *out->rows);
    out->slots = vl2_arena_array(arena, max_rows, k * sizeof *out->slots);
    out->starts = vl2_arena_array(arena, lang->experts + 1, sizeof *out->starts);
    out->groups = vl2_arena_array(arena, lang->experts, sizeof *out->groups);
    out->hidden = vl2_arena_array(arena, max_rows, k * lang->expert_width * sizeof(float));
    out->outputs = vl2_arena_array(arena, max_rows, k * lang->hidden * sizeof(float));
    out->shared = vl2_arena_array(arena, max_rows, lang->shared_width * sizeof(float));
    out->last =
        vl2_arena_array(arena, max_rows, lang->shared_width ? lang->hidden * sizeof(float) : 0);
}

/* Counting sort of the pairs by expert, rows in their order within each: rows, slots and starts. */
static void sort_pairs(const vl2_moe_scratch *s, size_t m, size_t k, size_t n_experts) {
    memset(s->starts, 0, (n_experts + 1) * sizeof *s->starts);
    for (size_t i = 0; i < m * k; i++) s->starts[s->experts[i] + 1]++;
    for (size_t e = 0; e < n_experts; e++) s->starts[e + 1] += s->starts[e];
    for (size_t i = 0; i < m * k; i++) {
        const size_t place = s->starts[s->experts[i]]++; /* becomes the next expert's start */
        s->rows[place] = (uint32_t)(i / k);
        s->slots[i] = (uint32_t)place;
    }
    memmove(s->starts + 1, s->starts, n_experts * sizeof *s->starts);
    s->starts[0] = 0;
}

typedef enum expert_product { GATE_AND_UP, DOWN } expert_product;

/* The experts that have rows; returns how many. */
static size_t list_groups(const vl2_moe_scratch *s, const vl2_mlp *experts, size_t n_experts,
                          expert_product product) {
    size_t count = 0;
    for (size_t e = 0; e < n_experts; e++) {
        const size_t first = s->starts[e], n = s->starts[e + 1] - first;
        if (n == 0) continue;
        vl2_group group = {.w = &experts[e].down, .first = first, .n = n};
        if (product == GATE_AND_UP) {
            group.w = &experts[e].gate;
            group.w2 = &experts[e].up;
        }
        s->groups[count++] = group;
    }
    return count;
}

/* One step of routed and shared experts: both products are one loop's work. */
static void run_experts(vl2_backend *be, const vl2_language_config *lang, const vl2_layer *layer,
                        const vl2_moe_scratch *s, vl2_call routed, vl2_call shared,
                        expert_product product, size_t m) {
    const vl2_mlp *mlp = &layer->shared;
    const bool gates = product == GATE_AND_UP;
    const vl2_group all = {
        .w = gates ? &mlp->gate : &mlp->down, .w2 = gates ? &mlp->up : NULL, .n = m};
    routed.groups = s->groups;
    routed.n_groups = list_groups(s, layer->experts, lang->experts, product);
    shared.groups = &all;
    shared.n_groups = mlp->gate.data ? 1 : 0;
    routed.epilogue = shared.epilogue = gates ? vl2_ffn_activation(lang) : VL2_EPI_NONE;
    be->ops->products(be, (const vl2_call[]){routed, shared}, 2);
}

bool vl2_moe_forward(vl2_backend *be, float *x, const float *normed, size_t m,
                     const vl2_language_config *lang, const vl2_layer *layer,
                     const vl2_moe_scratch *scratch) {
    const vl2_moe_scratch *s = scratch;
    const size_t d = lang->hidden, k = lang->experts_per_token, width = lang->expert_width;
    const size_t shared_width = layer->shared.gate.rows;
    const bool numbers =
        vl2_router_forward(be, s->experts, s->weights, normed, m, lang, layer, &s->router);
    sort_pairs(s, m, k, lang->experts);
    run_experts(be, lang, layer, s,
                (vl2_call){.y = s->hidden, .ldy = width, .x = normed, .ldx = d, .index = s->rows},
                (vl2_call){.y = s->shared, .ldy = shared_width, .x = normed, .ldx = d}, GATE_AND_UP,
                m);
    run_experts(be, lang, layer, s,
                (vl2_call){.y = s->outputs, .ldy = d, .x = s->hidden, .ldx = width},
                (vl2_call){.y = s->last, .ldy = d, .x = s->shared, .ldx = shared_width}, DOWN, m);
    be->ops->combine(be, x, d, s->outputs, d, m, k, s->slots, s->weights,
                     layer->shared.gate.data ? s->last : NULL, d);
    return numbers;
}
