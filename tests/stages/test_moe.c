#include "stages/stage.h"

#include <math.h>
#include <string.h>

#include "lang/ffn.h"
#include "lang/head.h"
#include "lang/moe.h"

enum { D = 24, FE = 10, FS = 14, E = 6, K = 3, ROWS = 9 };

typedef struct fixture {
    vl2_language_config lang;
    vl2_mlp experts[E];
    vl2_layer layer;
    vl2_backend *be;
    vl2_arena arena;
    vl2_moe_scratch scratch;
    float *normed;
} fixture;

static vl2_mat noise_mat(size_t rows, size_t cols, uint32_t seed) {
    return stage_mat(stage_noise(rows * cols, seed), rows, cols);
}

static vl2_mlp noise_mlp(size_t width, uint32_t seed) {
    return (vl2_mlp){.gate = noise_mat(width, D, seed),
                     .up = noise_mat(width, D, seed + 1),
                     .down = noise_mat(D, width, seed + 2)};
}

static void free_mat(const vl2_mat *m) { test_free((float *)(uintptr_t)m->data); }

static void free_mlp(const vl2_mlp *m) {
    free_mat(&m->gate);
    free_mat(&m->up);
    free_mat(&m->down);
}

static int open_fixture(void **state) {
    fixture *f = test_calloc(1, sizeof *f);
    vl2_error err = {0};
    vl2_arena plan = {0};
    f->lang = (vl2_language_config){.hidden = D,
                                    .act = VL2_ACT_SILU,
                                    .experts = E,
                                    .experts_per_token = K,
                                    .expert_width = FE,
                                    .shared_width = FS,
                                    .router = VL2_ROUTER_GREEDY,
                                    .scoring = VL2_SCORING_SIGMOID,
                                    .groups = 1,
                                    .top_groups = 1,
                                    .routed_scale = 1.0};
    for (size_t e = 0; e < E; e++) f->experts[e] = noise_mlp(FE, (uint32_t)(100 + 10 * e));
    f->layer = (vl2_layer){.is_moe = true,
                           .router = noise_mat(E, D, 7),
                           .experts = f->experts,
                           .shared = noise_mlp(FS, 50)};
    assert_int_equal(
        vl2_backend_create(&f->be, &(vl2_backend_options){.threads = 2, .compute = VL2_COMPUTE_F32},
                           &err),
        VL2_OK);
    assert_int_equal(vl2_backend_reserve(f->be, ROWS * K, D, &err), VL2_OK);
    vl2_moe_carve(&plan, &f->scratch, &f->lang, ROWS);
    assert_int_equal(vl2_arena_take(&f->arena, plan.used, "experts", &err), VL2_OK);
    vl2_moe_carve(&f->arena, &f->scratch, &f->lang, ROWS);
    f->normed = stage_noise(ROWS * D, 3);
    *state = f;
    return 0;
}

static int close_fixture(void **state) {
    fixture *f = *state;
    for (size_t e = 0; e < E; e++) free_mlp(&f->experts[e]);
    free_mlp(&f->layer.shared);
    free_mat(&f->layer.router);
    vl2_arena_free(&f->arena);
    vl2_backend_free(f->be);
    test_free(f->normed);
    test_free(f);
    return 0;
}

static double dot(const float *w, const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)w[i] * x[i];
    return sum;
}

static double act(double x, vl2_activation kind) {
    switch (kind) {
    case VL2_ACT_SILU: return x / (1 + exp(-x));
    case VL2_ACT_GELU_ERF: return 0.5 * x * (1 + erf(x / sqrt(2.0)));
    case VL2_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
    case VL2_ACT_RELU: return x > 0 ? x : 0;
    }
    return 0;
}

/* out += weight * mlp(row) */
static void add_mlp(double *out, const vl2_mlp *mlp, const float *row, double weight,
                    vl2_activation kind) {
    double x[D], hidden[FS];
    const float *gate = mlp->gate.data, *up = mlp->up.data, *down = mlp->down.data;
    const size_t width = mlp->gate.rows;
    for (size_t i = 0; i < D; i++) x[i] = (double)row[i];
    for (size_t i = 0; i < width; i++) {
        hidden[i] = act(dot(gate + i * D, x, D), kind) * dot(up + i * D, x, D);
    }
    for (size_t i = 0; i < D; i++) out[i] += weight * dot(down + i * width, hidden, width);
}

static void add_experts(double *out, const fixture *f, const float *row) {
    double score[E], x[D];
    const float *router = f->layer.router.data;
    for (size_t i = 0; i < D; i++) x[i] = (double)row[i];
    for (size_t e = 0; e < E; e++) score[e] = 1 / (1 + exp(-dot(router + e * D, x, D)));
    for (size_t j = 0; j < K; j++) {
        size_t best = 0;
        for (size_t e = 1; e < E; e++) best = score[e] > score[best] ? e : best;
        add_mlp(out, &f->experts[best], row, score[best], f->lang.act);
        score[best] = -1;
    }
}

