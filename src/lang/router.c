#include "lang/router.h"

#include <math.h>
#include <string.h>

void vl2_router_carve(vl2_arena *arena, vl2_router_scratch *out, const vl2_language_config *lang,
                      size_t max_rows) {
    const size_t experts = lang->experts, groups = lang->groups;
    out->scores = vl2_arena_array(arena, max_rows, experts * sizeof(float));
    out->choice = vl2_arena_array(arena, experts, sizeof(float));
    out->groups = vl2_arena_array(arena, groups, sizeof(float));
    out->taken = vl2_arena_array(arena, experts > groups ? experts : groups, sizeof(bool));
}

static void softmax(float *x, size_t n) {
    float most = x[0], sum = 0.0f;
    for (size_t i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
    for (size_t i = 0; i < n; i++) sum += x[i] = expf(x[i] - most);
    for (size_t i = 0; i < n; i++) x[i] /= sum;
}

static void sigmoid(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = 1.0f / (1.0f + expf(-x[i]));
}

/* The greatest value that is not taken yet, of equals the first; in range whatever the values are,
 * as not every one is taken. */
static size_t take_best(const float *values, bool *taken, size_t n) {
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
        if (!taken[i] && (best == n || values[i] > values[best])) best = i;
    }
    taken[best] = true;
    return best;
}

/* A group's value: its greatest choice value, for noaux_tc the sum of its two greatest. */
static float group_value(const float *choice, size_t n, bool two) {
    float first = choice[0], second = n > 1 ? choice[1] : 0.0f;
    if (n > 1 && second > first) {
        first = choice[1];
        second = choice[0];
    }
    for (size_t i = 2; i < n; i++) {
        if (choice[i] > first) {
            second = first;
            first = choice[i];
        } else if (choice[i] > second) {
            second = choice[i];
        }
    }
    return two ? first + second : first;
}

/* Sets the choice values of all but the top_groups best groups to 0 (not to minus infinity). */
static void mask_groups(float *choice, const vl2_language_config *lang,
                        const vl2_router_scratch *s) {
    const size_t size = lang->experts / lang->groups;
    for (size_t g = 0; g < lang->groups; g++) {
        s->groups[g] = group_value(choice + g * size, size, lang->router == VL2_ROUTER_NOAUX_TC);
    }
    memset(s->taken, 0, lang->groups * sizeof *s->taken);
    for (size_t i = 0; i < lang->top_groups; i++) take_best(s->groups, s->taken, lang->groups);
    for (size_t g = 0; g < lang->groups; g++) {
        if (s->taken[g]) continue;
        for (size_t i = 0; i < size; i++) choice[g * size + i] = 0.0f;
    }
}

static void scale_weights(float *weights, const vl2_language_config *lang) {
    const size_t k = lang->experts_per_token;
    float divisor = 1.0f;
    if (lang->norm_topk && k > 1) {
        divisor = 1e-20f;
        float sum = 0.0f;
        for (size_t i = 0; i < k; i++) sum += weights[i];
        divisor += sum;
    }
    for (size_t i = 0; i < k; i++) weights[i] = weights[i] / divisor * (float)lang->routed_scale;
}

bool vl2_router_choose(uint32_t *experts, float *weights, float *logits, const float *bias,
                       const vl2_language_config *lang, const vl2_router_scratch *scratch) {
    const size_t n = lang->experts;
    const bool unbiased = lang->router == VL2_ROUTER_NOAUX_TC; /* weighs without what it chose by */
    float *choice = scratch->choice;
    bool numbers = true;
    if (lang->scoring == VL2_SCORING_SOFTMAX) {
        softmax(logits, n);
    } else {
        sigmoid(logits, n);
    }
    for (size_t i = 0; i < n; i++) {
        choice[i] = unbiased && bias ? logits[i] + bias[i] : logits[i];
        numbers = numbers && !isnan(choice[i]);
    }
    if (lang->router != VL2_ROUTER_GREEDY) mask_groups(choice, lang, scratch);
    memset(scratch->taken, 0, n * sizeof *scratch->taken);
    for (size_t i = 0; i < lang->experts_per_token; i++) {
        const size_t e = take_best(choice, scratch->taken, n);
        experts[i] = (uint32_t)e;
        weights[i] = unbiased ? logits[e] : choice[e];
    }
    scale_weights(weights, lang);
    return numbers;
}

bool vl2_router_forward(vl2_backend *be, uint32_t *experts, float *weights, const float *normed,
                        size_t m, const vl2_language_config *lang, const vl2_layer *layer,
                        const vl2_router_scratch *scratch) {
    const size_t n = lang->experts, k = lang->experts_per_token;
    const vl2_vec none = {0};
    bool numbers = true;
    be->ops->linear(be, scratch->scores, n, normed, lang->hidden, m, &layer->router, &none,
                    VL2_EPI_NONE, true);
    for (size_t i = 0; i < m; i++) {
        numbers &= vl2_router_choose(experts + i * k, weights + i * k, scratch->scores + i * n,
                                     layer->router_bias.data, lang, scratch);
    }
    return numbers;
}
