#include "stages/stage.h"

#include <math.h>
#include <string.h>

#include "vision/projector.h"

static float *run(vl2_backend *be, const vl2_config *config, const vl2_projector_weights *w,
                  const float *feat, size_t n) {
    const vl2_projector_config *c = &config->projector;
    vl2_error err = {0};
    vl2_arena plan = {0}, arena = {0};
    vl2_projector_scratch scratch;
    size_t max_rows, max_cols;
    vl2_projector_carve(&plan, &scratch, config, n);
    assert_int_equal(vl2_arena_take(&arena, plan.used, "rows", &err), VL2_OK);
    vl2_projector_carve(&arena, &scratch, config, n);
    assert_int_equal(arena.used, plan.used);
    vl2_projector_extent(&max_rows, &max_cols, config, n);
    assert_int_equal(vl2_backend_reserve(be, max_rows, max_cols, &err), VL2_OK);
    float *rows = test_malloc(n * c->grid * c->grid * c->output * sizeof *rows);
    vl2_projector_forward(be, rows, feat, n, config, w, &scratch);
    vl2_arena_free(&arena);
    return rows;
}

static void compare(stage_model *model, const vl2_checkpoint *recorded, const char *name,
                    void *user) {
    float *feat = stage_floats(recorded, "vision"), *expected = stage_floats(recorded, "projector");
    if (!feat) return;
    const vl2_projector_config *c = &model->config.projector;
    const size_t n = stage_tensor(recorded, "vision")->shape[0];
    const size_t per_view = c->grid * c->grid * c->output;
    float *rows = run(model->backend, &model->config, &model->weights.projector, feat, n);
    stage_near(rows, expected, n * per_view, name, "projector");
    float *last =
        run(model->backend, &model->config, &model->weights.projector,
            feat + (n - 1) * model->config.vision.grid * model->config.vision.grid * c->input, 1);
    assert_memory_equal(rows + (n - 1) * per_view, last, per_view * sizeof *last);
    test_free(last);
    test_free(rows);
    test_free(feat);
    test_free(expected);
    ++*(size_t *)user;
}

static void test_recorded(void **state) {
    (void)state;
    size_t compared = 0;
    stage_each_case(NULL, compare, &compared);
    assert_true(compared >= 42);
}

/* ---- the other types, against the formula written out in double -------------------------------- */

enum { WIDTH = 6, OUTPUT = 10, VIEWS = 2, MAX_WIDE = 64 };

static void linear(double *y, const double *x, const vl2_linear *l, bool gelu) {
    const float *w = l->w.data;
    for (size_t j = 0; j < l->w.rows; j++) {
        double sum = l->b.data[j];
        for (size_t i = 0; i < l->w.cols; i++) sum += x[i] * (double)w[j * l->w.cols + i];
        y[j] = gelu ? 0.5 * sum * (1.0 + erf(sum / sqrt(2.0))) : sum;
    }
}

/* One row of the result: block (row, col) of side x side patches of a view. */
static void expected_row(double *out, const float *view, const vl2_config *config,
                         const vl2_projector_weights *w, size_t row, size_t col) {
    const vl2_projector_config *c = &config->projector;
    const size_t side = c->token_pooling ? 2 : c->ratio, grid = config->vision.grid;
    double a[MAX_WIDE] = {0}, b[MAX_WIDE];
    size_t width = 0;
    for (size_t ch = 0; ch < c->input; ch++) {
        for (size_t i = 0; i < side * side; i++, width++) {
            const size_t y = row * side + i / side, x = col * side + i % side;
            if (y < grid && x < grid) a[width] = (double)view[(y * grid + x) * c->input + ch];
        }
    }
    if (c->token_pooling) {
        linear(b, a, &w->pooling, false);
        memcpy(a, b, sizeof a);
        width = c->input;
    }
    for (size_t i = 0; i < c->linears; i++) {
        linear(b, a, &w->layers[i], i + 1 < c->linears);
        memcpy(a, b, sizeof a);
    }
    memcpy(out, a, (c->linears ? c->output : width) * sizeof *out);
}

static vl2_linear made_up(size_t rows, size_t cols, uint32_t seed) {
    return (vl2_linear){.w = stage_mat(stage_noise(rows * cols, seed), rows, cols),
                        .b = stage_vec(stage_noise(rows, seed + 1), rows)};
}

static void free_linear(const vl2_linear *l) {
    test_free((float *)(uintptr_t)l->w.data);
    test_free((float *)(uintptr_t)l->b.data);
}

