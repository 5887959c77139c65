/* TIFF through libtiff: strips or tiles of samples, which are turned to RGB here, by Pillow's rules
 * (its OPEN_INFO table); subsampled YCbCr through libtiff's own RGBA path, as there. */
#include "base/mem.h"
#include "image/decode.h"
#include "image/exif.h"

#include <stdio.h>
#include <string.h>
#include <tiffio.h>

enum { MAX_SAMPLES = 8 };

typedef struct tiff_state {
    const vl2_source *source;
    vl2_error *err;
    size_t at;
    bool past_end; /* something was to be read that the file does not have */
    TIFF *tiff;
    vl2_picture *picture;
    size_t width, height;
    uint16_t photometric, bits, samples, form, planar, compression;
    size_t colours;          /* samples of colour: 1, 3 or 4 */
    bool premultiplied;      /* the sample behind them is an alpha that is in the colours */
    const uint16_t *map[3];  /* [1 << bits] of a palette */
    size_t block_w, block_h; /* of a tile; of a strip: width x rows */
    size_t row_bytes, block_bytes;
    uint8_t *block, *plane; /* samples of a block together; of one plane of it */
} tiff_state;

/* ---- libtiff's view of memory ----------------------------------------------------------------- */

static tmsize_t read_bytes(thandle_t handle, void *into, tmsize_t n) {
    tiff_state *s = handle;
    const size_t left = s->at < s->source->size ? s->source->size - s->at : 0;
    const size_t size = n < 0 ? 0 : (size_t)n < left ? (size_t)n : left;
    memcpy(into, s->source->bytes + (size ? s->at : 0), size);
    s->at += size;
    s->past_end = s->past_end || n < 0 || size < (size_t)n;
    return (tmsize_t)size;
}

static tmsize_t write_nothing(thandle_t handle, void *from, tmsize_t n) {
    (void)handle;
    (void)from;
    (void)n;
    return 0;
}

static toff_t seek(thandle_t handle, toff_t offset, int whence) {
    tiff_state *s = handle;
    const size_t base = whence == SEEK_CUR ? s->at : whence == SEEK_END ? s->source->size : 0;
    s->at = base + (size_t)offset;
    return s->at;
}

static int close_nothing(thandle_t handle) {
    (void)handle;
    return 0;
}

static toff_t size_of(thandle_t handle) { return ((tiff_state *)handle)->source->size; }

static int keep_error(TIFF *tiff, void *user, const char *module, const char *fmt, va_list args) {
    tiff_state *s = user;
    char text[256];
    (void)tiff;
    (void)module;
    vsnprintf(text, sizeof text, fmt, args);
    vl2_fail(s->err, VL2_ERR_FORMAT, "%s: broken or truncated TIFF: %s", s->source->name, text);
    return 1;
}

static int drop_warning(TIFF *tiff, void *user, const char *module, const char *fmt, va_list args) {
    (void)tiff;
    (void)user;
    (void)module;
    (void)fmt;
    (void)args;
    return 1;
}

static vl2_status broken(const tiff_state *s, const char *what) {
    vl2_fail(s->err, VL2_ERR_FORMAT, "%s: broken TIFF: %s", s->source->name, what);
    return s->err->status; /* maybe an earlier one, libtiff's own */
}

static vl2_status unsupported(const tiff_state *s, const char *what, unsigned value) {
    return vl2_fail(s->err, VL2_ERR_UNSUPPORTED,
                    "%s: a TIFF with %s %u is not supported; convert it to PNG", s->source->name,
                    what, value);
}

