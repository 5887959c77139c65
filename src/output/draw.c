/* Boxes and their labels on a copy of a picture. A label stands above its box's upper left corner,
 * or where it does not leave the picture and covers the least of the labels before it. */
#include "output/boxes.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <math.h>
#include <pango/pangocairo.h>
#include <string.h>

enum {
    COLOURS = 13,
    MAX_LABELS = 1000,     /* that are placed; further boxes are outlines only */
    MAX_LABEL_CHARS = 200, /* that are shown */
    MAX_SIDE = 32767       /* cairo's */
};

typedef struct rectangle {
    double x, y, width, height;
} rectangle;

typedef struct canvas {
    double width, height;
    double line, font, padding; /* pixels */
    cairo_surface_t *surface;
    cairo_t *cairo;
    PangoFontMap *fonts;
    PangoLayout *layout;
    rectangle *placed; /* [MAX_LABELS at most] */
    size_t n_placed;
} canvas;

/* Apart from each other and from most photos; black or white text can be read on each. */
static const uint8_t PALETTE[COLOURS][3] = {
    {230, 25, 75},  {0, 130, 200},  {60, 180, 75},   {245, 130, 48}, {145, 30, 180},
    {70, 240, 240}, {240, 50, 230}, {255, 225, 25},  {0, 128, 128},  {170, 110, 40},
    {128, 0, 0},    {0, 0, 160},    {170, 255, 120},
};

static void set_colour(cairo_t *cairo, const uint8_t rgb[3]) {
    cairo_set_source_rgb(cairo, rgb[0] / 255.0, rgb[1] / 255.0, rgb[2] / 255.0);
}

/* ---- pixels to cairo and back ----------------------------------------------------------------- */

static uint32_t *surface_row(const canvas *c, size_t y) {
    unsigned char *data = cairo_image_surface_get_data(c->surface);
    return (uint32_t *)(void *)(data + y * (size_t)cairo_image_surface_get_stride(c->surface));
}

static vl2_status load(canvas *c, const vl2_picture *picture, vl2_error *err) {
    const size_t width = vl2_picture_width(picture), height = vl2_picture_height(picture);
    const uint8_t *rgb = vl2_picture_rgb(picture);
    if (width > MAX_SIDE || height > MAX_SIDE)
        return vl2_fail(err, VL2_ERR_LIMIT,
                        "boxes cannot be drawn on %zu x %zu pixels; %d a side at most", width,
                        height, MAX_SIDE);
    c->surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)width, (int)height);
    if (cairo_surface_status(c->surface) != CAIRO_STATUS_SUCCESS)
        return vl2_fail_memory(err, "a drawing", width * height * 4);
    for (size_t y = 0; y < height; y++) {
        uint32_t *row = surface_row(c, y);
        for (size_t x = 0; x < width; x++, rgb += 3)
            row[x] = (uint32_t)rgb[0] << 16 | (uint32_t)rgb[1] << 8 | rgb[2];
    }
    cairo_surface_mark_dirty(c->surface);
    c->width = (double)width;
    c->height = (double)height;
    return VL2_OK;
}

static vl2_status unload(vl2_picture **out, const canvas *c, vl2_error *err) {
    const size_t width = (size_t)c->width, height = (size_t)c->height;
    if (cairo_status(c->cairo) != CAIRO_STATUS_SUCCESS)
        return vl2_fail(err, VL2_ERR_MEMORY, "boxes could not be drawn: %s",
                        cairo_status_to_string(cairo_status(c->cairo)));
    cairo_surface_flush(c->surface);
    uint8_t *rgb = vl2_mem_array(width * height, 3), *to = rgb;
    if (!rgb) return vl2_fail_memory(err, "a drawing", width * height * 3);
    for (size_t y = 0; y < height; y++) {
        const uint32_t *row = surface_row(c, y);
        for (size_t x = 0; x < width; x++)
            for (int shift = 16; shift >= 0; shift -= 8) *to++ = (uint8_t)(row[x] >> shift);
    }
    vl2_status status = vl2_picture_from_rgb(out, rgb, width, height, err);
    vl2_mem_free(rgb);
    return status;
}

/* ---- labels ----------------------------------------------------------------------------------- */

