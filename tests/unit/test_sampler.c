#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sample/exp.h"
#include "sample/sampler.h"

enum { V = 50 };

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static vl2_sampling defaults(void) {
    vl2_sampling s;
    vl2_sampling_init(&s);
    return s;
}

static vl2_sampler *make(size_t vocab, const vl2_sampling *s, const int32_t *prompt, size_t n) {
    vl2_sampler *sampler;
    vl2_error err = {0};
    if (vl2_sampler_make(&sampler, vocab, s, prompt, n, &err)) fail_msg("%s", err.text);
    return sampler;
}

static int32_t next(vl2_sampler *sampler, const float *logits) {
    int32_t id = -1;
    vl2_error err = {0};
    if (vl2_sampler_next(sampler, logits, &id, &err)) fail_msg("%s", err.text);
    return id;
}

/* ---- the definition, step by step --------------------------------------------------------------- */

typedef struct ranked {
    double logit;
    int32_t id;
} ranked;

static int likelier_first(const void *left, const void *right) {
    const ranked *a = left, *b = right;
    if (a->logit != b->logit) return a->logit > b->logit ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

/* p[id]: the probability that each id is drawn with. False where a step is too near a tie of sums
 * for two orders of summation to agree. */
static bool define(double *p, const float *logits, const vl2_sampling *s, const int32_t *prompt,
                   size_t n_prompt, const int32_t *generated, size_t n_generated) {
    ranked list[V];
    for (int i = 0; i < V; i++) {
        int count = 0;
        bool seen = false;
        for (size_t j = 0; j < n_prompt; j++) seen |= prompt[j] == i;
        for (size_t j = 0; j < n_generated; j++) count += generated[j] == i;
        double x = logits[i];
        if (seen || count) x = x > 0 ? x / s->repetition_penalty : x * s->repetition_penalty;
        if (count) x -= s->presence_penalty;
        x -= (double)s->frequency_penalty * count;
        list[i] = (ranked){(float)x, i};
        p[i] = 0;
    }
    qsort(list, V, sizeof *list, likelier_first);
    size_t n = V, kept;
    if (s->top_k > 0 && s->top_k < V) {
        for (n = (size_t)s->top_k; n < V && list[n].logit == list[s->top_k - 1].logit;) n++;
    }
    double weight[V], sum = 0, before = 0, left = 0;
    for (size_t i = 0; i < n; i++) {
        weight[i] = exp((list[i].logit - list[0].logit) / s->temperature);
        sum += weight[i];
    }
    for (kept = 0; kept < n; kept++) {
        if (kept > 0 && s->top_p < 1 && before / sum >= s->top_p) break;
        if (kept > 0 && s->top_p < 1 && fabs(before / sum - s->top_p) < 1e-9) return false;
        before += weight[kept];
    }
    if (s->top_p < 1 && fabs((before / sum) - s->top_p) < 1e-9) return false;
    for (size_t i = 0; i < kept; i++) {
        if (weight[i] >= s->min_p) left += p[list[i].id] = weight[i];
    }
    for (int i = 0; i < V; i++) p[i] /= left;
    return true;
}

/* Only ids of the definition's support come, and all of them, as often as they should. */
static void check_frequencies(const vl2_sampling *s, const float *logits, uint32_t seed) {
    enum { DRAWS = 3000 };
    double p[V], chi = 0;
    int32_t prompt[] = {3, 7, 7, 11, 20};
    size_t counts[V] = {0};
    if (!define(p, logits, s, prompt, 5, NULL, 0)) return;
    vl2_sampling seeded = *s;
    for (int i = 0; i < DRAWS; i++) {
        seeded.seed = seed * 100000u + (uint32_t)i;
        vl2_sampler *sampler = make(V, &seeded, prompt, 5);
        counts[next(sampler, logits)]++;
        vl2_sampler_free(sampler);
    }
    int degrees = -1;
    for (int i = 0; i < V; i++) {
        if (p[i] == 0 && counts[i] > 0) fail_msg("id %d should never come", i);
        if (p[i] * DRAWS < 5) continue;
        double expected = p[i] * DRAWS, off = (double)counts[i] - expected;
        chi += off * off / expected;
        degrees++;
    }
    /* Five standard deviations over the mean of chi squared: one in millions by chance. */
    if (degrees > 0 && chi > degrees + 5 * sqrt(2.0 * degrees) + 10) {
        fail_msg("chi squared %g at %d degrees", chi, degrees);
    }
}

static void draws_follow_the_definition(void **state) {
    (void)state;
    uint32_t random = 5;
    for (int round = 0; round < 60; round++) {
        float logits[V];
        bool coarse = round % 3 == 0; /* many ties */
        for (int i = 0; i < V; i++) {
            float x = (float)(next_random(&random) % 10000) / 1000.0f - 5;
            logits[i] = coarse ? floorf(x) : x;
        }
        vl2_sampling s = defaults();
        s.temperature = 0.3f + (float)(next_random(&random) % 20) / 10;
        if (round % 2) s.top_k = (int)(next_random(&random) % 60);
        if (round % 4 > 1) s.top_p = (float)(next_random(&random) % 100) / 100;
        if (round % 5 == 0) s.min_p = 0.1f;
        if (round % 7 == 0) s.repetition_penalty = 1.3f;
        check_frequencies(&s, logits, (uint32_t)round);
    }
}

/* With a support of one, a draw is a choice: penalties of what was generated, over many steps. */
static void penalties_follow_the_definition(void **state) {
    (void)state;
    uint32_t random = 9;
    for (int round = 0; round < 200; round++) {
        int32_t prompt[4], generated[20];
        for (int i = 0; i < 4; i++) prompt[i] = (int32_t)(next_random(&random) % V);
        vl2_sampling s = defaults();
        s.repetition_penalty = 0.8f + (float)(next_random(&random) % 10) / 10;
        s.presence_penalty = (float)(next_random(&random) % 5) / 2 - 1;
        s.frequency_penalty = (float)(next_random(&random) % 5) / 4 - 0.5f;
        vl2_sampler *greedy = make(V, &s, prompt, 4);
        s.temperature = 1;
        for (size_t step = 0; step < 20; step++) {
            float logits[V];
            double p[V];
            for (int i = 0; i < V; i++) logits[i] = (float)(next_random(&random) % 4000) / 500 - 4;
            define(p, logits, &s, prompt, 4, generated, step);
            int32_t best = 0;
            for (int i = 1; i < V; i++) {
                if (p[i] > p[best]) best = i;
            }
            generated[step] = next(greedy, logits);
            assert_int_equal(generated[step], best);
        }
        vl2_sampler_free(greedy);
    }
}

/* ---- edges ---------------------------------------------------------------------------------------- */

static void greedy_takes_the_lowest_of_equals(void **state) {
    (void)state;
    const float logits[] = {1, 5, 5, -INFINITY, 5};
    vl2_sampler *sampler = make(5, NULL, NULL, 0);
    for (int i = 0; i < 3; i++) assert_int_equal(next(sampler, logits), 1);
    vl2_sampler_free(sampler);
    for (size_t n = 1; n < 70; n++) { /* every place, whatever the length */
        float many[70] = {0};
        many[n - 1] = 1;
        sampler = make(n, NULL, NULL, 0);
        assert_int_equal(next(sampler, many), n - 1);
        vl2_sampler_free(sampler);
    }
}

static bool ever_comes(const vl2_sampling *s, const float *logits, size_t n, int32_t id) {
    vl2_sampler *sampler = make(n, s, NULL, 0);
    bool came = false;
    for (int i = 0; i < 300; i++) came |= next(sampler, logits) == id;
    vl2_sampler_free(sampler);
    return came;
}

static void cuts_keep_what_they_should(void **state) {
    (void)state;
    const float ties[] = {2, 3, 2, 1, 2};
    vl2_sampling s = defaults();
    s.temperature = 1;
    s.top_k = 2; /* all ties with the second stay */
    for (int32_t id = 0; id < 5; id++) assert_int_equal(ever_comes(&s, ties, 5, id), id != 3);
    s.top_k = 1;
    for (int32_t id = 0; id < 5; id++) assert_int_equal(ever_comes(&s, ties, 5, id), id == 1);
    s.top_k = 1000;
    assert_true(ever_comes(&s, ties, 5, 3));
    s.top_k = 0;
    s.top_p = 0; /* at least one */
    for (int32_t id = 0; id < 5; id++) assert_int_equal(ever_comes(&s, ties, 5, id), id == 1);
    const float halves[] = {0, 0, -INFINITY, 0, 0}; /* 1/4 each: the first, the next, … */
    s.top_p = 0.25f;
    for (int32_t id = 0; id < 5; id++) assert_int_equal(ever_comes(&s, halves, 5, id), id == 0);
    s.top_p = 0.3f;
    for (int32_t id = 0; id < 5; id++) assert_int_equal(ever_comes(&s, halves, 5, id), id < 2);
    s.top_p = 0.75f;
    for (int32_t id = 0; id < 5; id++) {
        assert_int_equal(ever_comes(&s, halves, 5, id), id != 2 && id < 4);
    }
    s.top_p = 1;
    s.min_p = 1;
    for (int32_t id = 0; id < 5; id++) assert_int_equal(ever_comes(&s, ties, 5, id), id == 1);
    s.min_p = 0;
    for (int32_t id = 0; id < 5; id++) assert_int_equal(ever_comes(&s, halves, 5, id), id != 2);
}

static void tiny_temperatures_are_greedy(void **state) {
    (void)state;
    const float logits[] = {1, 100.25f, 100.125f, -FLT_MAX, 100.25f};
    const float temperatures[] = {1e-45f, 1e-30f, 1e-6f};
    for (int i = 0; i < 3; i++) {
        vl2_sampling s = defaults();
        s.temperature = temperatures[i];
        for (int32_t id = 0; id < 5; id++) {
            assert_int_equal(ever_comes(&s, logits, 5, id), id == 1 || id == 4);
        }
    }
}

static void what_is_no_number_is_told(void **state) {
    (void)state;
    const float nan_logits[] = {1, NAN, 2}, none[] = {-INFINITY, -INFINITY, -INFINITY},
                infinite[] = {1, INFINITY, 2};
    for (int greedy = 0; greedy < 2; greedy++) {
        vl2_sampling s = defaults();
        s.temperature = greedy ? 0 : 1;
        vl2_sampler *sampler = make(3, &s, NULL, 0);
        const float *cases[] = {nan_logits, none, infinite};
        const char *words[] = {"not a number", "minus infinity", "infinite"};
        for (int i = 0; i < 3; i++) {
            int32_t id = 77;
            vl2_error err = {0};
            assert_int_equal(vl2_sampler_next(sampler, cases[i], &id, &err), VL2_ERR_NUMERIC);
            assert_non_null(strstr(err.text, words[i]));
            assert_int_equal(id, 77);
        }
        vl2_sampler_free(sampler);
    }
    /* Penalties never make infinities of numbers. */
    const float huge[] = {FLT_MAX, -FLT_MAX, 1};
    const int32_t seen[] = {0, 1, 2};
    vl2_sampling s = defaults();
    s.repetition_penalty = 0.001f;
    s.temperature = 1;
    vl2_sampler *sampler = make(3, &s, seen, 3);
    assert_int_equal(next(sampler, huge), 0);
    vl2_sampler_free(sampler);
}

static void assert_refused(vl2_sampling s, const char *field) {
    vl2_error err = {0};
    vl2_sampler *sampler = NULL;
    assert_int_equal(vl2_sampler_make(&sampler, 10, &s, NULL, 0, &err), VL2_ERR_ARGUMENT);
    assert_memory_equal(err.text, field, strlen(field));
    assert_null(sampler);
}

static void ranges_are_named(void **state) {
    (void)state;
    const float bad[] = {-0.5f, NAN, INFINITY, 101};
    for (int i = 0; i < 4; i++) {
        vl2_sampling s = defaults();
        s.temperature = bad[i];
        assert_refused(s, "temperature is ");
        s = defaults();
        s.top_p = bad[i];
        assert_refused(s, "top_p is ");
        s = defaults();
        s.min_p = bad[i];
        assert_refused(s, "min_p is ");
        s = defaults();
        s.repetition_penalty = i == 0 ? 0 : bad[i];
        assert_refused(s, "repetition_penalty is ");
        s = defaults();
        s.presence_penalty = i == 0 ? -101 : bad[i];
        assert_refused(s, "presence_penalty is ");
        s = defaults();
        s.frequency_penalty = i == 0 ? -101 : bad[i];
        assert_refused(s, "frequency_penalty is ");
    }
    vl2_sampling s = defaults();
    s.top_k = -1;
    assert_refused(s, "top_k is -1");
    s = defaults();
    s.struct_size = 0;
    assert_refused(s, "sampling.struct_size");
    const int32_t prompt[] = {1, 10};
    vl2_sampler *sampler = NULL;
    vl2_error err = {0};
    assert_int_equal(vl2_sampler_make(&sampler, 10, NULL, prompt, 2, &err), VL2_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "id 10 of the prompt (at 1)"));
}

