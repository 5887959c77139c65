#include "base/mem.h"
#include "image/decode.h"
#include "image/exif.h"

#include <stdio.h> /* jpeglib.h needs it */

#include <jerror.h>
#include <jpeglib.h>
#include <setjmp.h>
#include <string.h>

/* More scans than any encoder writes: a small progressive file could hold millions. */
enum { MAX_SCANS = 500 };

typedef struct jpeg_state {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr input;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    const vl2_source *source;
    vl2_picture *picture;
    uint8_t *row; /* of CMYK */
    int orientation;
    vl2_error *err;
} jpeg_state;

static void fail_here(j_common_ptr common) {
    jpeg_state *s = common->client_data;
    char text[JMSG_LENGTH_MAX];
    common->err->format_message(common, text);
    vl2_fail(s->err, common->err->msg_code == JERR_OUT_OF_MEMORY ? VL2_ERR_MEMORY : VL2_ERR_FORMAT,
             "%s: broken JPEG: %s", s->source->name, text);
    longjmp(s->failed, 1);
}

static void say_nothing(j_common_ptr common) { (void)common; }

static void watch_scans(j_common_ptr common) {
    jpeg_state *s = common->client_data;
    if (s->jpeg.input_scan_number <= MAX_SCANS) return;
    vl2_fail(s->err, VL2_ERR_LIMIT, "%s: the JPEG has more than %d scans", s->source->name,
             MAX_SCANS);
    longjmp(s->failed, 1);
}

/* The whole file lies in memory: when it is used up, the decoder is to wait, and we see that it is
 * truncated (libjpeg's own memory source would make up an end). */
static void ignore_source(j_decompress_ptr jpeg) { (void)jpeg; }
static boolean no_more_input(j_decompress_ptr jpeg) {
    (void)jpeg;
    return FALSE;
}
static void skip_input(j_decompress_ptr jpeg, long n) {
    struct jpeg_source_mgr *input = jpeg->src;
    if (n <= 0) return;
    const size_t step = (size_t)n < input->bytes_in_buffer ? (size_t)n : input->bytes_in_buffer;
    input->next_input_byte += step;
    input->bytes_in_buffer -= step;
}

static void set_up(jpeg_state *s) {
    s->jpeg.err = jpeg_std_error(&s->errors);
    s->errors.error_exit = fail_here;
    s->errors.output_message = say_nothing;
    s->jpeg.client_data = s;
    jpeg_create_decompress(&s->jpeg);
    s->progress.progress_monitor = watch_scans;
    s->jpeg.progress = &s->progress;
    s->input = (struct jpeg_source_mgr){.next_input_byte = s->source->bytes,
                                        .bytes_in_buffer = s->source->size,
                                        .init_source = ignore_source,
                                        .fill_input_buffer = no_more_input,
                                        .skip_input_data = skip_input,
                                        .resync_to_restart = jpeg_resync_to_restart,
                                        .term_source = ignore_source};
    s->jpeg.src = &s->input;
    jpeg_save_markers(&s->jpeg, JPEG_APP0 + 1, 0xffff);
}

static void read_orientation(jpeg_state *s) {
    for (jpeg_saved_marker_ptr m = s->jpeg.marker_list; m; m = m->next) {
        if (m->data_length >= 6 && memcmp(m->data, "Exif\0\0", 6) == 0) {
            s->orientation = vl2_exif_orientation(m->data, m->data_length);
            return;
        }
    }
}

/* After the header: what comes out, and room for it. */
static vl2_status prepare(jpeg_state *s) {
    const int channels = s->jpeg.num_components;
    if (channels != 1 && channels != 3 && channels != 4)
        return vl2_fail(s->err, VL2_ERR_UNSUPPORTED, "%s: a JPEG of %d components is not supported",
                        s->source->name, channels);
    read_orientation(s);
    s->jpeg.out_color_space = channels == 4 ? JCS_CMYK : JCS_RGB;
    VL2_TRY(
        vl2_decode_take(&s->picture, s->source, s->jpeg.image_width, s->jpeg.image_height, s->err));
    if (channels == 4 && !(s->row = vl2_mem_array(s->jpeg.image_width, 4)))
        return vl2_fail_memory(s->err, "a JPEG's row", (size_t)s->jpeg.image_width * 4);
    return VL2_OK;
}

static bool read_row(jpeg_state *s) {
    uint8_t *rgb = vl2_picture_row(s->picture, s->jpeg.output_scanline);
    JSAMPROW into = s->row ? s->row : rgb;
    if (jpeg_read_scanlines(&s->jpeg, &into, 1) != 1) return false;
    /* Pillow takes every CMYK JPEG as Adobe's, whose ink is stored inverted. */
    for (size_t x = 0; s->row && x < s->jpeg.output_width; x++) {
        const uint8_t *p = s->row + x * 4;
        vl2_decode_cmyk(rgb + x * 3, 255 - p[0], 255 - p[1], 255 - p[2], 255 - p[3]);
    }
    return true;
}

static vl2_status run(jpeg_state *s) {
    if (setjmp(s->failed)) return s->err->status;
    set_up(s);
    int header;
    do header = jpeg_read_header(&s->jpeg, FALSE);
    while (header == JPEG_HEADER_TABLES_ONLY);
    if (header == JPEG_SUSPENDED) return vl2_decode_truncated(s->source, "JPEG", s->err);
    VL2_TRY(prepare(s));
    if (!jpeg_start_decompress(&s->jpeg)) return vl2_decode_truncated(s->source, "JPEG", s->err);
    while (s->jpeg.output_scanline < s->jpeg.output_height)
        if (!read_row(s)) return vl2_decode_truncated(s->source, "JPEG", s->err);
    return VL2_OK; /* a missing end marker behind the last row is forgiven, as Pillow does */
}

vl2_status vl2_decode_jpeg(vl2_picture **out, int *orientation, const vl2_source *source,
                           vl2_error *err) {
    vl2_error own = {0}; /* the handlers need one even if the caller has none */
    jpeg_state *s = vl2_mem_calloc(1, sizeof *s);
    if (!s) return vl2_fail_memory(err, "a JPEG decoder", sizeof *s);
    s->source = source;
    s->orientation = 1;
    s->err = &own;
    vl2_status status = run(s);
    jpeg_destroy_decompress(&s->jpeg);
    vl2_mem_free(s->row);
    if (status == VL2_OK) {
        *out = s->picture;
        *orientation = s->orientation;
    } else {
        vl2_picture_free(s->picture);
        vl2_fail(err, status, "%s", own.text);
    }
    vl2_mem_free(s);
    return status;
}
