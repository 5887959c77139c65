/* Portable bitmaps, greymaps and pixmaps, P1 … P6. Other maxima than 255 are scaled with Python's
 * rounding (half to even); grey over 8 bits goes through Pillow's 16 bits and is clipped at 255. */
#include "base/mem.h"
#include "image/decode.h"

#include <math.h>
#include <string.h>

enum { MAX_TOKEN = 10 };

typedef struct pnm {
    const vl2_source *source;
    size_t at;
    bool plain, bits;
    size_t channels, width, height, maximum;
    uint8_t *scaled; /* [maximum of a sample's bytes + 1] */
} pnm;

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static vl2_status broken(const pnm *p, const char *what, vl2_error *err) {
    return vl2_fail(err, VL2_ERR_FORMAT, "%s: broken PNM: %s", p->source->name, what);
}

static void skip_comment(pnm *p) {
    const vl2_source *s = p->source;
    while (p->at < s->size && s->bytes[p->at] != '\n' && s->bytes[p->at] != '\r') p->at++;
    if (p->at < s->size) p->at++;
}

/* The next number, and the one white space behind it. */
static vl2_status read_number(size_t *out, pnm *p, vl2_error *err) {
    const vl2_source *s = p->source;
    size_t digits = 0, value = 0;
    for (;;) {
        if (p->at == s->size) break;
        const uint8_t c = s->bytes[p->at++];
        if (c == '#') {
            skip_comment(p);
        } else if (is_space(c)) {
            if (digits) break;
        } else if (c < '0' || c > '9') {
            return broken(p, "a number was expected", err);
        } else if (++digits > MAX_TOKEN) {
            return broken(p, "a number has more than 10 digits", err);
        } else {
            value = value * 10 + (c - '0');
        }
    }
    if (!digits) return vl2_decode_truncated(s, "PNM", err);
    *out = value;
    return VL2_OK;
}

static vl2_status read_header(pnm *p, vl2_error *err) {
    const vl2_source *s = p->source;
    if (s->size < 3 || !is_space(s->bytes[2])) return broken(p, "its first line is odd", err);
    const int kind = s->bytes[1] - '0'; /* 1 … 6, by the door */
    p->at = 3;
    p->plain = kind <= 3;
    p->bits = kind == 1 || kind == 4;
    p->channels = kind == 3 || kind == 6 ? 3 : 1;
    VL2_TRY(read_number(&p->width, p, err));
    VL2_TRY(read_number(&p->height, p, err));
    p->maximum = 1;
    if (!p->bits) VL2_TRY(read_number(&p->maximum, p, err));
    if (p->maximum < 1 || p->maximum > 65535)
        return vl2_fail(err, VL2_ERR_FORMAT,
                        "%s: broken PNM: a maximum of %zu, where 1 to 65535 are allowed", s->name,
                        p->maximum);
    return VL2_OK;
}

static vl2_status make_scale(pnm *p, vl2_error *err) {
    const size_t n = p->maximum < 256 ? 256 : 65536;
    const double top = p->channels == 1 && p->maximum > 255 ? 65535.0 : 255.0;
    p->scaled = vl2_mem_alloc(n);
    if (!p->scaled) return vl2_fail_memory(err, "a PNM's scale", n);
    for (size_t v = 0; v < n; v++) {
        const double scaled = rint((double)v / (double)p->maximum * top);
        p->scaled[v] = scaled > 255.0 ? 255 : (uint8_t)scaled;
    }
    return VL2_OK;
}

/* A digit of a plain bitmap; they may stand without space between them. */
static vl2_status read_bit(uint8_t *out, pnm *p, vl2_error *err) {
    const vl2_source *s = p->source;
    while (p->at < s->size) {
        const uint8_t c = s->bytes[p->at++];
        if (c == '#') {
            skip_comment(p);
        } else if (c == '0' || c == '1') {
            *out = c == '0' ? 255 : 0;
            return VL2_OK;
        } else if (!is_space(c)) {
            return broken(p, "a bit that is neither 0 nor 1", err);
        }
    }
    return vl2_decode_truncated(s, "PNM", err);
}

static vl2_status read_plain_sample(uint8_t *out, pnm *p, vl2_error *err) {
    if (p->bits) return read_bit(out, p, err);
    size_t value = 0;
    VL2_TRY(read_number(&value, p, err));
    if (value > p->maximum)
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: broken PNM: %zu is over its maximum of %zu",
                        p->source->name, value, p->maximum);
    *out = p->scaled[value];
    return VL2_OK;
}

static vl2_status read_plain(vl2_picture *picture, pnm *p, vl2_error *err) {
    for (size_t y = 0; y < p->height; y++) {
        uint8_t *rgb = vl2_picture_row(picture, y);
        for (size_t i = 0; i < p->width * p->channels; i++) {
            uint8_t value = 0;
            VL2_TRY(read_plain_sample(&value, p, err));
            if (p->channels == 3)
                rgb[i] = value;
            else
                vl2_decode_grey(rgb + i * 3, &value, 1);
        }
    }
    return VL2_OK;
}

static void put_row(uint8_t *rgb, const pnm *p, const uint8_t *row) {
    for (size_t i = 0; i < p->width * p->channels; i++) {
        uint8_t value;
        if (p->bits)
            value = row[i / 8] >> (7 - i % 8) & 1 ? 0 : 255;
        else if (p->maximum < 256)
            value = p->scaled[row[i]];
        else
            value = p->scaled[(size_t)row[i * 2] << 8 | row[i * 2 + 1]];
        if (p->channels == 3)
            rgb[i] = value;
        else
            vl2_decode_grey(rgb + i * 3, &value, 1);
    }
}

static vl2_status read_raw(vl2_picture *picture, pnm *p, vl2_error *err) {
    const vl2_source *s = p->source;
    const size_t samples = p->width * p->channels;
    const size_t bytes = p->bits ? (samples + 7) / 8 : p->maximum < 256 ? samples : samples * 2;
    for (size_t y = 0; y < p->height; y++) {
        if (s->size - p->at < bytes) return vl2_decode_truncated(s, "PNM", err);
        put_row(vl2_picture_row(picture, y), p, s->bytes + p->at);
        p->at += bytes;
    }
    return VL2_OK;
}

vl2_status vl2_decode_pnm(vl2_picture **out, int *orientation, const vl2_source *source,
                          vl2_error *err) {
    pnm p = {.source = source};
    vl2_picture *picture = NULL;
    VL2_TRY(read_header(&p, err));
    VL2_TRY(vl2_decode_take(&picture, source, p.width, p.height, err));
    vl2_status status = make_scale(&p, err);
    if (status == VL2_OK)
        status = p.plain ? read_plain(picture, &p, err) : read_raw(picture, &p, err);
    vl2_mem_free(p.scaled);
    if (status != VL2_OK) {
        vl2_picture_free(picture);
        return status;
    }
    *orientation = 1;
    *out = picture;
    return VL2_OK;
}
