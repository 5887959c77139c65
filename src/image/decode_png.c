#include "base/mem.h"
#include "image/decode.h"
#include "image/exif.h"

#include <png.h>
#include <setjmp.h>
#include <string.h>

typedef struct png_state {
    png_structp png;
    png_infop info;
    const vl2_source *source;
    size_t at;
    vl2_picture *picture;
    uint8_t *deep; /* [rows, width] of 16-bit grey, big-endian: one row, or all when interlaced */
    vl2_error *err;
    bool truncated;
} png_state;

static void fail_here(png_structp png, png_const_charp text) {
    png_state *s = png_get_error_ptr(png);
    if (s->truncated)
        vl2_decode_truncated(s->source, "PNG", s->err);
    else
        vl2_fail(s->err, VL2_ERR_FORMAT, "%s: broken PNG: %s", s->source->name, text);
    longjmp(png_jmpbuf(png), 1);
}

static void say_nothing(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static void read_bytes(png_structp png, png_bytep into, size_t n) {
    png_state *s = png_get_io_ptr(png);
    if (n > s->source->size - s->at) {
        s->truncated = true;
        png_error(png, "truncated");
    }
    memcpy(into, s->source->bytes + s->at, n);
    s->at += n;
}

static void *take(png_structp png, png_alloc_size_t size) {
    (void)png;
    return vl2_mem_alloc(size);
}
static void give(png_structp png, void *memory) {
    (void)png;
    vl2_mem_free(memory);
}

/* The eXIf chunk, wherever it is: libpng would give it only after the pixels. Also tells whether
 * the pixels' chunks are all there. */
static int walk_chunks(const vl2_source *source, bool *whole) {
    int orientation = 1;
    *whole = false;
    for (size_t at = 8; source->size - at >= 8;) {
        const uint8_t *c = source->bytes + at;
        const size_t size = (size_t)c[0] << 24 | c[1] << 16 | c[2] << 8 | c[3];
        if (size > source->size - at - 8) {
            if (memcmp(c + 4, "IDAT", 4) == 0) *whole = false;
            return orientation;
        }
        if (memcmp(c + 4, "eXIf", 4) == 0) orientation = vl2_exif_orientation(c + 8, size);
        if (memcmp(c + 4, "IDAT", 4) == 0) *whole = true;
        if (source->size - at - 8 - size < 4) return orientation;
        at += 12 + size;
    }
    return orientation;
}

static void set_transforms(png_state *s, int colour, int depth) {
    if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(s->png);
    if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(s->png);
    if (colour == PNG_COLOR_TYPE_GRAY && depth == 16) return; /* clipped, not cut: below */
    if (depth == 16) png_set_strip_16(s->png);
    if (!(colour & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(s->png);
    png_set_strip_alpha(s->png);
}

/* 16-bit grey: Pillow's I;16 -> RGB clips at 255. */
static void clip_deep(uint8_t *rgb, const uint8_t *deep, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint8_t grey = deep[i * 2] ? 255 : deep[i * 2 + 1];
        memset(rgb + i * 3, grey, 3);
    }
}

static vl2_status read_rows(png_state *s, size_t width, size_t height, int passes) {
    const size_t rows = passes > 1 ? height : 1;
    const bool deep = png_get_rowbytes(s->png, s->info) == width * 2;
    if (!deep && png_get_rowbytes(s->png, s->info) != width * 3)
        return vl2_fail(s->err, VL2_ERR_FORMAT, "%s: broken PNG: rows of a wrong size",
                        s->source->name);
    if (deep && !(s->deep = vl2_mem_array(rows, width * 2)))
        return vl2_fail_memory(s->err, "a PNG's rows", rows * width * 2);
    for (int pass = 0; pass < passes; pass++) {
        for (size_t y = 0; y < height; y++) {
            uint8_t *rgb = vl2_picture_row(s->picture, y);
            uint8_t *grey = deep ? s->deep + (rows > 1 ? y : 0) * width * 2 : NULL;
            png_read_row(s->png, deep ? grey : rgb, NULL);
            if (deep && pass == passes - 1) clip_deep(rgb, grey, width);
        }
    }
    return VL2_OK;
}

static vl2_status run(png_state *s) {
    if (setjmp(png_jmpbuf(s->png))) return s->err->status;
    png_set_read_fn(s->png, s, read_bytes);
    png_set_user_limits(s->png, VL2_PICTURE_MAX_SIDE, VL2_PICTURE_MAX_SIDE);
#ifdef PNG_HANDLE_AS_UNKNOWN_SUPPORTED
    /* Nothing of these is used: texts and profiles need not be unpacked. */
    static const png_byte unused[] = "iCCP\0zTXt\0iTXt\0tEXt\0sPLT\0hIST\0tIME\0eXIf";
    png_set_keep_unknown_chunks(s->png, PNG_HANDLE_CHUNK_NEVER, unused, sizeof unused / 5);
#endif
    png_read_info(s->png, s->info);
    const png_uint_32 width = png_get_image_width(s->png, s->info);
    const png_uint_32 height = png_get_image_height(s->png, s->info);
    set_transforms(s, png_get_color_type(s->png, s->info), png_get_bit_depth(s->png, s->info));
    VL2_TRY(vl2_decode_take(&s->picture, s->source, width, height, s->err));
    const int passes = png_set_interlace_handling(s->png);
    png_read_update_info(s->png, s->info);
    return read_rows(s, width, height, passes);
}

vl2_status vl2_decode_png(vl2_picture **out, int *orientation, const vl2_source *source,
                          vl2_error *err) {
    vl2_error own = {0};
    bool whole = false;
    *orientation = walk_chunks(source, &whole);
    png_state s = {.source = source, .err = &own};
    s.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &s, fail_here, say_nothing, NULL, take,
                                     give);
    s.info = s.png ? png_create_info_struct(s.png) : NULL;
    if (!s.info) {
        png_destroy_read_struct(&s.png, NULL, NULL);
        return vl2_fail_memory(err, "a PNG decoder", 0);
    }
    vl2_status status = run(&s);
    /* The rows may be complete without the last bytes of the packed data; Pillow wants these. */
    if (status == VL2_OK && !whole) status = vl2_decode_truncated(source, "PNG", &own);
    png_destroy_read_struct(&s.png, &s.info, NULL);
    vl2_mem_free(s.deep);
    if (status == VL2_OK) {
        *out = s.picture;
        return VL2_OK;
    }
    vl2_picture_free(s.picture);
    return vl2_fail(err, status, "%s", own.text);
}