/* Lines and text grow with the picture, so that they look the same when it is shown at one size. */
static vl2_status set_up(canvas *c, vl2_error *err) {
    const double scale = sqrt(c->width * c->height) / 1000.0;
    c->line = rint(3.0 * (scale > 1.0 ? scale : 1.0));
    c->font = scale > 1.0 ? 18.0 * scale : scale > 0.6 ? 18.0 : scale > 0.3 ? 14.0 : 11.0;
    c->padding = rint(c->font / 5.0);
    c->cairo = cairo_create(c->surface);
    c->fonts = pango_cairo_font_map_new(); /* our own: the default one is shared by the process */
    PangoFontFamily **families = NULL;
    int n = 0;
    pango_font_map_list_families(c->fonts, &families, &n);
    g_free(families);
    if (n == 0) return VL2_OK; /* pango would complain on stderr; outlines need no font */
    PangoContext *context = pango_font_map_create_context(c->fonts);
    PangoFontDescription *font = pango_font_description_new();
    c->layout = pango_layout_new(context);
    pango_font_description_set_family_static(font, "Sans");
    pango_font_description_set_absolute_size(font, c->font * PANGO_SCALE);
    pango_layout_set_font_description(c->layout, font);
    pango_layout_set_single_paragraph_mode(c->layout, TRUE);
    pango_layout_set_ellipsize(c->layout, PANGO_ELLIPSIZE_END);
    pango_font_description_free(font);
    g_object_unref(context);
    c->placed = vl2_mem_array(MAX_LABELS, sizeof *c->placed);
    return c->placed ? VL2_OK : vl2_fail_memory(err, "labels", MAX_LABELS * sizeof *c->placed);
}

/* A label's beginning as valid UTF-8 on one line. */
static vl2_status clean(vl2_buf *out, const char *label, vl2_error *err) {
    const size_t size = strlen(label);
    size_t at = 0;
    for (size_t chars = 0; at < size && chars < MAX_LABEL_CHARS; chars++) {
        size_t n;
        char bytes[4];
        uint32_t code = vl2_utf8_next(label + at, size - at, &n);
        if (code == UINT32_MAX) code = 0xfffd;
        if (code < 0x20 || code == 0x7f || code == 0x85 || code == 0x2028 || code == 0x2029)
            code = ' ';
        VL2_TRY(vl2_buf_add(out, bytes, vl2_utf8_put(bytes, code), err));
        at += n;
    }
    return VL2_OK;
}

static double overlap(const rectangle *a, const rectangle *b) {
    const double w = fmin(a->x + a->width, b->x + b->width) - fmax(a->x, b->x);
    const double h = fmin(a->y + a->height, b->y + b->height) - fmax(a->y, b->y);
    return w > 0.0 && h > 0.0 ? w * h : 0.0;
}

static double covered(const canvas *c, const rectangle *r) {
    double area = 0.0;
    for (size_t i = 0; i < c->n_placed; i++) area += overlap(r, &c->placed[i]);
    return area;
}

static double within(double value, double size, double whole) {
    if (value + size > whole) value = whole - size;
    return value < 0.0 ? 0.0 : value;
}

typedef struct search { /* for a free place of a label */
    const canvas *canvas;
    rectangle best;
    double least; /* area of other labels that it covers */
} search;

/* True when nothing better can come. */
static bool try_place(search *s, double x, double y) {
    const canvas *c = s->canvas;
    rectangle r = s->best;
    r.x = within(x, r.width, c->width);
    r.y = within(y, r.height, c->height);
    const double area = covered(c, &r);
    if (area < s->least) {
        s->least = area;
        s->best = r;
    }
    return s->least == 0.0;
}

/* Where a label of this size goes: above the box, inside it, below it, at its left, then its right;
 * and where all these are taken, the nearest free line over or under the box's upper edge. */
static rectangle place(const canvas *c, const rectangle *box, double width, double height) {
    const double rows[] = {box->y - height, box->y, box->y + box->height,
                           box->y + box->height - height};
    const double columns[] = {box->x, box->x + box->width - width};
    search s = {.canvas = c, .best = {0.0, 0.0, width, height}, .least = INFINITY};
    for (size_t i = 0; i < 8; i++) {
        const double y = rows[i % 4];
        if (i % 4 != 1 && (y < 0.0 || y + height > c->height)) continue;
        if (try_place(&s, columns[i / 4], y)) return s.best;
    }
    for (double far = height; far < c->height; far += height) {
        for (size_t i = 0; i < 4; i++) {
            const double y = i % 2 ? box->y - far : box->y + far;
            if (y < 0.0 || y + height > c->height) continue;
            if (try_place(&s, columns[i / 2], y)) return s.best;
        }
    }
    return s.best;
}

