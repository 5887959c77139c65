/* Boxes on a picture: where the lines are, what stays as it was, labels of any script and at any edge.
 * With VL2_KEEP_DRAWINGS=FOLDER the pictures are written there, to be looked at. */
#include "output/boxes.h"

#include "base/mem.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GREY = 90 };

/* What fontconfig keeps for the life of a process is not ours. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libfontconfig"; }

static vl2_picture *plain(size_t width, size_t height) {
    uint8_t *rgb = malloc(width * height * 3);
    assert_non_null(rgb);
    memset(rgb, GREY, width * height * 3);
    vl2_picture *picture = NULL;
    assert_int_equal(vl2_picture_from_rgb(&picture, rgb, width, height, NULL), VL2_OK);
    free(rgb);
    return picture;
}

static vl2_picture *draw(size_t width, size_t height, const vl2_box *boxes, size_t n,
                         const char *name) {
    vl2_picture *before = plain(width, height), *after = NULL;
    vl2_error err = {0};
    const vl2_status status = vl2_boxes_draw(&after, before, boxes, n, 1, &err);
    if (status == VL2_ERR_UNSUPPORTED) {
        print_message("%s\n", err.text);
        vl2_picture_free(before);
        skip();
    }
    if (status != VL2_OK) fail_msg("%s", err.text);
    assert_int_equal(vl2_picture_rgb(before)[0], GREY); /* a copy was drawn on */
    vl2_picture_free(before);
    const char *folder = getenv("VL2_KEEP_DRAWINGS");
    if (folder) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s.png", folder, name);
        assert_int_equal(vl2_picture_write(after, path, NULL), VL2_OK);
    }
    return after;
}

static uint32_t at(const vl2_picture *picture, size_t x, size_t y) {
    const uint8_t *p = vl2_picture_rgb(picture) + (y * vl2_picture_width(picture) + x) * 3;
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

static size_t count(const vl2_picture *picture, uint32_t colour) {
    size_t n = 0;
    for (size_t y = 0; y < vl2_picture_height(picture); y++)
        for (size_t x = 0; x < vl2_picture_width(picture); x++) n += at(picture, x, y) == colour;
    return n;
}

#define PLAIN 0x5a5a5au

static void outlines_are_three_wide_and_inside(void **state) {
    (void)state;
    const vl2_box boxes[] = {{"", 1, {100, 50, 300, 200}, {0}}, {"", 0, {10, 10, 50, 50}, {0}}};
    vl2_picture *p = draw(400, 300, boxes, 2, "outline");
    const uint32_t colour = at(p, 100, 50);
    assert_int_not_equal(colour, PLAIN);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(at(p, 100 + i, 120), colour);
        assert_int_equal(at(p, 299 - i, 120), colour);
        assert_int_equal(at(p, 200, 50 + i), colour);
        assert_int_equal(at(p, 200, 199 - i), colour);
    }
    assert_int_equal(at(p, 103, 120), PLAIN);
    assert_int_equal(at(p, 99, 120), PLAIN);
    assert_int_equal(at(p, 300, 120), PLAIN);
    assert_int_equal(at(p, 200, 200), PLAIN);
    assert_int_equal(count(p, colour),
                     200 * 150 - 194 * 144); /* the other picture's box is not here */
    vl2_picture_free(p);
}

static void labels_have_colours_in_turn(void **state) {
    (void)state;
    vl2_box boxes[16];
    char names[16][8];
    for (size_t i = 0; i < 16; i++) {
        snprintf(names[i], sizeof names[i], "n%zu", i == 15 ? 14 : i);
        boxes[i] = (vl2_box){names[i], 1, {(int)i * 60, 100, (int)i * 60 + 50, 150}, {0}};
    }
    vl2_picture *p = draw(1000, 300, boxes, 16, "turns");
    for (size_t i = 0; i < 13; i++)
        for (size_t k = 0; k < i; k++) assert_int_not_equal(at(p, i * 60, 140), at(p, k * 60, 140));
    assert_int_equal(at(p, 13 * 60, 140), at(p, 0, 140));       /* the first again */
    assert_int_equal(at(p, 15 * 60, 140), at(p, 14 * 60, 140)); /* the same label */
    vl2_picture_free(p);
}

/* Boxes at every edge, without extent, and outside: all of it is drawn within the picture, and each
 * label's background can be seen. */
static void labels_stay_inside_and_apart(void **state) {
    (void)state;
    const vl2_box boxes[] = {
        {"top left", 1, {0, 0, 80, 60}, {0}},
        {"top right, long", 1, {380, 0, 400, 60}, {0}},
        {"bottom right", 1, {390, 290, 400, 300}, {0}},
        {"same corner", 1, {0, 0, 80, 60}, {0}},
        {"point", 1, {200, 150, 200, 150}, {0}},
        {"outside", 1, {-50, -20, 4000, 4000}, {0}},
        {"whole", 1, {0, 0, 400, 300}, {0}},
    };
    vl2_picture *p = draw(400, 300, boxes, sizeof boxes / sizeof *boxes, "edges");
    static const uint32_t colours[] = {0xe6194b, 0x0082c8, 0x3cb44b, 0xf58230,
                                       0x911eb4, 0x46f0f0, 0xf032e6};
    for (size_t i = 0; i < sizeof colours / sizeof *colours; i++)
        assert_true(count(p, colours[i]) > 300);
    vl2_picture_free(p);
}

/* No glyph of a script may look like that of another's label: a font without it draws the same empty
 * box for each. */
static void labels_of_any_script(void **state) {
    (void)state;
    static const char *const labels[] = {
        "淡定姐", "姐淡定", "Жираф", "كلب", "<b>&amp;</b>", "bad \xff\xc3 bytes", "two\nlines"};
    vl2_picture *drawn[sizeof labels / sizeof *labels];
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        const vl2_box box = {labels[i], 1, {20, 60, 280, 160}, {0}};
        char name[16];
        snprintf(name, sizeof name, "script%zu", i);
        drawn[i] = draw(300, 200, &box, 1, name);
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(vl2_picture_rgb(drawn[i]), vl2_picture_rgb(drawn[k]),
                                    300 * 200 * 3);
    }
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) vl2_picture_free(drawn[i]);
}

/* One pixel, one row, a label longer than the picture, far more boxes than labels. */
static void odd_sizes_hold(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {1, 300}, {300, 1}, {5, 5}, {3000, 2000}};
    char label[3000];
    memset(label, 'w', sizeof label - 1);
    label[sizeof label - 1] = '\0';
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const vl2_box box = {label, 1, {0, 0, (int)sizes[i][0], (int)sizes[i][1]}, {0}};
        vl2_picture_free(draw(sizes[i][0], sizes[i][1], &box, 1, "odd"));
    }
    vl2_box *many = calloc(20000, sizeof *many);
    assert_non_null(many);
    for (size_t i = 0; i < 20000; i++)
        many[i] = (vl2_box){i % 2 ? "a" : "b", 1, {(int)(i % 300), 0, 300, 200}, {0}};
    vl2_picture_free(draw(300, 200, many, 20000, "many"));
    free(many);
    vl2_picture *wide = plain(40000, 1), *out = NULL;
    vl2_error err = {0};
    assert_int_not_equal(vl2_boxes_draw(&out, wide, NULL, 0, 1, &err), VL2_OK);
    assert_null(out);
    vl2_picture_free(wide);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outlines_are_three_wide_and_inside),
        cmocka_unit_test(labels_have_colours_in_turn),
        cmocka_unit_test(labels_stay_inside_and_apart),
        cmocka_unit_test(labels_of_any_script),
        cmocka_unit_test(odd_sizes_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