static vl2_status open_tiff(tiff_state *s) {
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (!options) return vl2_fail_memory(s->err, "a TIFF decoder", 0);
    /* 8 bytes a pixel of the largest picture allowed, and room for a file's tables. */
    const uint64_t most = s->source->max_pixels < UINT32_MAX ? s->source->max_pixels : UINT32_MAX;
    TIFFOpenOptionsSetMaxSingleMemAlloc(options,
                                        (tmsize_t)(most * 8 + s->source->size + (1 << 20)));
    TIFFOpenOptionsSetErrorHandlerExtR(options, keep_error, s);
    TIFFOpenOptionsSetWarningHandlerExtR(options, drop_warning, s);
    s->tiff = TIFFClientOpenExt(s->source->name, "rCm", s, read_bytes, write_nothing, seek,
                                close_nothing, size_of, NULL, NULL, options);
    TIFFOpenOptionsFree(options);
    return s->tiff ? VL2_OK : broken(s, "it cannot be opened");
}

/* ---- what the samples mean -------------------------------------------------------------------- */

static vl2_status read_tags(tiff_state *s) {
    uint32_t width = 0, height = 0;
    uint16_t n_extra = 0, *extra = NULL;
    if (!TIFFGetField(s->tiff, TIFFTAG_IMAGEWIDTH, &width) ||
        !TIFFGetField(s->tiff, TIFFTAG_IMAGELENGTH, &height))
        return broken(s, "its size is missing");
    s->width = width;
    s->height = height;
    if (!TIFFGetField(s->tiff, TIFFTAG_PHOTOMETRIC, &s->photometric)) s->photometric = 0;
    TIFFGetFieldDefaulted(s->tiff, TIFFTAG_BITSPERSAMPLE, &s->bits);
    TIFFGetFieldDefaulted(s->tiff, TIFFTAG_SAMPLESPERPIXEL, &s->samples);
    TIFFGetFieldDefaulted(s->tiff, TIFFTAG_SAMPLEFORMAT, &s->form);
    TIFFGetFieldDefaulted(s->tiff, TIFFTAG_PLANARCONFIG, &s->planar);
    TIFFGetFieldDefaulted(s->tiff, TIFFTAG_COMPRESSION, &s->compression);
    TIFFGetFieldDefaulted(s->tiff, TIFFTAG_EXTRASAMPLES, &n_extra, &extra);
    s->premultiplied = n_extra > 0 && extra && extra[0] == EXTRASAMPLE_ASSOCALPHA;
    return VL2_OK;
}

static vl2_status check_kind(tiff_state *s) {
    switch (s->photometric) {
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_MINISBLACK:
    case PHOTOMETRIC_PALETTE: s->colours = 1; break;
    case PHOTOMETRIC_RGB: s->colours = 3; break;
    case PHOTOMETRIC_YCBCR: s->colours = s->samples == 1 ? 1 : 3; break;
    case PHOTOMETRIC_SEPARATED: s->colours = 4; break;
    default: return unsupported(s, "photometric interpretation", s->photometric);
    }
    if (s->compression == COMPRESSION_OJPEG)
        return unsupported(s, "old-style JPEG, compression", 6);
    if (!TIFFIsCODECConfigured(s->compression))
        return unsupported(s, "compression", s->compression);
    if (s->samples < s->colours || s->samples > MAX_SAMPLES)
        return unsupported(s, "a number of samples of", s->samples);
    return VL2_OK;
}

static vl2_status check_depth(const tiff_state *s) {
    const bool one = s->colours == 1 && s->samples == 1;
    const bool palette = s->photometric == PHOTOMETRIC_PALETTE;
    bool known = false;
    switch (s->form) {
    case SAMPLEFORMAT_UINT:
    case SAMPLEFORMAT_VOID:
        known = s->bits == 8 || (s->bits == 16 && !palette) ||
                (one && (s->bits == 1 || s->bits == 2 || s->bits == 4)) ||
                (one && !palette && (s->bits == 12 || s->bits == 32));
        break;
    case SAMPLEFORMAT_INT:
        known = one && !palette && (s->bits == 8 || s->bits == 16 || s->bits == 32);
        break;
    case SAMPLEFORMAT_IEEEFP: known = one && !palette && s->bits == 32; break;
    default: break;
    }
    if (!known) return unsupported(s, "this kind of samples of bits", s->bits);
    return VL2_OK;
}

