/* Boxes from a model's text, from good ones to hostile ones. */
#include "output/boxes.h"

#include "base/mem.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define REF "<|ref|>"
#define FER "<|/ref|>"
#define DET "<|det|>"
#define TED "<|/det|>"

/* "label:x1,y1,x2,y2;…" in coordinates of 999, pictures of 999 x 1998 pixels. */
static char *read_all(const char *text, size_t size) {
    vl2_box *boxes = NULL;
    size_t n = 0;
    char *copy = malloc(size ? size : 1), *out = calloc(1, 1 << 16);
    assert_true(copy && out);
    memcpy(copy, text, size); /* no NUL behind it */
    assert_int_equal(vl2_boxes_parse(&boxes, &n, copy, size, 3, 999, 1998, NULL), VL2_OK);
    free(copy);
    for (size_t i = 0; i < n; i++) {
        const int *b = boxes[i].box_999;
        const size_t at = strlen(out);
        assert_int_equal(boxes[i].image, 3);
        for (int k = 0; k < 4; k++)
            assert_int_equal(boxes[i].box[k], (int)(b[k] / 999.0 * (k % 2 ? 1998 : 999)));
        snprintf(out + at, (1 << 16) - at, "%s:%d,%d,%d,%d;", boxes[i].label, b[0], b[1], b[2],
                 b[3]);
    }
    vl2_free(boxes);
    return out;
}

static void texts_give_their_boxes(void **state) {
    (void)state;
    static const struct {
        const char *text, *boxes;
    } cases[] = {
        {"", ""},
        {"no box in here < <| <|ref", ""},
        {REF "cat" FER DET "[[1, 2, 30, 40]]" TED, "cat:1,2,30,40;"},
        {"A " REF "cat" FER DET "[[1,2,3,4]]" TED " and a " REF "dog" FER DET "[[5,6,7,8]]" TED ".",
         "cat:1,2,3,4;dog:5,6,7,8;"},
        {REF "cats" FER DET "[[1, 2, 3, 4], [5, 6, 7, 8]]" TED, "cats:1,2,3,4;cats:5,6,7,8;"},
        {REF "淡定姐" FER DET "[[338, 0, 620, 999]]" TED, "淡定姐:338,0,620,999;"},
        {REF "two\nlines" FER "\n " DET " [ [ 1 ,2,\n3, 4 ] ] " TED, "two\nlines:1,2,3,4;"},
        {REF "single" FER DET "[1, 2, 3, 4]" TED, "single:1,2,3,4;"},
        {REF "" FER DET "[[1,2,3,4]]" TED, ":1,2,3,4;"},
        {REF "out" FER DET "[[-5, 1000, 7, 99999999999999999999999999999999999999]]" TED,
         "out:0,999,7,999;"},
        {REF "back to front" FER DET "[[30, 40, 1, 2]]" TED, "back to front:1,2,30,40;"},
        {REF "floats" FER DET "[[1.9, 2.0, 3., 4.123456]]" TED, "floats:1,2,3,4;"},
        /* what is broken spoils itself only */
        {REF "a" FER DET "[[470,]]" TED REF "b" FER DET "[[1,2,3,4]]" TED, "b:1,2,3,4;"},
        {REF "a" FER DET "[[1,2,3,4], [5]]" TED REF "b" FER DET "[[1,2,3,4]]" TED, "b:1,2,3,4;"},
        {REF "a" FER DET "[[1,2,3,4,5]]" TED, ""},
        {REF "a" FER DET "[[1,2,3]]" TED, ""},
        {REF "a" FER DET "[]" TED REF "b" FER DET "" TED REF "c" FER DET "[[]]" TED, ""},
        {REF "a" FER DET "[[[1,2,3,4]]]" TED, ""},
        {REF "a" FER DET "[[1,2,3,4]" TED, ""},
        {REF "a" FER DET "[[1,2,3,4]],[[1,2,3,4]]" TED, ""},
        {REF "a" FER DET "[[1,2,3,4],]" TED, ""},
        {REF "a" FER DET "[[1,2,3,0x10]]" TED REF "b" FER DET "[[1,2,3,1e2]]" TED, ""},
        {REF "a" FER DET "[[--1,2,3,4]]" TED REF "b" FER DET "[[-,2,3,4]]" TED, ""},
        {REF "a" FER DET "__import__('os')" TED, ""},
        {REF "lost " REF "found" FER DET "[[1,2,3,4]]" TED, "found:1,2,3,4;"},
        {REF "a" FER " is here " DET "[[1,2,3,4]]" TED REF "b" FER DET "[[5,6,7,8]]" TED,
         "b:5,6,7,8;"},
        {REF "a" FER DET "[[1,2,3,4]]" REF "b" FER DET "[[5,6,7,8]]" TED, "b:5,6,7,8;"},
        {REF "a" FER DET "[[1,2,3,4]] " DET "[[5,6,7,8]]" TED, ""},
        {DET "[[1,2,3,4]]" TED FER TED REF "b" FER DET "[[5,6,7,8]]" TED, "b:5,6,7,8;"},
        {REF "a" FER DET "[[1,2,3,4]]" TED REF "cut" FER DET "[[5,6,7", "a:1,2,3,4;"},
        {REF "a" DET "[[1,2,3,4]]" TED, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *got = read_all(cases[i].text, strlen(cases[i].text));
        if (strcmp(got, cases[i].boxes) != 0)
            fail_msg("%s\ngives  %s\nwanted %s", cases[i].text, got, cases[i].boxes);
        free(got);
    }
}

/* A list that breaks after many good boxes must not write where there is room for the good ones
 * of other pairs only. */
static void broken_lists_write_nothing(void **state) {
    (void)state;
    enum { BOXES = 3000 };
    char *text = malloc(BOXES * 12 + 200);
    assert_non_null(text);
    size_t n =
        (size_t)snprintf(text, 100, REF "ok" FER DET "[[1,2,3,4]]" TED REF "bad" FER DET "[");
    for (size_t i = 0; i < BOXES; i++) n += (size_t)snprintf(text + n, 20, "[5,6,7,8],");
    n += (size_t)snprintf(text + n, 20, "[5]]" TED);
    char *got = read_all(text, n);
    assert_string_equal(got, "ok:1,2,3,4;");
    free(got);
    free(text);
}

/* Half a million tags, or digits: time grows no worse than the text. */
static void long_texts_take_little_time(void **state) {
    (void)state;
    static const char *const parts[] = {
        REF, REF FER, REF FER DET, "<", "[", "9", REF "x" FER DET "[[1,2,3,4"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const size_t step = strlen(parts[i]), size = (size_t)4 << 20;
        char *text = malloc(size);
        assert_non_null(text);
        for (size_t at = 0; at < size; at++) text[at] = parts[i][at % step];
        vl2_box *boxes = NULL;
        size_t n;
        assert_int_equal(vl2_boxes_parse(&boxes, &n, text, size, 0, 10, 10, NULL), VL2_OK);
        assert_int_equal(n, 0);
        vl2_free(boxes);
        free(text);
    }
}

static void pictures_too_large_are_refused(void **state) {
    (void)state;
    vl2_box *boxes = NULL;
    size_t n;
    vl2_error err = {0};
    assert_int_equal(vl2_boxes_parse(&boxes, &n, "", 0, 0, SIZE_MAX, 1, &err), VL2_ERR_ARGUMENT);
    assert_null(boxes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_give_their_boxes),
        cmocka_unit_test(broken_lists_write_nothing),
        cmocka_unit_test(long_texts_take_little_time),
        cmocka_unit_test(pictures_too_large_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
