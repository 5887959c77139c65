#include "lang/router.h"

#include <math.h>
#include <string.h>

void vl2_router_carve(vl2_arena *arena, vl2_router_scratch *out, const vl2_language_config *lang,
                      size_t max_rows) {
    const size_t experts = lang->experts, groups = lang->groups;
    out->scores = vl2_arena_array(arena, max_rows, experts * sizeof(float));
    out->choice = vl2_arena_array(arena, experts, sizeof(float));
    out->groups = vl2_arena_array(arena, groups, sizeof(float));
    out->order = vl2_arena_array(arena, experts > groups ? experts : groups, sizeof *out->order);
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

/* ---- the best k ------------------------------------------------------------------------------ */

/* NaN counts as the greatest, so that this is an order whatever the values are. */
static bool better(const float *values, uint32_t a, uint32_t b) {
    return (isnan(values[a]) && !isnan(values[b])) || values[a] > values[b];
}

static void swap(uint32_t *a, uint32_t *b) {
    const uint32_t t = *a;
    *a = *b;
    *b = t;
}

/* Puts the middle one of the second, the central and the last element in front. */
static void median_to_front(uint32_t *order, size_t n, const float *values) {
    uint32_t *a = order + 1, *b = order + n / 2, *c = order + n - 1;
    if (!better(values, *a, *b)) {
        uint32_t *t = a;
        a = b;
        b = t;
    } /* b is not better than a */
    uint32_t *middle = better(values, *b, *c) ? b : better(values, *a, *c) ? c : a;
    swap(order, middle);
}

/* Cuts order[1 … n) at the pivot order[0]; returns where the part of those not better begins. The
 * median of three has one on either side, so neither walk leaves the array. */
static size_t partition(uint32_t *order, size_t n, const float *values) {
    size_t first = 1, last = n;
    for (;;) {
        while (better(values, order[first], order[0])) first++;
        do {
            last--;
        } while (better(values, order[0], order[last]));
        if (first >= last) return first;
        swap(&order[first++], &order[last]);
    }
}

static void insertion_sort(uint32_t *order, size_t n, const float *values) {
    for (size_t i = 1; i < n; i++) {
        for (size_t j = i; j > 0 && better(values, order[j], order[j - 1]); j--) {
            swap(&order[j], &order[j - 1]);
        }
    }
}

/* order [n] = the indices of values, the k best in front. Which of equal values come in front is not
 * a free choice: masked scores are all 0, and the recorded results hold the ones that quickselect
 * (a median of three, Hoare's partition) leaves there. */
static void select_best(uint32_t *order, const float *values, size_t n, size_t k) {
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    size_t first = 0, last = n;
    while (last - first > 3) {
        median_to_front(order + first, last - first, values);
        const size_t cut = first + partition(order + first, last - first, values);
        if (cut < k) {
            first = cut;
        } else {
            last = cut;
        }
    }
    insertion_sort(order + first, last - first, values);
}

/* ---- scores and weights ---------------------------------------------------------------------- */

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
    select_best(s->order, s->groups, lang->groups, lang->top_groups);
    for (size_t i = lang->top_groups; i < lang->groups; i++) {
        memset(choice + s->order[i] * size, 0, size * sizeof *choice);
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
    select_best(scratch->order, choice, n, lang->experts_per_token);
    for (size_t i = 0; i < lang->experts_per_token; i++) {
        const uint32_t e = scratch->order[i];
        experts[i] = e;
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
