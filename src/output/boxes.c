#include "output/boxes.h"

#include "base/mem.h"

#include <string.h>

enum { TOP = 999 }; /* the greatest coordinate: the picture's far edge */

typedef struct reader { /* what is left of the text */
    const char *at, *end;
} reader;

/* What a text holds: counted first, then written to one block of memory. */
typedef struct sink {
    vl2_box *boxes; /* NULL while counting */
    char *labels;
    size_t n, label_bytes;
    size_t image, width, height;
} sink;

static bool starts(const reader *r, const char *word) {
    const size_t n = strlen(word);
    return (size_t)(r->end - r->at) >= n && memcmp(r->at, word, n) == 0;
}

static bool skip(reader *r, const char *word) {
    if (!starts(r, word)) return false;
    r->at += strlen(word);
    return true;
}

static void skip_space(reader *r) {
    while (r->at < r->end && (*r->at == ' ' || (*r->at >= '\t' && *r->at <= '\r'))) r->at++;
}

/* Moves to the next of the four tags, or to the end. */
static void find_tag(reader *r) {
    while (r->at < r->end) {
        const char *next = memchr(r->at, '<', (size_t)(r->end - r->at));
        r->at = next ? next : r->end;
        if (starts(r, "<|ref|>") || starts(r, "<|/ref|>") || starts(r, "<|det|>") ||
            starts(r, "<|/det|>"))
            return;
        if (r->at < r->end) r->at++;
    }
}

/* A number, its fraction dropped, kept within 0 … TOP however long it is. */
static bool read_number(int *out, reader *r) {
    const bool negative = skip(r, "-");
    int value = 0;
    const char *first = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++)
        if (value <= TOP) value = value * 10 + (*r->at - '0');
    if (r->at == first) return false;
    if (skip(r, "."))
        while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
    *out = negative ? 0 : value > TOP ? TOP : value;
    return true;
}

/* "x1, y1, x2, y2]", the corners put in order. */
static bool read_box(int box[4], reader *r) {
    for (int i = 0; i < 4; i++) {
        skip_space(r);
        if (!read_number(&box[i], r)) return false;
        skip_space(r);
        if (!skip(r, i < 3 ? "," : "]")) return false;
    }
    for (int i = 0; i < 2; i++) {
        const int low = box[i] < box[i + 2] ? box[i] : box[i + 2];
        box[i + 2] = box[i] + box[i + 2] - low;
        box[i] = low;
    }
    return true;
}

static void add_box(sink *s, const int box[4], const char *label) {
    if (s->boxes) {
        vl2_box *b = &s->boxes[s->n];
        b->label = label;
        b->image = s->image;
        for (int i = 0; i < 4; i++) {
            const size_t side = i % 2 ? s->height : s->width;
            b->box_999[i] = box[i];
            b->box[i] = (int)((double)box[i] / TOP * (double)side);
        }
    }
    s->n++;
}

/* "[[…], […]]" or a single "[…]", up to the end of `r`; false if it is anything else. */
static bool read_boxes(sink *s, reader r, const char *label) {
    int box[4];
    skip_space(&r);
    if (!skip(&r, "[")) return false;
    skip_space(&r);
    const bool many = starts(&r, "[");
    do {
        skip_space(&r);
        if (many && !skip(&r, "[")) return false;
        if (!read_box(box, &r)) return false;
        add_box(s, box, label);
        skip_space(&r);
    } while (many && skip(&r, ","));
    if (many && !skip(&r, "]")) return false;
    skip_space(&r);
    return r.at == r.end;
}

/* After "<|ref|>": one label with its boxes. Where the pair is broken, `r` is left at the tag that
 * did not fit, which may begin the next pair. */
static void read_pair(sink *s, reader *r) {
    const char *label = r->at;
    find_tag(r);
    const size_t label_size = (size_t)(r->at - label);
    if (!skip(r, "<|/ref|>")) return;
    skip_space(r);
    if (!skip(r, "<|det|>")) return;
    reader inside = *r;
    find_tag(r);
    inside.end = r->at;
    if (!skip(r, "<|/det|>")) return;

    sink trial = {.n = 0}; /* counts only: nothing of a broken list may be kept */
    if (!read_boxes(&trial, inside, NULL)) return;
    char *kept = s->boxes ? s->labels + s->label_bytes : NULL;
    read_boxes(s, inside, kept);
    if (kept) {
        memcpy(kept, label, label_size);
        kept[label_size] = '\0';
    }
    s->label_bytes += label_size + 1;
}

static void read_text(sink *s, const char *text, size_t size) {
    reader r = {.at = text, .end = text + size};
    while (find_tag(&r), r.at < r.end) {
        if (skip(&r, "<|ref|>"))
            read_pair(s, &r);
        else
            r.at++;
    }
}

vl2_status vl2_boxes_parse(vl2_box **out, size_t *n, const char *text, size_t size, size_t image,
                           size_t width, size_t height, vl2_error *err) {
    if (width > INT32_MAX || height > INT32_MAX)
        return vl2_fail(err, VL2_ERR_ARGUMENT, "boxes in a picture of %zu x %zu pixels: too large",
                        width, height);
    sink s = {.image = image, .width = width, .height = height};
    if (size) read_text(&s, text, size);
    size_t bytes = 0;
    vl2_box *boxes = NULL;
    if (vl2_mul(&bytes, s.n, sizeof *boxes) && vl2_add(&bytes, bytes, s.label_bytes))
        boxes = vl2_mem_alloc(bytes);
    if (!boxes) return vl2_fail_memory(err, "boxes of a text", bytes);
    sink filled = {.boxes = boxes,
                   .labels = (char *)(boxes + s.n),
                   .image = image,
                   .width = width,
                   .height = height};
    if (s.n) read_text(&filled, text, size);
    *out = boxes;
    *n = s.n;
    return VL2_OK;
}
