#include "stages/stage.h"

#include <math.h>
#include <string.h>

#include "lang/router.h"

enum { E = 8, MAX_K = 8 };

typedef struct choice {
    uint32_t experts[MAX_K];
    float weights[MAX_K];
    bool numbers;
} choice;

static choice choose(const vl2_language_config *lang, const float *logits, const float *bias) {
    float scores[E], values[E], groups[E];
    uint32_t order[E];
    const vl2_router_scratch scratch = {.choice = values, .groups = groups, .order = order};
    choice out = {0};
    memcpy(scores, logits, sizeof scores);
    out.numbers = vl2_router_choose(out.experts, out.weights, scores, bias, lang, &scratch);
    return out;
}

/* In any order: which comes first changes nothing but the order of a sum. */
static void chose(const choice *c, size_t k, const uint32_t *experts, const double *weights) {
    for (size_t i = 0; i < k; i++) {
        size_t at = 0;
        while (at < k && c->experts[at] != experts[i]) at++;
        if (at == k) fail_msg("expert %u was not chosen", (unsigned)experts[i]);
        assert_true(fabs((double)c->weights[at] - weights[i]) < 1e-6);
    }
}

/* Logits whose softmax is these shares and whose sigmoid can be written down. */
static void logs(float *out, const double *shares) {
    for (size_t i = 0; i < E; i++) out[i] = (float)log(shares[i]);
}

static double logit(double p) { return log(p / (1.0 - p)); }

static const double shares[E] = {0.05, 0.20, 0.10, 0.05, 0.15, 0.25, 0.08, 0.12};

static void test_greedy(void **state) {
    (void)state;
    vl2_language_config lang = {.experts = E,
                                .experts_per_token = 3,
                                .router = VL2_ROUTER_GREEDY,
                                .scoring = VL2_SCORING_SOFTMAX,
                                .groups = 1,
                                .top_groups = 1,
                                .routed_scale = 2.0};
    float logits[E];
    logs(logits, shares);
    choice c = choose(&lang, logits, NULL);
    chose(&c, 3, (const uint32_t[]){5, 1, 4}, (const double[]){0.5, 0.4, 0.3});
    assert_true(c.numbers);
    lang.norm_topk = true;
    c = choose(&lang, logits, NULL);
    chose(&c, 3, (const uint32_t[]){5, 1, 4},
          (const double[]){0.25 / 0.6 * 2, 0.20 / 0.6 * 2, 0.15 / 0.6 * 2});
    lang.experts_per_token = 1; /* one expert is not normalised */
    c = choose(&lang, logits, NULL);
    chose(&c, 1, (const uint32_t[]){5}, (const double[]){0.5});
}

static void test_sigmoid(void **state) {
    (void)state;
    const vl2_language_config lang = {.experts = E,
                                      .experts_per_token = 2,
                                      .router = VL2_ROUTER_GREEDY,
                                      .scoring = VL2_SCORING_SIGMOID,
                                      .groups = 1,
                                      .top_groups = 1,
                                      .routed_scale = 1.0};
    float logits[E];
    for (size_t i = 0; i < E; i++) logits[i] = (float)logit(shares[i]);
    const choice c = choose(&lang, logits, NULL);
    chose(&c, 2, (const uint32_t[]){5, 1}, (const double[]){0.25, 0.20});
}

/* Groups of two: {.05,.20} {.10,.05} {.15,.25} {.08,.12}; the two best by their greatest are 2 and 0. */
static void test_group_limited(void **state) {
    (void)state;
    vl2_language_config lang = {.experts = E,
                                .experts_per_token = 4,
                                .router = VL2_ROUTER_GROUP_LIMITED,
                                .scoring = VL2_SCORING_SOFTMAX,
                                .groups = 4,
                                .top_groups = 2,
                                .routed_scale = 1.0};
    float logits[E];
    logs(logits, shares);
    choice c = choose(&lang, logits, NULL);
    chose(&c, 4, (const uint32_t[]){5, 1, 4, 0}, (const double[]){0.25, 0.20, 0.15, 0.05});
    lang.top_groups = 1; /* more experts than the group has: the others weigh nothing */
    c = choose(&lang, logits, NULL);
    chose(&c, 4, (const uint32_t[]){5, 4, 6, 7}, (const double[]){0.25, 0.15, 0.0, 0.0});
}