static void check_type(vl2_projector_config c, size_t grid) {
    vl2_config config = {.vision = {.grid = grid, .width = WIDTH}, .projector = c};
    const size_t side = c.token_pooling ? 2 : c.ratio;
    vl2_projector_weights w = {0};
    vl2_backend *be = NULL;
    vl2_error err = {0};
    size_t width = c.token_pooling ? c.input : c.input * side * side;
    for (size_t i = 0; i < c.linears; i++) {
        const size_t next = i + 1 == c.linears ? c.output : c.hidden;
        w.layers[i] = made_up(next, width, (uint32_t)(10 * i + 3));
        width = next;
    }
    if (c.token_pooling) w.pooling = made_up(c.input, 4 * c.input, 99);
    assert_int_equal(
        vl2_backend_create(&be, &(vl2_backend_options){.threads = 2, .compute = VL2_COMPUTE_F32},
                           &err),
        VL2_OK);
    float *feat = stage_noise(VIEWS * grid * grid * WIDTH, 5);
    float *rows = run(be, &config, &w, feat, VIEWS), *at = rows;
    for (size_t i = 0; i < VIEWS * c.grid * c.grid; i++, at += c.output) {
        const size_t cell = i % (c.grid * c.grid);
        double row[MAX_WIDE];
        float expected[MAX_WIDE];
        expected_row(row, feat + i / (c.grid * c.grid) * grid * grid * WIDTH, &config, &w,
                     cell / c.grid, cell % c.grid);
        for (size_t j = 0; j < c.output; j++) expected[j] = (float)row[j];
        stage_near(at, expected, c.output, "made-up projector", "row");
    }
    for (size_t i = 0; i < c.linears; i++) free_linear(&w.layers[i]);
    if (c.token_pooling) free_linear(&w.pooling);
    test_free(feat);
    test_free(rows);
    vl2_backend_free(be);
}

static void test_types(void **state) {
    (void)state;
    vl2_projector_config mlp = {.type = VL2_PROJECTOR_MLP_GELU,
                                .input = WIDTH,
                                .output = OUTPUT,
                                .linears = 3,
                                .hidden = OUTPUT,
                                .ratio = 1,
                                .grid = 5};
    check_type(mlp, 5);
    mlp.linears = 1;
    check_type(mlp, 5);
    vl2_projector_config linear_type = mlp;
    linear_type.type = VL2_PROJECTOR_LINEAR;
    check_type(linear_type, 5);
    vl2_projector_config identity = {
        .type = VL2_PROJECTOR_IDENTITY, .input = WIDTH, .output = WIDTH, .ratio = 1, .grid = 4};
    check_type(identity, 4);
}

static void test_token_pooling(void **state) {
    (void)state;
    vl2_projector_config c = {.type = VL2_PROJECTOR_MLP_GELU,
                              .input = WIDTH,
                              .output = OUTPUT,
                              .linears = 2,
                              .hidden = OUTPUT,
                              .ratio = 1,
                              .token_pooling = true,
                              .grid = 3};
    check_type(c, 6);
    check_type(c, 7); /* the odd row and column are dropped */
    c.type = VL2_PROJECTOR_IDENTITY;
    c.linears = 0;
    c.output = WIDTH;
    check_type(c, 6);
}

static void test_downsampling(void **state) {
    (void)state;
    vl2_projector_config c = {.type = VL2_PROJECTOR_DOWNSAMPLE_MLP_GELU,
                              .input = WIDTH,
                              .output = OUTPUT,
                              .linears = 4,
                              .hidden = 3 * OUTPUT,
                              .ratio = 3,
                              .grid = 2};
    for (size_t grid = 4; grid <= 6; grid++) check_type(c, grid); /* padded by 2, 1 and 0 */
}

/* ---- planted errors ---------------------------------------------------------------------------- */

static const vl2_ops *real_ops;

static void swapped_gelu(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                         size_t m, const vl2_mat *w, const vl2_vec *b, vl2_epilogue epilogue,
                         bool exact) {
    if (epilogue == VL2_EPI_GELU_ERF) epilogue = VL2_EPI_GELU_TANH;
    real_ops->linear(be, y, ldy, x, ldx, m, w, b, epilogue, exact);
}

static void test_planted_errors(void **state) {
    (void)state;
    stage_model model;
    stage_open_golden(&model, "mini-tiny", 1);
    vl2_checkpoint *recorded = stage_recorded(&model, "one_image");
    const vl2_projector_config *c = &model.config.projector;
    const vl2_projector_weights *w = &model.weights.projector;
    float *feat = stage_floats(recorded, "vision"), *expected = stage_floats(recorded, "projector");
    const size_t n = stage_tensor(recorded, "vision")->shape[0];
    const size_t total = n * c->grid * c->grid * c->output;
    vl2_projector_weights bare = *w;
    bare.layers[1].b = (vl2_vec){0};
    float *rows = run(model.backend, &model.config, &bare, feat, n);
    assert_true(stage_distance(rows, expected, total) > 10 * STAGE_TOLERANCE);
    test_free(rows);
    real_ops = model.backend->ops;
    stage_alter(&model)->linear = swapped_gelu;
    rows = run(model.backend, &model.config, w, feat, n);
    assert_true(stage_distance(rows, expected, total) > STAGE_TOLERANCE);
    test_free(rows);
    test_free(feat);
    test_free(expected);
    vl2_checkpoint_close(recorded);
    stage_close(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded),       cmocka_unit_test(test_types),
        cmocka_unit_test(test_token_pooling),  cmocka_unit_test(test_downsampling),
        cmocka_unit_test(test_planted_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
