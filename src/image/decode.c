#include "image/decode.h"

#include "base/abi.h"
#include "image/exif.h"

#include <string.h>

typedef struct format {
    const char *name;
    vl2_decode_fn decode; /* NULL: known, and refused */
    const char *advice;
} format;

typedef struct magic {
    size_t at;
    const char *bytes;
    size_t size;
    format format;
} magic;

#define CONVERT "convert it to JPEG or PNG"
#define BUILD "this build has no decoder for it; build with its library, or " CONVERT
#ifdef VL2_HAVE_JPEG
#define JPEG                                                                                       \
    { "JPEG", vl2_decode_jpeg, NULL }
#else
#define JPEG                                                                                       \
    { "JPEG", NULL, BUILD }
#endif
#ifdef VL2_HAVE_PNG
#define PNG                                                                                        \
    { "PNG", vl2_decode_png, NULL }
#else
#define PNG                                                                                        \
    { "PNG", NULL, BUILD }
#endif
#ifdef VL2_HAVE_WEBP
#define WEBP                                                                                       \
    { "WebP", vl2_decode_webp, NULL }
#else
#define WEBP                                                                                       \
    { "WebP", NULL, BUILD }
#endif
#ifdef VL2_HAVE_GIF
#define GIF                                                                                        \
    { "GIF", vl2_decode_gif, NULL }
#else
#define GIF                                                                                        \
    { "GIF", NULL, BUILD }
#endif
#ifdef VL2_HAVE_TIFF
#define TIFF                                                                                       \
    { "TIFF", vl2_decode_tiff, NULL }
#else
#define TIFF                                                                                       \
    { "TIFF", NULL, BUILD }
#endif
#define PNM                                                                                        \
    { "PNM", vl2_decode_pnm, NULL }
#define NO(name)                                                                                   \
    { name, NULL, CONVERT }
#define MAGIC(at, text, ...)                                                                       \
    { at, text, sizeof(text) - 1, __VA_ARGS__ }

static const magic MAGICS[] = {
    MAGIC(0, "\xff\xd8\xff", JPEG),
    MAGIC(0, "\x89PNG\r\n\x1a\n", PNG),
    MAGIC(8, "WEBPVP8", WEBP),
    MAGIC(0, "GIF87a", GIF),
    MAGIC(0, "GIF89a", GIF),
    MAGIC(0, "BM", {"BMP", vl2_decode_bmp, NULL}),
    MAGIC(0, "P1", PNM),
    MAGIC(0, "P2", PNM),
    MAGIC(0, "P3", PNM),
    MAGIC(0, "P4", PNM),
    MAGIC(0, "P5", PNM),
    MAGIC(0, "P6", PNM),
    MAGIC(0, "II\x2a\0", TIFF),
    MAGIC(0, "MM\0\x2a", TIFF),
    MAGIC(0, "II\x2b\0", TIFF),
    MAGIC(0, "MM\0\x2b", TIFF),
    MAGIC(4, "ftypavif", NO("AVIF")),
    MAGIC(4, "ftypavis", NO("AVIF")),
    MAGIC(4, "ftyphei", NO("HEIC")),
    MAGIC(4, "ftyphev", NO("HEIC")),
    MAGIC(4, "ftypmif1", NO("HEIC")),
    MAGIC(4, "ftypmsf1", NO("HEIC")),
    MAGIC(4, "ftyp", NO("video (MP4)")),
    MAGIC(0, "\0\0\0\x0cjP  \r\n\x87\n", NO("JPEG 2000")),
    MAGIC(0, "\xff\x4f\xff\x51", NO("JPEG 2000")),
    MAGIC(0, "\0\0\0\x0cJXL \r\n\x87\n", NO("JPEG XL")),
    MAGIC(0, "\xff\x0a", NO("JPEG XL")),
    MAGIC(0, "%PDF-", {"PDF", NULL, "draw its pages as PNG first"}),
    MAGIC(0, "8BPS", NO("Photoshop (PSD)")),
    MAGIC(0, "\0\0\1\0", NO("ICO")),
    MAGIC(0, "\0\0\2\0", NO("CUR")),
    MAGIC(0, "P7", NO("PAM")),
    MAGIC(0, "PF", NO("PFM")),
    MAGIC(0, "Pf", NO("PFM")),
    MAGIC(0, "%!PS", NO("PostScript")),
    MAGIC(0, "qoif", NO("QOI")),
    MAGIC(0, "\x76\x2f\x31\x01", NO("OpenEXR")),
    MAGIC(0, "#?RADIANCE", NO("Radiance HDR")),
    MAGIC(0, "DDS ", NO("DDS")),
    MAGIC(0, "\x0a\x05\x01", NO("PCX")),
    MAGIC(0, "\x1a\x45\xdf\xa3", NO("video (Matroska)")),
    MAGIC(0, "PK\x03\x04", {"ZIP", NULL, "take the picture out of it"}),
    MAGIC(0, "II\xbc", NO("JPEG XR")),
};

