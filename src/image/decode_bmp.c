/* Windows and OS/2 bitmaps, with Pillow's choices where files differ from the format's description:
 * what it does with short palettes, odd offsets and run lengths that leave a row. */
#include "base/mem.h"
#include "image/decode.h"

#include <string.h>

enum { FILE_HEADER = 14, OS2_HEADER = 12, RAW = 0, RLE8 = 1, RLE4 = 2, BITFIELDS = 3 };

typedef struct bitmap {
    const vl2_source *source;
    size_t header, width, height, bits, compression;
    bool top_down;
    size_t colours, colour_bytes, palette_at, pixels_at;
    size_t byte_of[3];       /* 24 and 32 bits: where red, green, blue are */
    bool wide_green;         /* 16 bits: 5-6-5, not 5-5-5 */
    uint8_t palette[256][3]; /* black beyond the file's colours */
} bitmap;

static size_t number(const vl2_source *s, size_t at, size_t n) {
    size_t value = 0;
    for (size_t i = 0; i < n && at + i < s->size; i++) value |= (size_t)s->bytes[at + i] << (8 * i);
    return value;
}

static vl2_status unsupported(const bitmap *b, const char *what, size_t value, vl2_error *err) {
    return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                    "%s: a BMP with %s %zu is not supported; convert it to PNG", b->source->name,
                    what, value);
}

static vl2_status read_header(bitmap *b, vl2_error *err) {
    const vl2_source *s = b->source;
    if (s->size < FILE_HEADER + 4) return vl2_decode_truncated(s, "BMP", err);
    b->header = number(s, FILE_HEADER, 4);
    static const size_t known[] = {OS2_HEADER, 40, 52, 56, 64, 108, 124};
    bool is_known = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        is_known = is_known || known[i] == b->header;
    if (!is_known) return unsupported(b, "a header of size", b->header, err);
    if (s->size < FILE_HEADER + b->header) return vl2_decode_truncated(s, "BMP", err);
    if (b->header == OS2_HEADER) {
        b->width = number(s, 18, 2);
        b->height = number(s, 20, 2);
        b->bits = number(s, 24, 2);
        b->colour_bytes = 3;
        b->colours = (size_t)1 << (b->bits & 15);
        return VL2_OK;
    }
    b->width = number(s, 18, 4);
    b->height = number(s, 22, 4);
    b->top_down = s->bytes[25] == 0xff; /* a negative height */
    if (b->top_down) b->height = ((size_t)1 << 32) - b->height;
    b->bits = number(s, 28, 2);
    b->compression = number(s, 30, 4);
    b->colours = number(s, 46, 4);
    if (b->colours == 0) b->colours = (size_t)1 << (b->bits & 15);
    b->colour_bytes = 4;
    return VL2_OK;
}

/* Masks that pick whole bytes, or the two 16-bit layouts that there are. */
static vl2_status read_masks(bitmap *b, vl2_error *err) {
    const size_t at = FILE_HEADER + 40;
    if (b->source->size < at + 12) return vl2_decode_truncated(b->source, "BMP", err);
    size_t masks[3];
    for (size_t i = 0; i < 3; i++) masks[i] = number(b->source, at + i * 4, 4);
    if (b->bits == 16) {
        b->wide_green = masks[0] == 0xf800 && masks[1] == 0x7e0 && masks[2] == 0x1f;
        if (!b->wide_green && !(masks[0] == 0x7c00 && masks[1] == 0x3e0 && masks[2] == 0x1f))
            return unsupported(b, "a green mask of", masks[1], err);
        return VL2_OK;
    }
    if (b->bits == 32 && !masks[0] && !masks[1] && !masks[2]) return VL2_OK; /* as without masks */
    for (size_t i = 0; i < 3; i++) {
        size_t k = 0;
        while (k < b->bits / 8 && masks[i] != (size_t)0xff << (8 * k)) k++;
        if (k == b->bits / 8) return unsupported(b, "a colour mask of", masks[i], err);
        b->byte_of[i] = k;
    }
    return VL2_OK;
}

