/* Pictures to PNG and JPEG. */
#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "image/picture.h"

#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs it */
#include <string.h>
#include <strings.h>

#ifdef VL2_HAVE_PNG
#include <png.h>

typedef struct png_state {
    vl2_buf *out;
    vl2_error *err;
} png_state;

static void png_failed(png_structp png, png_const_charp text) {
    png_state *s = png_get_error_ptr(png);
    vl2_fail(s->err, VL2_ERR_MEMORY, "a PNG could not be written: %s", text);
    longjmp(png_jmpbuf(png), 1);
}
static void png_warned(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}
static void png_wrote(png_structp png, png_bytep data, size_t size) {
    png_state *s = png_get_io_ptr(png);
    if (vl2_buf_add(s->out, data, size, s->err) != VL2_OK) png_error(png, "no room");
}
static void png_flushed(png_structp png) { (void)png; }

static vl2_status write_rows(png_structp png, png_infop info, png_state *s,
                             const vl2_picture *picture) {
    const size_t width = vl2_picture_width(picture), height = vl2_picture_height(picture);
    if (setjmp(png_jmpbuf(png))) return s->err->status;
    png_set_write_fn(png, s, png_wrote, png_flushed);
    png_set_user_limits(png, VL2_PICTURE_MAX_SIDE, VL2_PICTURE_MAX_SIDE);
    png_set_compression_level(png, 4); /* half the time of the default, a few percent larger */
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (size_t y = 0; y < height; y++)
        png_write_row(png, vl2_picture_rgb(picture) + y * width * 3);
    png_write_end(png, NULL);
    return VL2_OK;
}

static vl2_status encode_png(vl2_buf *out, const vl2_picture *picture, vl2_error *err) {
    vl2_error own = {0};
    png_state s = {.out = out, .err = &own};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &s, png_failed, png_warned);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    vl2_status status =
        info ? write_rows(png, info, &s, picture) : vl2_fail_memory(&own, "a PNG encoder", 0);
    png_destroy_write_struct(&png, &info);
    return status == VL2_OK ? VL2_OK : vl2_fail(err, status, "%s", own.text);
}
#else
static vl2_status encode_png(vl2_buf *out, const vl2_picture *picture, vl2_error *err) {
    (void)out;
    (void)picture;
    return vl2_fail(err, VL2_ERR_UNSUPPORTED, "this build cannot write PNG (it has no libpng)");
}
#endif

#ifdef VL2_HAVE_JPEG
#include <jpeglib.h>

enum { QUALITY = 92, CHUNK = 1 << 16 };

typedef struct jpeg_state {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_destination_mgr output;
    jmp_buf failed;
    vl2_buf *out;
    vl2_error err;
    uint8_t chunk[CHUNK];
} jpeg_state;

static void jpeg_failed(j_common_ptr common) {
    jpeg_state *s = common->client_data;
    char text[JMSG_LENGTH_MAX];
    common->err->format_message(common, text);
    vl2_fail(&s->err, VL2_ERR_LIMIT, "a JPEG could not be written: %s", text);
    longjmp(s->failed, 1);
}
static void jpeg_warned(j_common_ptr common) { (void)common; }
static void jpeg_began(j_compress_ptr jpeg) {
    jpeg_state *s = jpeg->client_data;
    s->output.next_output_byte = s->chunk;
    s->output.free_in_buffer = CHUNK;
}
static void jpeg_add(jpeg_state *s, size_t size) {
    if (vl2_buf_add(s->out, s->chunk, size, &s->err) != VL2_OK) longjmp(s->failed, 1);
}
static boolean jpeg_filled(j_compress_ptr jpeg) {
    jpeg_add(jpeg->client_data, CHUNK);
    jpeg_began(jpeg);
    return TRUE;
}
static void jpeg_ended(j_compress_ptr jpeg) {
    jpeg_state *s = jpeg->client_data;
    jpeg_add(s, CHUNK - s->output.free_in_buffer);
}

