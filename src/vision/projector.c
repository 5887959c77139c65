#include "vision/projector.h"

#include <string.h>

enum { POOLING_SIDE = 2 }; /* patches a side that token_pooling makes one of */

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Patches a side of the blocks that become one row. */
static size_t block_side(const vl2_projector_config *c) {
    return c->token_pooling ? POOLING_SIDE : c->ratio;
}

void vl2_projector_carve(vl2_arena *arena, vl2_projector_scratch *out, const vl2_config *config,
                         size_t n) {
    const vl2_projector_config *c = &config->projector;
    const size_t rows = n * c->grid * c->grid, side = block_side(c);
    const size_t wide = larger(c->hidden, c->input) * sizeof(float);
    out->unfolded = vl2_arena_array(arena, rows, c->input * side * side * sizeof(float));
    out->a = vl2_arena_array(arena, rows, wide);
    out->b = vl2_arena_array(arena, rows, wide);
}

void vl2_projector_extent(size_t *max_rows, size_t *max_cols, const vl2_config *config, size_t n) {
    const vl2_projector_config *c = &config->projector;
    const size_t side = block_side(c);
    *max_rows = n * c->grid * c->grid;
    *max_cols = larger(c->hidden, c->input * side * side);
}

/* out [g*g, Dv*side*side] of one view's patches [G*G, Dv]: channel outermost, then row, column.
 * What lies right of the patches or below is zero; what does not fill a row of g blocks is left. */
static void unfold_view(float *out, const float *feat, size_t width, size_t patches, size_t cells,
                        size_t side) {
    const size_t area = side * side;
    for (size_t cell = 0; cell < cells * cells; cell++, out += width * area) {
        for (size_t i = 0; i < area; i++) {
            const size_t row = (cell / cells) * side + i / side;
            const size_t col = (cell % cells) * side + i % side;
            const float *from =
                row < patches && col < patches ? feat + (row * patches + col) * width : NULL;
            for (size_t ch = 0; ch < width; ch++) out[ch * area + i] = from ? from[ch] : 0.0f;
        }
    }
}

static void unfold(float *out, const float *feat, size_t n, const vl2_config *config) {
    const vl2_projector_config *c = &config->projector;
    const size_t patches = config->vision.grid, cells = c->grid, side = block_side(c);
    for (size_t i = 0; i < n; i++) {
        unfold_view(out + i * cells * cells * c->input * side * side,
                    feat + i * patches * patches * c->input, c->input, patches, cells, side);
    }
}

/* out [rows, D] = the Linears of x [rows, width], with GELU between them. */
static void layers(vl2_backend *be, float *out, const float *x, size_t width, size_t rows,
                   const vl2_projector_config *c, const vl2_projector_weights *w, float *a,
                   float *b) {
    for (size_t i = 0; i < c->linears; i++) {
        const bool last = i + 1 == c->linears;
        float *y = last ? out : x == a ? b : a;
        const size_t y_width = last ? c->output : c->hidden;
        be->ops->linear(be, y, y_width, x, width, rows, &w->layers[i].w, &w->layers[i].b,
                        last ? VL2_EPI_NONE : VL2_EPI_GELU_ERF, false);
        x = y;
        width = y_width;
    }
    if (c->linears == 0) memcpy(out, x, rows * width * sizeof(float)); /* identity: Dv = D */
}

void vl2_projector_forward(vl2_backend *be, float *rows, const float *feat, size_t n,
                           const vl2_config *config, const vl2_projector_weights *w,
                           const vl2_projector_scratch *scratch) {
    const vl2_projector_config *c = &config->projector;
    const size_t n_rows = n * c->grid * c->grid, side = block_side(c);
    const size_t unfolded_width = c->input * side * side;
    const float *x = feat;
    size_t width = c->input;
    if (side > 1) {
        unfold(scratch->unfolded, feat, n, config);
        x = scratch->unfolded;
        width = unfolded_width;
    }
    if (c->token_pooling) {
        be->ops->linear(be, scratch->a, c->input, x, width, n_rows, &w->pooling.w, &w->pooling.b,
                        VL2_EPI_NONE, false);
        x = scratch->a;
        width = c->input;
    }
    layers(be, rows, x, width, n_rows, c, w, scratch->a, scratch->b);
}