/* SVG is text: "<svg", maybe after a declaration, comments and a byte order mark. */
static bool is_svg(const vl2_source *s) {
    const size_t n = s->size < 1024 ? s->size : 1024;
    size_t i = n >= 3 && memcmp(s->bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (i < n && memchr(" \t\r\n", s->bytes[i], 4)) i++;
    if (i >= n || s->bytes[i] != '<') return false;
    for (; i + 4 <= n; i++)
        if (memcmp(s->bytes + i, "<svg", 4) == 0) return true;
    return false;
}

static const format *format_of(const vl2_source *s) {
    static const format svg = {"SVG", NULL, "draw it as PNG first"};
    for (size_t i = 0; i < sizeof MAGICS / sizeof *MAGICS; i++) {
        const magic *m = &MAGICS[i];
        if (s->size >= m->at + m->size && memcmp(s->bytes + m->at, m->bytes, m->size) == 0)
            return &m->format;
    }
    return is_svg(s) ? &svg : NULL;
}

const char *vl2_decode_formats(void) {
    return ""
#ifdef VL2_HAVE_JPEG
           "jpeg "
#endif
#ifdef VL2_HAVE_PNG
           "png "
#endif
#ifdef VL2_HAVE_WEBP
           "webp "
#endif
#ifdef VL2_HAVE_GIF
           "gif "
#endif
#ifdef VL2_HAVE_TIFF
           "tiff "
#endif
           "bmp pnm";
}

vl2_status vl2_decode_truncated(const vl2_source *source, const char *kind, vl2_error *err) {
    return vl2_fail(err, VL2_ERR_FORMAT, "%s: the %s is truncated (%zu bytes)", source->name, kind,
                    source->size);
}

vl2_status vl2_decode_take(vl2_picture **out, const vl2_source *source, uint64_t width,
                           uint64_t height, vl2_error *err) {
    VL2_TRY(vl2_picture_check_size(width, height, source->max_pixels, source->name, err));
    return vl2_picture_create(out, (size_t)width, (size_t)height, err);
}

static vl2_status open_door(const format **out, const vl2_source *s, vl2_error *err) {
    if (s->size == 0) return vl2_fail(err, VL2_ERR_FORMAT, "%s: the file is empty", s->name);
    const format *f = format_of(s);
    if (!f)
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: not a picture of a known format (read are: %s)",
                        s->name, vl2_decode_formats());
    if (!f->decode)
        return vl2_fail(err, VL2_ERR_UNSUPPORTED, "%s: %s is not supported; %s", s->name, f->name,
                        f->advice);
    *out = f;
    return VL2_OK;
}

vl2_status vl2_picture_decode(vl2_picture **out, const void *bytes, size_t n_bytes,
                              const char *name, const vl2_picture_options *options,
                              vl2_error *err) {
    vl2_picture_options given;
    vl2_picture_options_init(&given);
    VL2_TRY(vl2_abi_copy(&given, sizeof given, options, "vl2_picture_options", err));
    const vl2_source source = {.bytes = bytes,
                               .size = n_bytes,
                               .name = name ? name : "picture",
                               .max_pixels = given.max_pixels};
    if (n_bytes > given.max_file_bytes)
        return vl2_fail(err, VL2_ERR_LIMIT, "%s: %zu bytes are over the limit of %zu (%s)",
                        source.name, n_bytes, given.max_file_bytes, "max_file_bytes");
    const format *found = NULL;
    vl2_picture *picture = NULL;
    int orientation = 1;
    VL2_TRY(open_door(&found, &source, err));
    VL2_TRY(found->decode(&picture, &orientation, &source, err));
    if (given.apply_exif) {
        vl2_status status = vl2_exif_turn(&picture, orientation, err);
        if (status != VL2_OK) {
            vl2_picture_free(picture);
            return status;
        }
    }
    *out = picture;
    return VL2_OK;
}
