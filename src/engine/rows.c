/* Views through the tower and the projector, one at a time, to the rows of a picture. */
#include "engine/engine.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "image/views.h"
#include "vision/mosaic.h"

static void carve(vl2_arena *arena, vl2_view_scratch *out, const vl2_config *config) {
    const vl2_vision_config *vision = &config->vision;
    vl2_siglip_carve(arena, &out->siglip, config, 1);
    vl2_projector_carve(arena, &out->projector, config, 1);
    out->feat = vl2_arena_array(arena, vision->grid * vision->grid * vision->width, sizeof(float));
    out->rows = vl2_arena_array(
        arena, config->projector.grid * config->projector.grid * config->lang.hidden,
        sizeof(float));
}

size_t vl2_rows_plan(const vl2_config *config) {
    vl2_arena plan = {0};
    vl2_view_scratch dummy;
    carve(&plan, &dummy, config);
    return plan.used;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

vl2_status vl2_rows_scratch(vl2_engine *engine, vl2_error *err) {
    if (engine->views.arena.memory) return VL2_OK;
    const vl2_config *config = &engine->config;
    size_t rows, cols, more_rows, more_cols;
    vl2_siglip_extent(&rows, &cols, config, 1);
    vl2_projector_extent(&more_rows, &more_cols, config, 1);
    VL2_TRY(vl2_backend_reserve(engine->be, larger(rows, more_rows), larger(cols, more_cols), err));
    vl2_arena arena = {0};
    VL2_TRY(vl2_arena_take(&arena, vl2_rows_plan(config), "the vision tower's scratch", err));
    carve(&arena, &engine->views, config);
    engine->views.arena = arena;
    return VL2_OK;
}

static vl2_status create(vl2_rows **out, size_t n, size_t width, vl2_error *err) {
    size_t floats, bytes;
    if (!vl2_mul(&floats, n, width) || !vl2_mul(&bytes, floats, sizeof(float))) {
        return vl2_fail(err, VL2_ERR_LIMIT, "a picture's %zu rows of %zu numbers are too many", n,
                        width);
    }
    vl2_rows *rows = vl2_mem_calloc(1, sizeof *rows);
    float *data = vl2_mem_aligned(bytes);
    if (!rows || !data) {
        vl2_mem_free(rows);
        vl2_mem_free(data);
        return vl2_fail_memory(err, "a picture's rows", bytes);
    }
    atomic_init(&rows->references, 1);
    rows->n = n;
    rows->width = width;
    rows->data = data;
    *out = rows;
    return VL2_OK;
}

vl2_rows *vl2_rows_retain(vl2_rows *rows) {
    if (rows) atomic_fetch_add(&rows->references, 1);
    return rows;
}

void vl2_rows_free(vl2_rows *rows) {
    if (!rows || atomic_fetch_sub(&rows->references, 1) != 1) return;
    vl2_mem_free(rows->data);
    vl2_mem_free(rows);
}

size_t vl2_rows_bytes(const vl2_rows *rows) {
    return sizeof *rows + rows->n * rows->width * sizeof(float);
}

vl2_status vl2_rows_begin(vl2_encoding *out, vl2_engine *engine, const vl2_span *span,
                          uint8_t **tiles, vl2_error *err) {
    const vl2_config *config = &engine->config;
    VL2_TRY(vl2_rows_scratch(engine, err));
    vl2_encoding begun = {.n_views = 1 + span->tiles_wide * span->tiles_high};
    VL2_TRY(create(&begun.rows, span->n_tokens, config->lang.hidden, err));
    begun.tiles = *tiles;
    *tiles = NULL;
    vl2_status status = VL2_OK;
    if (!begun.tiles)
        status = vl2_views_make(&begun.tiles, &config->image, span->picture, span->tiles_wide,
                                span->tiles_high, engine->be->pool, err);
    if (status != VL2_OK) {
        vl2_rows_free(begun.rows);
        return status;
    }
    vl2_mosaic_frame(begun.rows->data, span->tiles_wide, span->tiles_high, config,
                     &engine->weights.projector);
    *out = begun;
    return VL2_OK;
}

static bool all_finite(const float *values, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) return false;
    }
    return true;
}

vl2_status vl2_rows_next_view(vl2_encoding *encoding, vl2_engine *engine, const vl2_span *span,
                              const vl2_encode_request *request, vl2_error *err) {
    const vl2_config *config = &engine->config;
    const vl2_vision_config *vision = &config->vision;
    const vl2_view_scratch *scratch = &engine->views;
    size_t view = encoding->next, patches = vision->grid * vision->grid;
    size_t rows = config->projector.grid * config->projector.grid, width = config->lang.hidden;
    const uint8_t *tile = encoding->tiles + view * 3 * vision->side * vision->side;
    VL2_TRY(vl2_siglip_forward(engine->be, scratch->feat, tile, 1, config, &engine->weights.vision,
                               &scratch->siglip, request->poll, request->poll_user, err));
    vl2_tap_show(request->tap, "vision", view, 0, scratch->feat, patches, vision->width);
    vl2_projector_forward(engine->be, scratch->rows, scratch->feat, 1, config,
                          &engine->weights.projector, &scratch->projector);
    vl2_tap_show(request->tap, "projector", view, 0, scratch->rows, rows, width);
    if (!all_finite(scratch->rows, rows * width)) {
        return vl2_fail(err, VL2_ERR_NUMERIC,
                        "the vision tower's result for view %zu of a picture is not a number; "
                        "the weights of %s are damaged",
                        view, engine->name);
    }
    vl2_mosaic_place(encoding->rows->data, scratch->rows, view, span->tiles_wide, span->tiles_high,
                     config);
    encoding->next++;
    return VL2_OK;
}

void vl2_rows_abandon(vl2_encoding *encoding) {
    vl2_rows_free(encoding->rows);
    vl2_mem_free(encoding->tiles);
    *encoding = (vl2_encoding){0};
}