static void check_rows(const fixture *f, const float *x, const float *before) {
    for (size_t i = 0; i < ROWS; i++) {
        double row[D];
        float expected[D];
        for (size_t j = 0; j < D; j++) row[j] = (double)before[i * D + j];
        add_experts(row, f, f->normed + i * D);
        if (f->layer.shared.gate.data)
            add_mlp(row, &f->layer.shared, f->normed + i * D, 1.0, f->lang.act);
        for (size_t j = 0; j < D; j++) expected[j] = (float)row[j];
        stage_near(x + i * D, expected, D, "made-up experts", "row");
    }
}

static void test_against_the_formula(void **state) {
    fixture *f = *state;
    for (int kind = VL2_ACT_SILU; kind <= VL2_ACT_RELU; kind++) {
        float *x = stage_noise(ROWS * D, 11), *before = stage_noise(ROWS * D, 11);
        f->lang.act = (vl2_activation)kind;
        assert_true(vl2_moe_forward(f->be, x, f->normed, ROWS, &f->lang, &f->layer, &f->scratch));
        check_rows(f, x, before);
        test_free(x);
        test_free(before);
    }
}

static void test_without_shared_experts(void **state) {
    fixture *f = *state;
    float *x = test_calloc(ROWS * D, sizeof *x), *before = test_calloc(ROWS * D, sizeof *x);
    const vl2_mlp shared = f->layer.shared;
    f->layer.shared = (vl2_mlp){0};
    assert_true(vl2_moe_forward(f->be, x, f->normed, ROWS, &f->lang, &f->layer, &f->scratch));
    check_rows(f, x, before);
    f->layer.shared = shared;
    test_free(x);
    test_free(before);
}

/* A row's bits are the same alone, in another order, in a smaller group. */
static void test_rows_are_alone(void **state) {
    fixture *f = *state;
    float *all = stage_noise(ROWS * D, 11), *one = stage_noise(ROWS * D, 11);
    assert_true(vl2_moe_forward(f->be, all, f->normed, ROWS, &f->lang, &f->layer, &f->scratch));
    for (size_t i = 0; i < ROWS; i++) {
        assert_true(vl2_moe_forward(f->be, one + i * D, f->normed + i * D, 1, &f->lang, &f->layer,
                                    &f->scratch));
    }
    assert_memory_equal(all, one, ROWS * D * sizeof *all);
    test_free(all);
    test_free(one);
}

static void test_every_row_to_the_same_experts(void **state) {
    fixture *f = *state;
    float *router = test_calloc(E * D, sizeof *router);
    float *x = test_calloc(ROWS * D, sizeof *x), *before = test_calloc(ROWS * D, sizeof *x);
    const vl2_mat kept = f->layer.router;
    const float bias[E] = {0.5f, 0.4f, 0.3f};
    f->layer.router = stage_mat(router, E, D); /* all scores equal: the bias chooses */
    f->layer.router_bias = stage_vec(bias, E);
    f->lang.router = VL2_ROUTER_NOAUX_TC;
    assert_true(vl2_moe_forward(f->be, x, f->normed, ROWS, &f->lang, &f->layer, &f->scratch));
    check_rows(f, x, before);
    f->layer.router = kept;
    test_free(router);
    test_free(x);
    test_free(before);
}

static void test_not_a_number(void **state) {
    fixture *f = *state;
    float *x = test_calloc(ROWS * D, sizeof *x);
    f->normed[4 * D] = NAN;
    assert_false(vl2_moe_forward(f->be, x, f->normed, ROWS, &f->lang, &f->layer, &f->scratch));
    test_free(x);
}

/* Logits of rows that go to scattered places are those of rows that lie together. */
static void test_head_scatters(void **state) {
    fixture *f = *state;
    enum { V = 33 };
    const vl2_mat head = noise_mat(V, D, 77);
    float together[ROWS * V], apart[2 * ROWS * V], staging[2 * V];
    float *one_block[ROWS], *places[ROWS];
    for (size_t i = 0; i < ROWS; i++) {
        one_block[i] = together + i * V;
        places[i] = apart + 2 * (ROWS - 1 - i) * V;
    }
    vl2_head_forward(f->be, one_block, f->normed, ROWS, &head, staging, 2);
    vl2_head_forward(f->be, places, f->normed, ROWS, &head, staging, 2);
    for (size_t i = 0; i < ROWS; i++)
        assert_memory_equal(one_block[i], places[i], V * sizeof(float));
    free_mat(&head);
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        WITH(test_against_the_formula), WITH(test_without_shared_experts),
        WITH(test_rows_are_alone),      WITH(test_every_row_to_the_same_experts),
        WITH(test_not_a_number),        WITH(test_head_scatters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
