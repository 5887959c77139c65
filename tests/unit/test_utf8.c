#include "unit/scratch.h"

#include "base/utf8.h"

static void test_every_code_point(void **state) {
    (void)state;
    for (uint32_t code = 0; code <= 0x10FFFF; code++) {
        char text[4];
        size_t n, size = vl2_utf8_put(text, code);
        bool surrogate = code >= 0xD800 && code <= 0xDFFF;
        uint32_t back = vl2_utf8_next(text, size, &n);
        if (surrogate ? back != UINT32_MAX : back != code || n != size)
            fail_msg("U+%04X came back as U+%04X", (unsigned)code, (unsigned)back);
        if (surrogate) continue;
        for (size_t cut = 1; cut < size; cut++) { /* a beginning waits for its rest */
            assert_int_equal(vl2_utf8_whole(text, cut), 0);
            assert_int_equal(vl2_utf8_valid(text, cut), 0);
        }
        assert_int_equal(vl2_utf8_whole(text, size), size);
    }
}

static void test_ill_formed(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t size, n;
    } cases[] = {
        {"\x80", 1, 1},
        {"\xC0\xAF", 2, 1},
        {"\xC1\xBF", 2, 1},
        {"\xE0\x80\x80", 3, 1},
        {"\xED\xA0\x80", 3, 1},
        {"\xF0\x80\x80\x80", 4, 1},
        {"\xF4\x90\x80\x80", 4, 1},
        {"\xF5\x80\x80\x80", 4, 1},
        {"\xFF", 1, 1},
        {"\xE2\x82", 2, 2},
        {"\xE2\x82x", 3, 2},
        {"\xF0\x9F\x98", 3, 3},
        {"\xF0\x9F\x98x", 4, 3},
        {"\xC3x", 2, 1},
        {"\xE1\x80\xE2", 3, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n;
        assert_true(vl2_utf8_next(cases[i].text, cases[i].size, &n) == UINT32_MAX);
        assert_int_equal(n, cases[i].n);
        assert_int_equal(vl2_utf8_valid(cases[i].text, cases[i].size), 0);
    }
}

static void test_whole(void **state) {
    (void)state;
    assert_int_equal(vl2_utf8_whole("", 0), 0);
    assert_int_equal(vl2_utf8_whole("ab\xE4\xB8", 4), 2);
    assert_int_equal(vl2_utf8_whole("ab\xE4\xB8\xAD", 5), 5);
    /* no byte to come can save these */
    assert_int_equal(vl2_utf8_whole("ab\xC0", 3), 3);
    assert_int_equal(vl2_utf8_whole("ab\xE0\x80", 4), 4);
    assert_int_equal(vl2_utf8_whole("ab\x80\x80\x80\x80", 6), 6);
    assert_int_equal(vl2_utf8_whole("\xF0\x9F\xE2\x82", 4), 2);
}

static void check_strip(const char *text, size_t size, const char *expected) {
    vl2_utf8_strip(&text, &size);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(text, expected, size);
}

static void test_strip(void **state) {
    (void)state;
    static const char *const spaces[] = {
        "\t",           "\n",           "\v",           "\f",           "\r",
        "\x1C",         "\x1D",         "\x1E",         "\x1F",         " ",
        "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x8A",
        "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s %sa %s b%s%s", spaces[i], spaces[i], spaces[i], spaces[i],
                 spaces[i]);
        char expected[64];
        snprintf(expected, sizeof expected, "a %s b", spaces[i]);
        check_strip(text, strlen(text), expected);
    }
    check_strip(" \n ", 3, "");
    check_strip("", 0, "");
    check_strip("\xE2\x80\x8B", 3, "\xE2\x80\x8B"); /* U+200B is none */
    check_strip("\x80 \xFF", 3, "\x80 \xFF");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point),
        cmocka_unit_test(test_ill_formed),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_strip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
