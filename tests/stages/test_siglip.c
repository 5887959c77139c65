#include "stages/stage.h"

#include <string.h>

#include "vision/siglip.h"

/* feat [n, G*G, Dv] of the views, `at_once` of them a call; test_free. */
static float *run(stage_model *model, const uint8_t *tiles, size_t n, size_t at_once) {
    const vl2_vision_config *c = &model->config.vision;
    const size_t per_view = c->grid * c->grid * c->width;
    vl2_error err = {0};
    vl2_arena plan = {0}, arena = {0};
    vl2_siglip_scratch scratch;
    size_t rows, cols;
    vl2_siglip_carve(&plan, &scratch, &model->config, at_once);
    assert_int_equal(vl2_arena_take(&arena, plan.used, "views", &err), VL2_OK);
    vl2_siglip_carve(&arena, &scratch, &model->config, at_once);
    assert_int_equal(arena.used, plan.used);
    vl2_siglip_extent(&rows, &cols, &model->config, at_once);
    assert_int_equal(vl2_backend_reserve(model->backend, rows, cols, &err), VL2_OK);
    float *feat = test_malloc(n * per_view * sizeof *feat);
    for (size_t i = 0; i < n; i += at_once) {
        const size_t some = n - i < at_once ? n - i : at_once;
        assert_int_equal(vl2_siglip_forward(model->backend, feat + i * per_view,
                                            tiles + i * 3 * c->side * c->side, some, &model->config,
                                            &model->weights.vision, &scratch, NULL, NULL, &err),
                         VL2_OK);
    }
    vl2_arena_free(&arena);
    return feat;
}

static void compare(stage_model *model, const vl2_checkpoint *recorded, const char *name,
                    void *user) {
    float *expected = stage_floats(recorded, "vision");
    if (!expected) return;
    const vl2_tensor *tiles = stage_tensor(recorded, "tiles");
    const vl2_vision_config *c = &model->config.vision;
    const size_t n = tiles->shape[0], total = n * c->grid * c->grid * c->width;
    assert_int_equal(tiles->shape[2], c->side);
    float *whole = run(model, tiles->data, n, n);
    float *single = run(model, tiles->data, n, 1);
    stage_near(whole, expected, total, name, "vision");
    assert_memory_equal(whole, single, total * sizeof *whole);
    test_free(whole);
    test_free(single);
    test_free(expected);
    ++*(size_t *)user;
}

static void test_recorded(void **state) {
    (void)state;
    size_t compared = 0;
    stage_each_case(NULL, compare, &compared);
    assert_true(compared >= 42);
}

static void test_threads(void **state) {
    (void)state;
    stage_model model;
    stage_open_golden(&model, "mini-yarn", 1);
    vl2_checkpoint *recorded = stage_recorded(&model, "two_images_grounding");
    const vl2_tensor *tiles = stage_tensor(recorded, "tiles");
    const vl2_vision_config *c = &model.config.vision;
    const size_t n = tiles->shape[0], bytes = n * c->grid * c->grid * c->width * sizeof(float);
    float *one = run(&model, tiles->data, n, 3);
    for (int threads = 2; threads <= 3; threads++) {
        stage_threads(&model, threads);
        float *more = run(&model, tiles->data, n, 2);
        assert_memory_equal(one, more, bytes);
        test_free(more);
    }
    test_free(one);
    vl2_checkpoint_close(recorded);
    stage_close(&model);
}

/* ---- planted errors ---------------------------------------------------------------------------- */

typedef struct planted {
    stage_model model;
    vl2_checkpoint *recorded;
    uint8_t *tiles;
    size_t n;
    float *expected;
} planted;

static int open_planted(void **state) {
    planted *p = test_calloc(1, sizeof *p);
    stage_open_golden(&p->model, "mini-tiny", 1);
    p->recorded = stage_recorded(&p->model, "one_image");
    const vl2_tensor *tiles = stage_tensor(p->recorded, "tiles");
    p->n = tiles->shape[0];
    p->tiles = test_malloc(tiles->bytes);
    memcpy(p->tiles, tiles->data, tiles->bytes);
    p->expected = stage_floats(p->recorded, "vision");
    *state = p;
    return 0;
}

static int close_planted(void **state) {
    planted *p = *state;
    test_free(p->expected);
    test_free(p->tiles);
    vl2_checkpoint_close(p->recorded);
    stage_close(&p->model);
    test_free(p);
    return 0;
}

