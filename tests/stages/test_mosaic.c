#include "stages/stage.h"

#include <string.h>

#include "vision/mosaic.h"

/* All pictures' rows [T_i, D], one picture behind the other, from the projected views; test_free. */
static float *assemble(const stage_model *model, const vl2_checkpoint *recorded, size_t *n_rows) {
    const vl2_config *config = &model->config;
    const vl2_tensor *crop = stage_tensor(recorded, "spatial_crop");
    const size_t g = config->projector.grid, d = config->projector.output;
    float *views = stage_floats(recorded, "projector"), *view = views, *out = NULL;
    *n_rows = 0;
    for (size_t i = 0; i < crop->shape[0]; i++) {
        const size_t wide = (size_t)stage_int(crop, 2 * i),
                     high = (size_t)stage_int(crop, 2 * i + 1);
        const size_t rows = vl2_config_image_tokens(config, wide, high);
        out = test_realloc(out, (*n_rows + rows) * d * sizeof *out);
        float *picture = out + *n_rows * d;
        memset(picture, 0xff, rows * d * sizeof *picture); /* NaN: what is left out is found */
        for (size_t v = 0; v <= wide * high; v++, view += g * g * d) {
            vl2_mosaic_place(picture, view, v, wide, high, config);
        }
        vl2_mosaic_frame(picture, wide, high, config, &model->weights.projector);
        *n_rows += rows;
    }
    test_free(views);
    return out;
}

/* inputs_embeds holds them, unscaled, where images_seq_mask is set. */
static void compare(stage_model *model, const vl2_checkpoint *recorded, const char *name,
                    void *user) {
    if (!stage_tensor(recorded, "projector")) return;
    const vl2_tensor *mask = stage_tensor(recorded, "images_seq_mask");
    const size_t d = model->config.projector.output;
    size_t n, at = 0;
    float *rows = assemble(model, recorded, &n), *embeds = stage_floats(recorded, "inputs_embeds");
    for (size_t t = 0; t < mask->shape[0]; t++) {
        if (!((const uint8_t *)mask->data)[t]) continue;
        assert_true(at < n);
        if (memcmp(embeds + t * d, rows + at * d, d * sizeof *rows))
            fail_msg("%s: picture row %zu is another", name, at);
        at++;
    }
    assert_int_equal(at, n);
    test_free(rows);
    test_free(embeds);
    ++*(size_t *)user;
}

static void test_recorded(void **state) {
    (void)state;
    size_t compared = 0;
    stage_each_case(NULL, compare, &compared);
    assert_true(compared >= 42);
}

/* The two orders of one picture hold the same rows, the separator between them. */
static void test_head_and_tail(void **state) {
    (void)state;
    enum { G = 3, WIDE = 2, HIGH = 1, GLOBAL = G * (G + 1), LOCAL = HIGH * G * (WIDE * G + 1) };
    const float newline = -1.0f, separator = -2.0f;
    const vl2_projector_weights w = {.newline = {&newline, 1}, .separator = {&separator, 1}};
    vl2_config config = {.projector = {.grid = G, .output = 1}};
    float head[GLOBAL + 1 + LOCAL], tail[GLOBAL + 1 + LOCAL];
    for (int first = 0; first < 2; first++) {
        float *out = first ? head : tail;
        config.image.global_first = first;
        for (size_t v = 0; v < 1 + WIDE * HIGH; v++) {
            float view[G * G];
            for (size_t i = 0; i < G * G; i++) view[i] = (float)(100 * v + i);
            vl2_mosaic_place(out, view, v, WIDE, HIGH, &config);
        }
        vl2_mosaic_frame(out, WIDE, HIGH, &config, &w);
    }
    const float global[GLOBAL] = {0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1};
    const float local[LOCAL] = {100, 101, 102, 200, 201, 202, -1,  103, 104, 105, 203,
                                204, 205, -1,  106, 107, 108, 206, 207, 208, -1};
    assert_memory_equal(head, global, sizeof global);
    assert_true(head[GLOBAL] == separator);
    assert_memory_equal(head + GLOBAL + 1, local, sizeof local);
    assert_memory_equal(tail, local, sizeof local);
    assert_true(tail[LOCAL] == separator);
    assert_memory_equal(tail + LOCAL + 1, global, sizeof global);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_head_and_tail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