static uint16_t half(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* One grey sample of a row as Pillow shows it in 8 bits: small depths are spread, large ones clip. */
static uint8_t grey_at(const tiff_state *s, const uint8_t *row, size_t x) {
    const size_t step = s->samples;
    const bool inverted = s->photometric == PHOTOMETRIC_MINISWHITE;
    if (s->bits <= 8) {
        const size_t at = x * step * s->bits, top = ((size_t)1 << s->bits) - 1;
        const size_t value = row[at / 8] >> (8 - s->bits - at % 8) & top;
        return (uint8_t)(value * (255 / top) ^ (inverted ? 255 : 0));
    }
    if (s->bits == 12) {
        const uint8_t *p = row + x / 2 * 3;
        const unsigned v = x % 2 ? (p[1] & 15u) << 8 | p[2] : (unsigned)p[0] << 4 | p[1] >> 4;
        return v > 255 ? 255 : (uint8_t)v;
    }
    if (s->bits == 16) {
        const uint16_t v = half(row + x * step * 2);
        if (s->samples > 1) return (uint8_t)(v >> 8);
        if (s->form == SAMPLEFORMAT_INT && v > INT16_MAX) return 0;
        return v > 255 ? 255 : (uint8_t)v;
    }
    if (s->form == SAMPLEFORMAT_IEEEFP) {
        float v;
        memcpy(&v, row + x * 4, sizeof v);
        return v >= 255.0f ? 255 : v > 0.0f ? (uint8_t)v : 0;
    }
    int32_t v; /* unsigned ones too: Pillow keeps them as signed */
    memcpy(&v, row + x * 4, sizeof v);
    return v >= 255 ? 255 : v > 0 ? (uint8_t)v : 0;
}

/* The byte that stands for sample i of pixel x: of 16 bits the high one. */
static uint8_t byte_at(const tiff_state *s, const uint8_t *row, size_t x, size_t i) {
    const size_t at = x * s->samples + i;
    return s->bits == 16 ? (uint8_t)(half(row + at * 2) >> 8) : row[at];
}

static void put_pixel(uint8_t *rgb, const tiff_state *s, const uint8_t *row, size_t x) {
    if (s->photometric == PHOTOMETRIC_PALETTE) {
        const size_t at = x * s->samples * s->bits, top = ((size_t)1 << s->bits) - 1;
        const size_t index = row[at / 8] >> (8 - s->bits - at % 8) & top;
        for (size_t i = 0; i < 3; i++) rgb[i] = (uint8_t)(s->map[i][index] >> 8);
        return;
    }
    if (s->colours == 4) {
        vl2_decode_cmyk(rgb, byte_at(s, row, x, 0), byte_at(s, row, x, 1), byte_at(s, row, x, 2),
                        byte_at(s, row, x, 3));
        return;
    }
    for (size_t i = 0; i < 3; i++)
        rgb[i] = s->colours == 3 ? byte_at(s, row, x, i) : grey_at(s, row, x);
    if (!s->premultiplied || s->samples <= s->colours) return;
    const unsigned alpha = byte_at(s, row, x, s->colours);
    for (size_t i = 0; i < 3; i++) {
        const unsigned value = alpha ? rgb[i] * 255u / alpha : 0;
        rgb[i] = value > 255 ? 255 : (uint8_t)value;
    }
}

/* ---- blocks: strips or tiles ------------------------------------------------------------------ */

static vl2_status plan_blocks(tiff_state *s) {
    uint32_t w = (uint32_t)s->width, h = 0;
    const bool tiled = TIFFIsTiled(s->tiff);
    if (tiled) {
        if (!TIFFGetField(s->tiff, TIFFTAG_TILEWIDTH, &w) ||
            !TIFFGetField(s->tiff, TIFFTAG_TILELENGTH, &h) || w == 0 || h == 0)
            return broken(s, "its tiles have no size");
        VL2_TRY(vl2_picture_check_size(w, h, s->source->max_pixels, s->source->name, s->err));
    } else {
        TIFFGetFieldDefaulted(s->tiff, TIFFTAG_ROWSPERSTRIP, &h);
        if (h == 0 || h > s->height) h = (uint32_t)s->height;
    }
    s->block_w = w;
    s->block_h = h;
    const size_t planes = s->planar == PLANARCONFIG_SEPARATE ? s->samples : 1;
    const size_t plane_row = (w * (s->samples / planes) * (size_t)s->bits + 7) / 8;
    s->row_bytes = plane_row * planes;
    s->block_bytes = s->row_bytes * h;
    /* libtiff must mean the same bytes, or it would write more than we have taken. */
    const tmsize_t row = tiled ? TIFFTileRowSize(s->tiff) : TIFFScanlineSize(s->tiff);
    if (row < 0 || (size_t)row != plane_row) return broken(s, "rows of a wrong size");
    if (planes > 1 && s->bits % 8 != 0) return unsupported(s, "separate planes of bits", s->bits);
    s->block = vl2_mem_calloc(s->block_bytes, 1);
    if (!s->block) return vl2_fail_memory(s->err, "a TIFF's block", s->block_bytes);
    if (planes > 1 && !(s->plane = vl2_mem_calloc(plane_row, h)))
        return vl2_fail_memory(s->err, "a TIFF's plane", plane_row * h);
    return VL2_OK;
}

/* Reads the block with pixel (x, y), of one plane or of all samples; `rows` of it are wanted. */
static vl2_status read_block(tiff_state *s, uint8_t *into, size_t size, size_t x, size_t y,
                             size_t rows, uint16_t plane) {
    tmsize_t got;
    if (TIFFIsTiled(s->tiff)) {
        got = TIFFReadEncodedTile(s->tiff,
                                  TIFFComputeTile(s->tiff, (uint32_t)x, (uint32_t)y, 0, plane),
                                  into, (tmsize_t)size);
        rows = s->block_h;
    } else {
        got = TIFFReadEncodedStrip(s->tiff, TIFFComputeStrip(s->tiff, (uint32_t)y, plane), into,
                                   (tmsize_t)size);
    }
    if (got < 0 || (size_t)got < size / s->block_h * rows)
        return broken(s, "its pixels cannot be read (truncated?)");
    return VL2_OK;
}

static vl2_status read_samples(tiff_state *s, size_t x, size_t y, size_t rows) {
    if (s->planar != PLANARCONFIG_SEPARATE)
        return read_block(s, s->block, s->block_bytes, x, y, rows, 0);
    const size_t bytes = s->bits / 8, pixels = s->block_w * s->block_h;
    for (uint16_t plane = 0; plane < s->samples; plane++) {
        if (plane >= s->colours && !s->premultiplied) break; /* nothing of these is used */
        VL2_TRY(read_block(s, s->plane, pixels * bytes, x, y, rows, plane));
        for (size_t i = 0; i < pixels; i++)
            memcpy(s->block + (i * s->samples + plane) * bytes, s->plane + i * bytes, bytes);
    }
    return VL2_OK;
}

static vl2_status read_blocks(tiff_state *s) {
    VL2_TRY(plan_blocks(s));
    for (size_t y = 0; y < s->height; y += s->block_h) {
        const size_t rows = s->height - y < s->block_h ? s->height - y : s->block_h;
        for (size_t x = 0; x < s->width; x += s->block_w) {
            const size_t columns = s->width - x < s->block_w ? s->width - x : s->block_w;
            VL2_TRY(read_samples(s, x, y, rows));
            for (size_t i = 0; i < rows; i++) {
                uint8_t *rgb = vl2_picture_row(s->picture, y + i) + x * 3;
                for (size_t j = 0; j < columns; j++)
                    put_pixel(rgb + j * 3, s, s->block + i * s->row_bytes, j);
            }
        }
    }
    return VL2_OK;
}

/* Subsampled colour: libtiff's own conversion, a strip or row of tiles at a time. */
static vl2_status read_rgba(tiff_state *s) {
    TIFFRGBAImage image;
    char text[1024] = "";
    uint32_t rows = 0;
    if (!TIFFGetField(s->tiff, TIFFIsTiled(s->tiff) ? TIFFTAG_TILELENGTH : TIFFTAG_ROWSPERSTRIP,
                      &rows) ||
        rows == 0 || rows > s->height)
        rows = (uint32_t)s->height;
    if (!TIFFRGBAImageOK(s->tiff, text) || !TIFFRGBAImageBegin(&image, s->tiff, 1, text))
        return broken(s, text);
    image.orientation = image.req_orientation = ORIENTATION_TOPLEFT;
    vl2_status status = VL2_OK;
    uint32_t *raster = vl2_mem_array(s->width * 4, rows);
    if (!raster) status = vl2_fail_memory(s->err, "a TIFF's strip", s->width * rows * 4);
    for (size_t y = 0; status == VL2_OK && y < s->height; y += rows) {
        const size_t n = s->height - y < rows ? s->height - y : rows;
        image.row_offset = (int)y;
        if (!TIFFRGBAImageGet(&image, raster, (uint32_t)s->width, (uint32_t)n)) {
            status = broken(s, "its pixels cannot be read (truncated?)");
            break;
        }
        uint8_t *rgb = vl2_picture_row(s->picture, y);
        for (size_t i = 0; i < s->width * n; i++) {
            rgb[i * 3] = (uint8_t)TIFFGetR(raster[i]);
            rgb[i * 3 + 1] = (uint8_t)TIFFGetG(raster[i]);
            rgb[i * 3 + 2] = (uint8_t)TIFFGetB(raster[i]);
        }
    }
    vl2_mem_free(raster);
    TIFFRGBAImageEnd(&image);
    return status;
}

static vl2_status run(tiff_state *s) {
    VL2_TRY(open_tiff(s));
    VL2_TRY(read_tags(s));
    VL2_TRY(check_kind(s));
    VL2_TRY(vl2_picture_check_size(s->width, s->height, s->source->max_pixels, s->source->name,
                                   s->err));
    const bool ycbcr = s->photometric == PHOTOMETRIC_YCBCR && s->samples > 1;
    const bool by_jpeg =
        ycbcr && s->compression == COMPRESSION_JPEG && s->planar == PLANARCONFIG_CONTIG;
    if (by_jpeg) TIFFSetField(s->tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    VL2_TRY(check_depth(s));
    uint16_t *map[3] = {NULL, NULL, NULL};
    if (s->photometric == PHOTOMETRIC_PALETTE &&
        !TIFFGetField(s->tiff, TIFFTAG_COLORMAP, &map[0], &map[1], &map[2]))
        return broken(s, "its palette is missing");
    for (size_t i = 0; i < 3; i++) s->map[i] = map[i];
    VL2_TRY(vl2_picture_create(&s->picture, s->width, s->height, s->err));
    VL2_TRY(ycbcr && !by_jpeg ? read_rgba(s) : read_blocks(s));
    /* libtiff only warns of tags that it could not read, such as the palette. */
    if (s->past_end) return vl2_decode_truncated(s->source, "TIFF", s->err);
    uint16_t orientation = 1;
    TIFFGetFieldDefaulted(s->tiff, TIFFTAG_ORIENTATION, &orientation);
    return vl2_exif_turn(&s->picture, orientation, s->err);
}

vl2_status vl2_decode_tiff(vl2_picture **out, int *orientation, const vl2_source *source,
                           vl2_error *err) {
    vl2_error own = {0};
    tiff_state s = {.source = source, .err = &own};
    const vl2_status status = run(&s);
    if (s.tiff) TIFFClose(s.tiff);
    vl2_mem_free(s.block);
    vl2_mem_free(s.plane);
    if (status != VL2_OK) {
        vl2_picture_free(s.picture);
        return vl2_fail(err, status, "%s", own.text);
    }
    *orientation = 1;
    *out = s.picture;
    return VL2_OK;
}