static void seeds_repeat(void **state) {
    (void)state;
    float logits[V];
    uint32_t random = 4;
    for (int i = 0; i < V; i++) logits[i] = (float)(next_random(&random) % 100) / 50;
    vl2_sampling s = defaults();
    s.temperature = 1;
    s.seed = 42;
    int32_t ids[3][20];
    for (int run = 0; run < 3; run++) {
        s.seed = run == 2 ? 43 : 42;
        vl2_sampler *sampler = make(V, &s, NULL, 0);
        for (int i = 0; i < 20; i++) ids[run][i] = next(sampler, logits);
        vl2_sampler_free(sampler);
    }
    assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
    assert_memory_not_equal(ids[0], ids[2], sizeof ids[0]);
    /* Fixed for ever: a seed that gives other ids after a change breaks someone's record. */
    const float flat[1000] = {0};
    s.seed = 0;
    vl2_sampler *sampler = make(1000, &s, NULL, 0);
    const int32_t recorded[] = {601, 747, 103, 416, 732};
    for (int i = 0; i < 5; i++) assert_int_equal(next(sampler, flat), recorded[i]);
    vl2_sampler_free(sampler);
}

static void exponentials_are_right(void **state) {
    (void)state;
    double worst = 0;
    for (double x = 0; x > -700; x -= 0.00973) {
        double off = fabs(vl2_exp(x) / exp(x) - 1);
        worst = off > worst ? off : worst;
    }
    assert_true(worst < 5e-16);
    assert_true(vl2_exp(0) == 1);
    assert_true(vl2_exp(-709) == 0 && vl2_exp(-INFINITY) == 0 && vl2_exp(NAN) == 0);
    assert_true(vl2_exp(-708) > 0);
}