static vl2_status read_palette(bitmap *b, vl2_error *err) {
    const vl2_source *s = b->source;
    if (b->colours > 65536) return unsupported(b, "a palette of", b->colours, err);
    if (b->palette_at + b->colours * b->colour_bytes > s->size)
        return vl2_decode_truncated(s, "BMP", err);
    bool ramp = true;
    for (size_t i = 0; i < b->colours && i < 256; i++) {
        const uint8_t *c = s->bytes + b->palette_at + i * b->colour_bytes;
        const uint8_t rgb[3] = {c[2], c[1], c[0]};
        memcpy(b->palette[i], rgb, 3);
        ramp = ramp && c[0] == i && c[1] == i && c[2] == i;
    }
    /* A ramp is grey to Pillow, which then has no end of the palette. */
    for (size_t i = 0; ramp && i < 256; i++) memset(b->palette[i], (int)i, 3);
    return VL2_OK;
}

static vl2_status read_layout(bitmap *b, vl2_error *err) {
    switch (b->bits) {
    case 1:
    case 4:
    case 8:
    case 16:
    case 24:
    case 32: break;
    default: return unsupported(b, "a pixel depth of", b->bits, err);
    }
    const bool runs = b->compression == RLE8 || b->compression == RLE4;
    if (b->compression > BITFIELDS || (runs && b->bits != (b->compression == RLE8 ? 8 : 4)))
        return unsupported(b, "compression", b->compression, err);
    if (b->compression == BITFIELDS && b->bits <= 8)
        return unsupported(b, "masks at depth", b->bits, err);
    for (size_t i = 0; i < 3; i++) b->byte_of[i] = 2 - i;
    b->palette_at = FILE_HEADER + b->header;
    b->pixels_at = number(b->source, 10, 4);
    size_t after = b->palette_at;
    if (b->compression == BITFIELDS) {
        VL2_TRY(read_masks(b, err));
        if (b->header == 40) after += 12;
    }
    if (b->bits <= 8) {
        VL2_TRY(read_palette(b, err));
        after += b->colours * b->colour_bytes;
        /* Some writers forget the palette when they say where the pixels are. */
        if (b->pixels_at == b->palette_at) b->pixels_at = after;
    }
    if (b->pixels_at == 0) b->pixels_at = after;
    return VL2_OK;
}

static void put_row(uint8_t *rgb, const bitmap *b, const uint8_t *row) {
    for (size_t x = 0; x < b->width; x++, rgb += 3) {
        if (b->bits <= 8) {
            const size_t at = x * b->bits, shift = 8 - b->bits - at % 8;
            memcpy(rgb, b->palette[row[at / 8] >> shift & ((1u << b->bits) - 1)], 3);
        } else if (b->bits == 16) {
            const unsigned v = row[x * 2] | (unsigned)row[x * 2 + 1] << 8;
            rgb[0] = (uint8_t)((b->wide_green ? v >> 11 & 31 : v >> 10 & 31) * 255 / 31);
            rgb[1] = (uint8_t)(b->wide_green ? (v >> 5 & 63) * 255 / 63 : (v >> 5 & 31) * 255 / 31);
            rgb[2] = (uint8_t)((v & 31) * 255 / 31);
        } else {
            const uint8_t *pixel = row + x * (b->bits / 8);
            for (size_t i = 0; i < 3; i++) rgb[i] = pixel[b->byte_of[i]];
        }
    }
}

static vl2_status read_raw(vl2_picture *picture, const bitmap *b, vl2_error *err) {
    const vl2_source *s = b->source;
    const size_t needed = (b->width * b->bits + 7) / 8; /* the last row may lack its padding */
    const size_t stride = (b->width * b->bits + 31) / 32 * 4;
    for (size_t i = 0; i < b->height; i++) {
        const size_t at = b->pixels_at + i * stride;
        if (at > s->size || s->size - at < needed) return vl2_decode_truncated(s, "BMP", err);
        put_row(vl2_picture_row(picture, b->top_down ? i : b->height - 1 - i), b, s->bytes + at);
    }
    return VL2_OK;
}