/* A group's value is the sum of its two greatest choice values; weights leave the bias out. */
static void test_noaux_tc(void **state) {
    (void)state;
    const vl2_language_config lang = {.experts = E,
                                      .experts_per_token = 2,
                                      .router = VL2_ROUTER_NOAUX_TC,
                                      .scoring = VL2_SCORING_SIGMOID,
                                      .groups = 2,
                                      .top_groups = 1,
                                      .routed_scale = 1.5};
    const double p[E] = {0.5, 0.5, 0.5, 0.6, 0.9, 0.2, 0.1, 0.1};
    const float bias[E] = {0.3f, 0.0f, 0.0f, 0.1f, 0.0f, 0.0f, 0.0f, 0.0f};
    float logits[E];
    for (size_t i = 0; i < E; i++) logits[i] = (float)logit(p[i]);
    /* choice values .8 .5 .5 .7 | .9 .2 .1 .1: the first group has 1.5, the second 1.1 */
    const choice c = choose(&lang, logits, bias);
    chose(&c, 2, (const uint32_t[]){0, 3}, (const double[]){0.75, 0.9});
}

/* A masked choice value is 0, not minus infinity: it wins over a negative one. */
static void test_masked_is_zero(void **state) {
    (void)state;
    const vl2_language_config lang = {.experts = E,
                                      .experts_per_token = 3,
                                      .router = VL2_ROUTER_NOAUX_TC,
                                      .scoring = VL2_SCORING_SIGMOID,
                                      .groups = 2,
                                      .top_groups = 1,
                                      .routed_scale = 1.0};
    const float bias[E] = {0.0f, -0.9f, -0.9f, -0.9f, -5.0f, -5.0f, -5.0f, -5.0f};
    const float logits[E] = {2, 0, 0, 0, 0, 0, 0, 0};
    const choice c = choose(&lang, logits, bias);
    chose(&c, 3, (const uint32_t[]){0, 5, 6}, (const double[]){1 / (1 + exp(-2.0)), 0.5, 0.5});
}

/* Of equal values those that the reference's selection leaves in front: recorded, not reasoned. */
static void test_ties(void **state) {
    (void)state;
    vl2_language_config lang = {.experts = E,
                                .experts_per_token = 3,
                                .router = VL2_ROUTER_GREEDY,
                                .scoring = VL2_SCORING_SOFTMAX,
                                .groups = 4,
                                .top_groups = 2,
                                .routed_scale = 8.0};
    const float logits[E] = {0};
    choice c = choose(&lang, logits, NULL);
    chose(&c, 3, (const uint32_t[]){6, 5, 4}, (const double[]){1, 1, 1});
    lang.router = VL2_ROUTER_GROUP_LIMITED; /* groups 2 and 3 */
    lang.experts_per_token = 4;
    c = choose(&lang, logits, NULL);
    chose(&c, 4, (const uint32_t[]){4, 5, 6, 7}, (const double[]){1, 1, 1, 1});
}

/* Whatever the scores are: k different experts in range, and a word that they are no numbers. */
static void test_not_a_number(void **state) {
    (void)state;
    for (int method = 0; method < 6; method++) {
        const vl2_language_config lang = {.experts = E,
                                          .experts_per_token = 5,
                                          .router = (vl2_router_method)(method % 3),
                                          .scoring = method < 3 ? VL2_SCORING_SOFTMAX
                                                                : VL2_SCORING_SIGMOID,
                                          .groups = 4,
                                          .top_groups = 3,
                                          .norm_topk = true,
                                          .routed_scale = 1.0};
        const float bias[E] = {0};
        float logits[E] = {1, 2, 3, 4, 5, 6, 7, 8};
        for (size_t bad = 0; bad <= E; bad++) {
            const choice c = choose(&lang, logits, bias);
            unsigned seen = 0;
            for (size_t i = 0; i < 5; i++) {
                assert_true(c.experts[i] < E);
                assert_false(seen >> c.experts[i] & 1u);
                seen |= 1u << c.experts[i];
            }
            assert_int_equal(c.numbers, bad == 0);
            if (bad < E) logits[bad] = NAN;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),         cmocka_unit_test(test_sigmoid),
        cmocka_unit_test(test_group_limited),  cmocka_unit_test(test_noaux_tc),
        cmocka_unit_test(test_masked_is_zero), cmocka_unit_test(test_ties),
        cmocka_unit_test(test_not_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