static vl2_status draw_label(canvas *c, const vl2_box *box, const rectangle *outline,
                             const uint8_t colour[3], vl2_error *err) {
    if (!c->layout || !box->label[0] || c->n_placed == MAX_LABELS) return VL2_OK;
    vl2_buf text = {0};
    vl2_status status = clean(&text, box->label, err);
    if (status == VL2_OK) {
        const double most = fmax(c->width - 2.0 * c->padding, 1.0);
        int width, height;
        pango_layout_set_width(c->layout, -1);
        pango_layout_set_text(c->layout, text.data, (int)text.size);
        pango_layout_get_pixel_size(c->layout, &width, &height);
        if (width > most) {
            pango_layout_set_width(c->layout, (int)(most * PANGO_SCALE));
            pango_layout_get_pixel_size(c->layout, &width, &height);
        }
        const rectangle r = place(c, outline, width + 2.0 * c->padding, height + c->padding);
        c->placed[c->n_placed++] = r;
        set_colour(c->cairo, colour);
        cairo_rectangle(c->cairo, r.x, r.y, r.width, r.height);
        cairo_fill(c->cairo);
        const double light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2];
        const uint8_t ink = light > 140.0 ? 0 : 255, inks[3] = {ink, ink, ink};
        set_colour(c->cairo, inks);
        cairo_move_to(c->cairo, r.x + c->padding, r.y + c->padding / 2.0);
        pango_cairo_show_layout(c->cairo, c->layout);
    }
    vl2_buf_free(&text);
    return status;
}

/* ---- boxes ------------------------------------------------------------------------------------ */

static double clamp(double value, double most) { return fmax(0.0, fmin(value, most)); }

/* The box with room for its line: it lies inside, but a box thinner than the line still shows. */
static rectangle outline_of(const canvas *c, const vl2_box *box) {
    const double x1 = clamp(fmin(box->box[0], box->box[2]), c->width - 1.0);
    const double y1 = clamp(fmin(box->box[1], box->box[3]), c->height - 1.0);
    const double x2 = clamp(fmax(box->box[0], box->box[2]), c->width);
    const double y2 = clamp(fmax(box->box[1], box->box[3]), c->height);
    return (rectangle){x1, y1, fmax(x2 - x1, 1.0), fmax(y2 - y1, 1.0)};
}

static void draw_outline(const canvas *c, const rectangle *r, const uint8_t colour[3]) {
    const double line = fmin(c->line, fmin(r->width, r->height));
    set_colour(c->cairo, colour);
    if (r->width <= line || r->height <= line) { /* nothing inside the line */
        cairo_rectangle(c->cairo, r->x, r->y, r->width, r->height);
        cairo_fill(c->cairo);
        return;
    }
    cairo_set_line_width(c->cairo, line);
    cairo_rectangle(c->cairo, r->x + line / 2.0, r->y + line / 2.0, r->width - line,
                    r->height - line);
    cairo_stroke(c->cairo);
}

/* Colours go in turn over the labels; a label that still has one keeps it. */
typedef struct turn {
    const char *labels[COLOURS]; /* who has the colour now */
    size_t next;
} turn;

static const uint8_t *colour_of(turn *t, const char *label) {
    for (size_t i = 0; i < COLOURS; i++)
        if (t->labels[i] && strcmp(t->labels[i], label) == 0) return PALETTE[i];
    const size_t i = t->next++ % COLOURS;
    t->labels[i] = label;
    return PALETTE[i];
}

/* Outlines first, so that no line crosses a label. */
static vl2_status draw_all(canvas *c, const vl2_box *boxes, size_t n, size_t image,
                           vl2_error *err) {
    for (int labels = 0; labels < 2; labels++) {
        turn t = {.next = 0};
        for (size_t i = 0; i < n; i++) {
            if (boxes[i].image != image) continue;
            const uint8_t *colour = colour_of(&t, boxes[i].label);
            const rectangle outline = outline_of(c, &boxes[i]);
            if (labels)
                VL2_TRY(draw_label(c, &boxes[i], &outline, colour, err));
            else
                draw_outline(c, &outline, colour);
        }
    }
    return VL2_OK;
}

vl2_status vl2_boxes_draw(vl2_picture **out, const vl2_picture *picture, const vl2_box *boxes,
                          size_t n, size_t image, vl2_error *err) {
    canvas c = {0};
    vl2_status status = load(&c, picture, err);
    if (status == VL2_OK) status = set_up(&c, err);
    if (status == VL2_OK) status = draw_all(&c, boxes, n, image, err);
    if (status == VL2_OK) status = unload(out, &c, err);
    vl2_mem_free(c.placed);
    if (c.layout) g_object_unref(c.layout);
    if (c.fonts) g_object_unref(c.fonts);
    if (c.cairo) cairo_destroy(c.cairo);
    if (c.surface) cairo_surface_destroy(c.surface);
    return status;
}