static void logprobs_are_those_of_the_logits(void **state) {
    (void)state;
    const float logits[] = {1, 3, -INFINITY, 3, 2};
    double sum = exp(1) + exp(3) + exp(3) + exp(2);
    vl2_logprob chosen, top[6];
    vl2_logprobs_of(logits, 5, 4, &chosen, top, 6);
    assert_int_equal(chosen.id, 4);
    assert_true(fabs(chosen.logprob - (2 - log(sum))) < 1e-6);
    const int32_t order[] = {1, 3, 4, 0, -1, -1};
    for (int i = 0; i < 6; i++) assert_int_equal(top[i].id, order[i]);
    assert_true(fabs(top[0].logprob - (3 - log(sum))) < 1e-6);
    assert_true(isinf(top[5].logprob));
    vl2_logprobs_of(logits, 5, 2, &chosen, NULL, 0);
    assert_true(isinf(chosen.logprob) && chosen.logprob < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_definition),
        cmocka_unit_test(penalties_follow_the_definition),
        cmocka_unit_test(greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(cuts_keep_what_they_should),
        cmocka_unit_test(tiny_temperatures_are_greedy),
        cmocka_unit_test(what_is_no_number_is_told),
        cmocka_unit_test(ranges_are_named),
        cmocka_unit_test(seeds_repeat),
        cmocka_unit_test(exponentials_are_right),
        cmocka_unit_test(logprobs_are_those_of_the_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