static double distance(planted *p) {
    const vl2_vision_config *c = &p->model.config.vision;
    float *feat = run(&p->model, p->tiles, p->n, p->n);
    const double d = stage_distance(feat, p->expected, p->n * c->grid * c->grid * c->width);
    test_free(feat);
    return d;
}

static void test_transposed_tile(void **state) {
    planted *p = *state;
    const size_t side = p->model.config.vision.side;
    assert_true(distance(p) < STAGE_TOLERANCE);
    for (size_t y = 0; y < side; y++) {
        for (size_t x = 0; x < y; x++) {
            uint8_t *a = p->tiles + y * side + x, *b = p->tiles + x * side + y, t = *a;
            *a = *b;
            *b = t;
        }
    }
    assert_true(distance(p) > 10 * STAGE_TOLERANCE);
}

static const vl2_ops *real_ops;

static void swapped_gelu(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                         size_t m, const vl2_mat *w, const vl2_vec *b, vl2_epilogue epilogue,
                         bool exact) {
    if (epilogue == VL2_EPI_GELU_TANH) epilogue = VL2_EPI_GELU_ERF;
    real_ops->linear(be, y, ldy, x, ldx, m, w, b, epilogue, exact);
}

static void test_swapped_gelu(void **state) {
    planted *p = *state;
    real_ops = p->model.backend->ops;
    stage_alter(&p->model)->linear = swapped_gelu;
    assert_true(distance(p) > STAGE_TOLERANCE);
}

static void wrong_eps(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                      size_t width, const vl2_vec *w, const vl2_vec *b, float eps) {
    assert_true(eps == 1e-6f);
    real_ops->layernorm(be, y, ldy, x, ldx, m, width, w, b, 1e-5f);
}

static void test_wrong_eps(void **state) {
    planted *p = *state;
    real_ops = p->model.backend->ops;
    stage_alter(&p->model)->layernorm = wrong_eps;
    assert_true(distance(p) > STAGE_TOLERANCE);
}

static void test_missing_bias(void **state) {
    planted *p = *state;
    p->model.weights.vision.blocks[1].fc2.b = (vl2_vec){0};
    assert_true(distance(p) > 10 * STAGE_TOLERANCE);
}

static void test_missing_normalisation(void **state) {
    planted *p = *state;
    p->model.config.image.normalize = false;
    assert_true(distance(p) > 10 * STAGE_TOLERANCE);
}

/* global_pool "avg" has no final norm: the recorded result is what the norm makes of ours. */
static void test_without_final_norm(void **state) {
    planted *p = *state;
    const vl2_vision_config *c = &p->model.config.vision;
    const size_t rows = p->n * c->grid * c->grid;
    const vl2_norm *norm = &p->model.weights.vision.norm;
    p->model.config.vision.final_norm = false;
    float *feat = run(&p->model, p->tiles, p->n, p->n);
    assert_true(stage_distance(feat, p->expected, rows * c->width) > STAGE_TOLERANCE);
    p->model.backend->ops->layernorm(p->model.backend, feat, c->width, feat, c->width, rows,
                                     c->width, &norm->w, &norm->b, 1e-6f);
    stage_near(feat, p->expected, rows * c->width, "mini-tiny", "normed features");
    test_free(feat);
}

/* A side that the patch does not divide: the last rows and columns of pixels change nothing. */
static void test_pixels_left_over(void **state) {
    planted *p = *state;
    const size_t side = p->model.config.vision.side, wide = side + 5;
    uint8_t *tiles = test_malloc(p->n * 3 * wide * wide);
    memset(tiles, 77, p->n * 3 * wide * wide);
    for (size_t row = 0; row < p->n * 3 * side; row++) {
        memcpy(tiles + (row / side * wide + row % side) * wide, p->tiles + row * side, side);
    }
    uint8_t *kept = p->tiles;
    p->tiles = tiles;
    p->model.config.vision.side = wide;
    const double d = distance(p);
    p->tiles = kept;
    test_free(tiles);
    assert_true(d < STAGE_TOLERANCE);
}

int main(void) {
#define PLANTED(test) cmocka_unit_test_setup_teardown(test, open_planted, close_planted)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_threads),
        PLANTED(test_transposed_tile),
        PLANTED(test_swapped_gelu),
        PLANTED(test_wrong_eps),
        PLANTED(test_missing_bias),
        PLANTED(test_missing_normalisation),
        PLANTED(test_without_final_norm),
        PLANTED(test_pixels_left_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
