#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "output/stream.h"

/* Ids are indices into a list of pieces; a piece that begins with '<' is special. */
static const char *piece_of(const void *user, int32_t id, size_t *size) {
    const char *const *pieces = user;
    *size = strlen(pieces[id]);
    return pieces[id];
}

static bool is_special(const void *user, int32_t id) {
    const char *const *pieces = user;
    return pieces[id][0] == '<';
}

static vl2_text_stream *open_stream(const char *const *pieces, bool skip, const char *const *stops,
                                    size_t n_stops) {
    const vl2_piece_source source = {piece_of, is_special, pieces};
    vl2_text_stream *stream;
    assert_int_equal(vl2_text_stream_create(&stream, &source, skip, stops, n_stops, NULL), VL2_OK);
    return stream;
}

/* What each push shows, then what finishing does, with '/' between; '!' after a stop. */
static void run(char *out, size_t room, const char *const *pieces, size_t n, bool skip,
                const char *const *stops, size_t n_stops) {
    vl2_text_stream *stream = open_stream(pieces, skip, stops, n_stops);
    const char *text;
    size_t size, used = 0;
    bool stopped;
    out[0] = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i < n) {
            assert_int_equal(vl2_text_stream_push(stream, (int32_t)i, &text, &size, &stopped, NULL),
                             VL2_OK);
        } else {
            assert_int_equal(vl2_text_stream_finish(stream, &text, &size, NULL), VL2_OK);
            stopped = false;
        }
        used += (size_t)snprintf(out + used, room - used, "%.*s%s%s", (int)size, text,
                                 stopped ? "!" : "", i < n ? "/" : "");
        assert_true(used < room);
    }
    vl2_text_stream_free(stream);
}

static void assert_shown(const char *const *pieces, size_t n, bool skip, const char *const *stops,
                         size_t n_stops, const char *expected) {
    char got[512];
    run(got, sizeof got, pieces, n, skip, stops, n_stops);
    assert_string_equal(got, expected);
}
#define LIST(...)                                                                                  \
    (const char *const[]){__VA_ARGS__}, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)

static void characters_come_whole(void **state) {
    (void)state;
    assert_shown(LIST("a\xe4", "\xb8",
                      "\xad"
                      "b"),
                 false, NULL, 0, "a//中b/");
    assert_shown(LIST("\xf0\x9f", "\x98", "\x80"), false, NULL, 0, "//😀/");
    assert_shown(LIST("\xe4\xb8", "x"), false, NULL, 0, "/\xef\xbf\xbdx/");
    assert_shown(LIST("\xe4\xb8"), false, NULL, 0, "/\xef\xbf\xbd"); /* only at the end */
    assert_shown(LIST("\xff", "\xc0\x80", "z"), false, NULL, 0,
                 "\xef\xbf\xbd/\xef\xbf\xbd\xef\xbf\xbd/z/");
    assert_shown(LIST("", "a", ""), false, NULL, 0, "/a//");
}

static void special_tokens_are_skipped_on_wish(void **state) {
    (void)state;
    assert_shown(LIST("a", "<|ref|>", "b"), false, NULL, 0, "a/<|ref|>/b/");
    assert_shown(LIST("a", "<|ref|>", "b"), true, NULL, 0, "a//b/");
    assert_shown(LIST("\xe4\xb8", "<|ref|>", "\xad"), true, NULL, 0, "//中/");
}

static void stop_texts_cross_tokens(void **state) {
    (void)state;
    assert_shown(LIST("ab", "c", "dx", "y"), false, LIST("cd"), "ab//!/!/");
    assert_shown(LIST("xcd", "y"), false, LIST("cd"), "x!/!/");
    assert_shown(LIST("xc", "cd"), false, LIST("cd"), "x/c!/");
    assert_shown(LIST("a", "a", "b", "aab"), false, LIST("aab"), "//!/!/");
    assert_shown(LIST("a", "a", "a", "b"), false, LIST("aab"), "//a/!/");
    assert_shown(LIST("ab", "ac"), false, LIST("abad"), "/abac/"); /* released at once */
    assert_shown(LIST("ab", "a"), false, LIST("abad"), "//aba");   /* released at the end */
    assert_shown(LIST("ab"), false, LIST("ab"), "!/");
    assert_shown(LIST("\xe4\xb8", "\xad", "!"), false, LIST("中!"), "//!/");
    assert_shown(LIST("x\n", "\n", "y"), false, LIST("\n\n"), "x/!/!/");
}

static void of_several_stops_the_first_complete_one_ends(void **state) {
    (void)state;
    assert_shown(LIST("abc"), false, LIST("abc", "b"), "a!/");
    assert_shown(LIST("a", "b", "c"), false, LIST("abc", "b"), "/a!/!/");
    assert_shown(LIST("xabc"), false, LIST("bc", "abc"), "x!/"); /* at once: the longest */
    assert_shown(LIST("a", "bq"), false, LIST("abc", "bqr"), "/a/bq");
    assert_shown(LIST("User", ": x"), false, LIST("User:", "<e>"), "/!/");
}

/* However a text is cut into tokens, the same is shown in the end. */
static void cuts_do_not_matter(void **state) {
    (void)state;
    const char *const stops[] = {"aba", "bb", "中a"};
    const char *texts[] = {"abcabab", "aabbaa", "x中中ab", "acacab中", "ab中bab"};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        char whole[256] = "";
        size_t n = strlen(texts[t]);
        for (unsigned cuts = 0; cuts < 1u << (n - 1); cuts++) {
            char pieces[16][16] = {{0}}, shown[256], joined[256];
            const char *list[16];
            size_t count = 0, used = 0;
            for (size_t i = 0; i < n; i++) {
                pieces[count][strlen(pieces[count])] = texts[t][i];
                if (i + 1 == n || (cuts >> i & 1)) count++;
            }
            for (size_t i = 0; i < count; i++) list[i] = pieces[i];
            run(shown, sizeof shown, list, count, false, stops, 3);
            for (const char *c = shown; *c; c++) {
                if (*c != '/' && *c != '!') joined[used++] = *c;
            }
            joined[used] = 0;
            if (cuts == 0) snprintf(whole, sizeof whole, "%s", joined);
            assert_string_equal(joined, whole);
        }
    }
}

static void bad_stops_are_refused(void **state) {
    (void)state;
    const vl2_piece_source source = {piece_of, is_special, NULL};
    vl2_text_stream *stream = NULL;
    vl2_error err = {0};
    const char *stops[65] = {"a", ""};
    assert_int_equal(vl2_text_stream_create(&stream, &source, false, stops, 2, &err),
                     VL2_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "stop text 1 has 0 bytes"));
    err = (vl2_error){0};
    stops[1] = "\xff";
    assert_int_equal(vl2_text_stream_create(&stream, &source, false, stops, 2, &err),
                     VL2_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "UTF-8"));
    assert_int_equal(vl2_text_stream_create(&stream, &source, false, stops, 65, NULL),
                     VL2_ERR_LIMIT);
    char endless[5001];
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = 0;
    stops[0] = endless;
    assert_int_equal(vl2_text_stream_create(&stream, &source, false, stops, 1, NULL),
                     VL2_ERR_ARGUMENT);
    assert_null(stream);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_come_whole),
        cmocka_unit_test(special_tokens_are_skipped_on_wish),
        cmocka_unit_test(stop_texts_cross_tokens),
        cmocka_unit_test(of_several_stops_the_first_complete_one_ends),
        cmocka_unit_test(cuts_do_not_matter),
        cmocka_unit_test(bad_stops_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