typedef struct runs {
    const bitmap *b;
    uint8_t *data; /* [height * width] indices, in the file's order of rows */
    size_t n, room, at, x;
} runs;

static void add(runs *r, uint8_t index) {
    if (r->n < r->room) r->data[r->n++] = index;
}

static void add_run(runs *r, size_t count, uint8_t value) {
    const size_t width = r->b->width;
    if (r->x + count > width) count = r->x < width ? width - r->x : 0; /* runs end with their row */
    for (size_t i = 0; i < count; i++)
        add(r, r->b->compression == RLE8 ? value : i % 2 ? value & 15 : value >> 4);
    r->x += count;
}

/* `count` indices as they are; false at the end of the file or of the picture. */
static bool add_plain(runs *r, size_t count) {
    const vl2_source *s = r->b->source;
    const size_t left = r->room - r->n, n = count < left ? count : left;
    const size_t bytes = r->b->compression == RLE8 ? n : (n + 1) / 2;
    if (s->size - r->at < bytes) return false;
    for (size_t i = 0; i < n; i++) {
        const uint8_t pair = s->bytes[r->at + (r->b->compression == RLE8 ? i : i / 2)];
        add(r, r->b->compression == RLE8 ? pair : i % 2 ? pair & 15 : pair >> 4);
    }
    r->at += bytes;
    r->x += count;
    r->at += r->at % 2; /* to an even offset in the file */
    return r->n < r->room;
}

/* Skips right and up; what is skipped has index 0. */
static bool add_delta(runs *r) {
    const vl2_source *s = r->b->source;
    if (r->at + 2 > s->size) return false;
    size_t skip = s->bytes[r->at] + s->bytes[r->at + 1] * r->b->width;
    r->at += 2;
    if (skip > r->room - r->n) skip = r->room - r->n;
    r->n += skip;
    r->x = r->n % r->b->width;
    return true;
}

static void unpack_runs(runs *r) {
    const vl2_source *s = r->b->source;
    while (r->n < r->room && r->at < s->size && s->size - r->at >= 2) {
        const uint8_t count = s->bytes[r->at], value = s->bytes[r->at + 1];
        r->at += 2;
        if (count) {
            add_run(r, count, value);
        } else if (value == 0) { /* end of row */
            while (r->n % r->b->width) add(r, 0);
            r->x = 0;
        } else if (value == 1) { /* end of picture */
            return;
        } else if (value == 2 ? !add_delta(r) : !add_plain(r, value)) {
            return;
        }
    }
}

static vl2_status read_runs(vl2_picture *picture, const bitmap *b, vl2_error *err) {
    runs r = {.b = b, .room = b->width * b->height, .at = b->pixels_at};
    r.data = vl2_mem_calloc(r.room, 1);
    if (!r.data) return vl2_fail_memory(err, "a BMP's indices", r.room);
    unpack_runs(&r);
    vl2_status status = VL2_OK;
    if (r.n < r.room) status = vl2_decode_truncated(b->source, "BMP", err);
    for (size_t y = 0; status == VL2_OK && y < b->height; y++) {
        uint8_t *rgb = vl2_picture_row(picture, b->top_down ? y : b->height - 1 - y);
        const uint8_t *row = r.data + y * b->width;
        for (size_t x = 0; x < b->width; x++) memcpy(rgb + x * 3, b->palette[row[x]], 3);
    }
    vl2_mem_free(r.data);
    return status;
}

vl2_status vl2_decode_bmp(vl2_picture **out, int *orientation, const vl2_source *source,
                          vl2_error *err) {
    bitmap b = {.source = source};
    vl2_picture *picture = NULL;
    VL2_TRY(read_header(&b, err));
    VL2_TRY(read_layout(&b, err));
    VL2_TRY(vl2_decode_take(&picture, source, b.width, b.height, err));
    const bool in_runs = b.compression == RLE8 || b.compression == RLE4;
    vl2_status status = in_runs ? read_runs(picture, &b, err) : read_raw(picture, &b, err);
    if (status != VL2_OK) {
        vl2_picture_free(picture);
        return status;
    }
    *orientation = 1;
    *out = picture;
    return VL2_OK;
}