static vl2_status compress(jpeg_state *s, const vl2_picture *picture) {
    const size_t width = vl2_picture_width(picture), height = vl2_picture_height(picture);
    if (setjmp(s->failed)) return s->err.status;
    s->jpeg.err = jpeg_std_error(&s->errors);
    s->errors.error_exit = jpeg_failed;
    s->errors.output_message = jpeg_warned;
    s->jpeg.client_data = s;
    jpeg_create_compress(&s->jpeg);
    s->output = (struct jpeg_destination_mgr){.init_destination = jpeg_began,
                                              .empty_output_buffer = jpeg_filled,
                                              .term_destination = jpeg_ended};
    s->jpeg.dest = &s->output;
    s->jpeg.image_width = (JDIMENSION)width;
    s->jpeg.image_height = (JDIMENSION)height;
    s->jpeg.input_components = 3;
    s->jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&s->jpeg);
    jpeg_set_quality(&s->jpeg, QUALITY, TRUE);
    jpeg_start_compress(&s->jpeg, TRUE);
    uint8_t *rgb = (uint8_t *)(uintptr_t)vl2_picture_rgb(picture); /* libjpeg only reads */
    while (s->jpeg.next_scanline < height) {
        JSAMPROW row = rgb + s->jpeg.next_scanline * width * 3;
        jpeg_write_scanlines(&s->jpeg, &row, 1);
    }
    jpeg_finish_compress(&s->jpeg);
    return VL2_OK;
}

static vl2_status encode_jpeg(vl2_buf *out, const vl2_picture *picture, vl2_error *err) {
    jpeg_state *s = vl2_mem_calloc(1, sizeof *s);
    if (!s) return vl2_fail_memory(err, "a JPEG encoder", sizeof *s);
    s->out = out;
    vl2_status status = compress(s, picture);
    if (status != VL2_OK) vl2_fail(err, status, "%s", s->err.text);
    jpeg_destroy_compress(&s->jpeg);
    vl2_mem_free(s);
    return status;
}
#else
static vl2_status encode_jpeg(vl2_buf *out, const vl2_picture *picture, vl2_error *err) {
    (void)out;
    (void)picture;
    return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                    "this build cannot write JPEG (it has no libjpeg-turbo)");
}
#endif

/* 4 bytes a pixel hold any of both formats' worst cases. */
static vl2_status encode(vl2_buf *out, const vl2_picture *picture, bool png, vl2_error *err) {
    const size_t pixels = vl2_picture_width(picture) * vl2_picture_height(picture);
    if (!vl2_mul(&out->cap, pixels, 4) || !vl2_add(&out->cap, out->cap, (size_t)1 << 20))
        return vl2_fail(err, VL2_ERR_LIMIT, "the picture is too large to be written");
    return png ? encode_png(out, picture, err) : encode_jpeg(out, picture, err);
}

vl2_status vl2_picture_encode(void **out, size_t *n_bytes, const vl2_picture *picture,
                              const char *format, vl2_error *err) {
    const bool png = strcmp(format, "png") == 0;
    if (!png && strcmp(format, "jpeg") != 0)
        return vl2_fail(err, VL2_ERR_ARGUMENT, "format \"%s\" of a picture: expected png or jpeg",
                        format);
    vl2_buf buf = {0};
    char *bytes = NULL;
    vl2_status status = encode(&buf, picture, png, err);
    if (status == VL2_OK) status = vl2_buf_detach(&buf, &bytes, n_bytes, err);
    vl2_buf_free(&buf);
    if (status == VL2_OK) *out = bytes;
    return status;
}

static bool ends_in(const char *path, const char *ending) {
    const size_t n = strlen(path), m = strlen(ending);
    return n > m && strcasecmp(path + n - m, ending) == 0;
}

vl2_status vl2_picture_write(const vl2_picture *picture, const char *path, vl2_error *err) {
    const bool png = ends_in(path, ".png");
    if (!png && !ends_in(path, ".jpg") && !ends_in(path, ".jpeg"))
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "%s: a picture's name must end in .png, .jpg or .jpeg", path);
    vl2_buf buf = {0};
    vl2_writer writer;
    vl2_status status = encode(&buf, picture, png, err);
    if (status == VL2_OK) status = vl2_writer_open(&writer, path, err);
    if (status == VL2_OK) {
        status = vl2_writer_add(&writer, buf.data, buf.size, err);
        if (status == VL2_OK)
            status = vl2_writer_commit(&writer, err);
        else
            vl2_writer_abort(&writer);
    }
    vl2_buf_free(&buf);
    return status;
}
