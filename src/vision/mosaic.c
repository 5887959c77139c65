#include "vision/mosaic.h"

#include <string.h>

/* The sequence has two grids, each row followed by a newline, with the separator between them. */
typedef struct layout {
    size_t width, cells;        /* D, g */
    size_t local_cols;          /* rows of D in a mosaic row, without its newline: tw*g */
    size_t local_rows;          /* th*g */
    size_t global_at, local_at; /* first row of each grid */
    size_t separator_at;
} layout;

static layout layout_of(size_t tiles_wide, size_t tiles_high, const vl2_config *config) {
    const size_t g = config->projector.grid;
    layout l = {.width = config->projector.output,
                .cells = g,
                .local_cols = tiles_wide * g,
                .local_rows = tiles_high * g};
    const size_t global_size = g * (g + 1), local_size = l.local_rows * (l.local_cols + 1);
    if (config->image.global_first) {
        l.separator_at = global_size;
        l.local_at = global_size + 1;
    } else {
        l.separator_at = local_size;
        l.global_at = local_size + 1;
    }
    return l;
}

void vl2_mosaic_place(float *out, const float *rows, size_t view, size_t tiles_wide,
                      size_t tiles_high, const vl2_config *config) {
    const layout l = layout_of(tiles_wide, tiles_high, config);
    size_t at = l.global_at, pitch = l.cells + 1; /* rows of D from one grid row to the next */
    if (view > 0) {
        const size_t tile = view - 1;
        pitch = l.local_cols + 1;
        at = l.local_at + tile / tiles_wide * l.cells * pitch + tile % tiles_wide * l.cells;
    }
    for (size_t row = 0; row < l.cells; row++) {
        memcpy(out + (at + row * pitch) * l.width, rows + row * l.cells * l.width,
               l.cells * l.width * sizeof(float));
    }
}

/* A newline after each of n rows of `cols` cells, the grid beginning at row `at` of out. */
static void newlines(float *out, size_t at, size_t n, size_t cols, const vl2_vec *newline) {
    for (size_t row = 0; row < n; row++) {
        memcpy(out + (at + row * (cols + 1) + cols) * newline->size, newline->data,
               newline->size * sizeof(float));
    }
}

void vl2_mosaic_frame(float *out, size_t tiles_wide, size_t tiles_high, const vl2_config *config,
                      const vl2_projector_weights *w) {
    const layout l = layout_of(tiles_wide, tiles_high, config);
    newlines(out, l.global_at, l.cells, l.cells, &w->newline);
    newlines(out, l.local_at, l.local_rows, l.local_cols, &w->newline);
    memcpy(out + l.separator_at * l.width, w->separator.data, l.width * sizeof(float));
}
