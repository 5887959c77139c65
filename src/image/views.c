#include "image/views.h"

#include "base/mem.h"
#include "image/resize.h"

#include <math.h>
#include <string.h>

typedef struct box { /* where the scaled picture lies on the padded one */
    size_t x, y, width, height;
} box;

/* ImageOps.contain and pad: every division and product in their order, round() half to even. */
static box place(size_t in_w, size_t in_h, size_t w, size_t h) {
    const double ratio = (double)in_w / (double)in_h, wanted = (double)w / (double)h;
    box b = {.width = w, .height = h};
    if (ratio > wanted)
        b.height = (size_t)rint((double)in_h / (double)in_w * (double)w);
    else if (ratio < wanted)
        b.width = (size_t)rint((double)in_w / (double)in_h * (double)h);
    if (b.height > h) b.height = h;
    if (b.width > w) b.width = w;
    b.x = (size_t)rint((double)(w - b.width) * 0.5);
    b.y = (size_t)rint((double)(h - b.height) * 0.5);
    return b;
}

typedef struct target { /* views that make up one padded picture */
    uint8_t *views;     /* [high * wide, 3, side, side] */
    size_t side, wide, high;
} target;

static void fill(const target *t, const vl2_image_config *config) {
    const size_t plane = t->side * t->side;
    for (size_t i = 0; i < t->wide * t->high * 3; i++)
        memset(t->views + i * plane, (int)(255.0f * config->mean[i % 3]), plane);
}

/* One row of the scaled picture to the tiles that it crosses. */
static void put_row(const target *t, const box *b, size_t y, const uint8_t *rgb) {
    const size_t plane = t->side * t->side, row = b->y + y;
    for (size_t x = 0; x < b->width;) {
        const size_t column = b->x + x, tile = row / t->side * t->wide + column / t->side;
        const size_t left = t->side - column % t->side;
        const size_t n = b->width - x < left ? b->width - x : left;
        uint8_t *to = t->views + tile * 3 * plane + row % t->side * t->side + column % t->side;
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < 3; c++) to[c * plane + i] = rgb[(x + i) * 3 + c];
        x += n;
    }
}

static vl2_status pad(const target *t, const vl2_image_config *config, const vl2_picture *picture,
                      vl2_pool *pool, vl2_error *err) {
    const size_t width = vl2_picture_width(picture), height = vl2_picture_height(picture);
    const box b = place(width, height, t->wide * t->side, t->high * t->side);
    uint8_t *scaled = NULL;
    fill(t, config);
    if (b.width == 0 || b.height == 0) return VL2_OK; /* too thin to be seen */
    VL2_TRY(vl2_resize_bicubic(&scaled, vl2_picture_rgb(picture), width, height, b.width, b.height,
                               pool, err));
    for (size_t y = 0; y < b.height; y++) put_row(t, &b, y, scaled + y * b.width * 3);
    vl2_mem_free(scaled);
    return VL2_OK;
}

vl2_status vl2_views_make(uint8_t **out, const vl2_image_config *config, const vl2_picture *picture,
                          size_t tiles_wide, size_t tiles_high, vl2_pool *pool, vl2_error *err) {
    const size_t side = config->side;
    size_t tiles, bytes;
    if (!vl2_mul(&tiles, tiles_wide, tiles_high) || !vl2_mul(&bytes, side * 3, side) ||
        !vl2_mul(&bytes, bytes, tiles + 1))
        return vl2_fail(err, VL2_ERR_LIMIT, "%zu x %zu views of %zu pixels are too many",
                        tiles_wide, tiles_high, side);
    uint8_t *views = vl2_mem_alloc(bytes);
    if (!views) return vl2_fail_memory(err, "a picture's views", bytes);
    const target global = {.views = views, .side = side, .wide = 1, .high = 1};
    const target local = {
        .views = views + 3 * side * side, .side = side, .wide = tiles_wide, .high = tiles_high};
    vl2_status status = pad(&global, config, picture, pool, err);
    if (status == VL2_OK) status = pad(&local, config, picture, pool, err);
    if (status != VL2_OK) {
        vl2_mem_free(views);
        return status;
    }
    *out = views;
    return VL2_OK;
}
