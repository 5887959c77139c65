#include "unit/scratch.h"

#include "base/buf.h"
#include "base/json.h"

static vl2_json_doc *parse(const char *text) {
    vl2_json_doc *doc;
    vl2_error err = {0};
    if (vl2_json_parse(&doc, text, strlen(text), "x.json", &err) != VL2_OK)
        fail_msg("%s", err.text);
    return doc;
}

static void refuse(const char *text, size_t size, const char *words) {
    vl2_json_doc *doc;
    vl2_error err = {0};
    assert_says(vl2_json_parse(&doc, text, size, "x.json", &err), &err, VL2_ERR_FORMAT, "x.json");
    assert_says(err.status, &err, VL2_ERR_FORMAT, words);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "empty"},
        {" ", "line 1"},
        {"{\"a\":1,\"a\":2}", "line 1|duplicate"},
        {"{\"a\":1} x", "line 1"},
        {"[1,]", "line 1"},
        {"{'a':1}", "line 1"},
        {"[NaN]", "line 1"},
        {"[Infinity]", "line 1"},
        {"[01]", "line 1"},
        {"[1\n,\n.5]", "line 3"},
        {"99999999999999999999", "too big"},
        {"{\"a\": 1, \"big\": 99999999999999999999}", "line 1|too big|behind \"big\""},
        {"[99999999999999999999]", "too big"},
        {"-99999999999999999999", "too big negative"},
        {"[1e400]", "overflow"},
        {"\"\xFF\"", "decode byte 0xff"},
        {"\"\xED\xA0\x80\"", "decode byte 0xed"},
        {"\"\\ud800\"", "line 1"},
        {"\"abc", "line 1"},
        {"[\"\n\"]", "line 1"},
        {"\xEF\xBB\xBF{}", "line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(cases[i].text, strlen(cases[i].text), cases[i].words);
    refuse("[1]\0", 4, "line 1");
    refuse("\0", 1, "line 1");
}

static void test_depth(void **state) {
    (void)state;
    char text[200];
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    vl2_json_doc *doc;
    assert_int_equal(vl2_json_parse(&doc, text + 1, 128, "deep", NULL), VL2_OK);
    vl2_json_free(doc);
    refuse(text, 130, "deeper than 64");
    /* brackets in strings do not count */
    doc = parse(
        "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[\"]");
    vl2_json_free(doc);
    char *many = malloc(1 << 20); /* what would overflow a stack */
    assert_non_null(many);
    memset(many, '[', 1 << 20);
    refuse(many, 1 << 20, "deeper than 64");
    free(many);
}

static void test_values(void **state) {
    (void)state;
    vl2_json_doc *doc =
        parse("{\"i\":-9223372036854775808,\"r\":1.5,\"t\":true,\"n\":null,\"s\":\"a\\u0000b\","
              "\"a\":[1,2],\"o\":{\"k\":1}}");
    const vl2_json *root = vl2_json_root(doc);
    size_t size;
    assert_int_equal(vl2_json_kind_of(root), VL2_JSON_OBJECT);
    assert_int_equal(vl2_json_size(root), 7);
    assert_true(vl2_json_int(vl2_json_get(root, "i")) == INT64_MIN);
    assert_true(vl2_json_real(vl2_json_get(root, "r")) == 1.5);
    assert_true(vl2_json_bool(vl2_json_get(root, "t")));
    assert_int_equal(vl2_json_kind_of(vl2_json_get(root, "n")), VL2_JSON_NULL);
    assert_int_equal(vl2_json_kind_of(vl2_json_get(root, "none")), VL2_JSON_ABSENT);
    assert_memory_equal(vl2_json_text(vl2_json_get(root, "s"), &size), "a\0b", 4);
    assert_int_equal(size, 3);
    assert_int_equal(vl2_json_size(vl2_json_get(root, "a")), 2);
    assert_null(vl2_json_at(vl2_json_get(root, "a"), 2));
    assert_null(vl2_json_get(NULL, "x"));
    assert_null(vl2_json_get(vl2_json_get(root, "a"), "x"));
    assert_null(vl2_json_text(vl2_json_get(root, "i"), NULL));
    size_t n = 0;
    void *iterator = NULL;
    const char *key;
    const vl2_json *value;
    while (vl2_json_iterate(root, &iterator, &key, &value)) {
        assert_ptr_equal(vl2_json_get(root, key), value);
        n++;
    }
    assert_int_equal(n, 7);
    iterator = NULL;
    assert_false(vl2_json_iterate(NULL, &iterator, &key, &value));
    vl2_json_free(doc);
    vl2_json_free(NULL);
}

static const char numbers[] =
    "{\"one\":1,\"neg\":-1,\"big\":4294967296,\"real\":2.5,\"whole\":2.0,\"text\":\"5\","
    "\"null\":null,\"list\":[1],\"object\":{},\"flag\":true,\"nul\":\"a\\u0000\","
    "\"long\":\"012345678901234567890123456789012345678901234567890123456789\"}";

static void test_sizes(void **state) {
    (void)state;
    vl2_json_doc *doc = parse(numbers);
    const vl2_json *root = vl2_json_root(doc);
    size_t out;
    assert_int_equal(vl2_json_get_size(&out, root, "c.json: part", "one", 9, 1, 10, NULL), VL2_OK);
    assert_int_equal(out, 1);
    assert_int_equal(vl2_json_get_size(&out, root, "c.json: part", "none", 99, 1, 10, NULL),
                     VL2_OK);
    assert_int_equal(out, 99);
    static const struct {
        const char *key, *words;
    } cases[] = {
        {"neg", "c.json: part.neg is -1, expected a whole number from 2 to 10"},
        {"one", "part.one is 1,"},
        {"big", "part.big is 4294967296,"},
        {"real", "part.real is 2.5"},
        {"whole", "part.whole is 2.0"},
        {"text", "part.text is \"5\","},
        {"null", "part.null is null,"},
        {"list", "part.list is a list of 1,"},
        {"object", "part.object is an object,"},
        {"flag", "part.flag is true,"},
        {"long", "part.long is \"01234567890123456789012345678901…\","},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vl2_error err = {0};
        out = 7;
        assert_says(vl2_json_get_size(&out, root, "c.json: part", cases[i].key, 9, 2, 10, &err),
                    &err, VL2_ERR_FORMAT, cases[i].words);
        assert_int_equal(out, 7);
    }
    vl2_error err = {0}; /* a name alone is followed by a colon */
    assert_says(vl2_json_get_size(&out, root, "c.json", "neg", 9, 2, 10, &err), &err,
                VL2_ERR_FORMAT, "c.json: neg is -1");
    vl2_json_free(doc);
}

static void test_other_reads(void **state) {
    (void)state;
    vl2_json_doc *doc = parse(numbers);
    const vl2_json *root = vl2_json_root(doc);
    double real;
    bool flag;
    const char *text;
    assert_int_equal(vl2_json_get_real(&real, root, "c", "real", 0, 0, 3, NULL), VL2_OK);
    assert_true(real == 2.5);
    assert_int_equal(vl2_json_get_real(&real, root, "c", "one", 0, 0, 3, NULL), VL2_OK);
    assert_true(real == 1);
    assert_int_equal(vl2_json_get_real(&real, root, "c", "none", 0.25, 1, 3, NULL), VL2_OK);
    assert_true(real == 0.25);
    vl2_error err = {0};
    assert_says(vl2_json_get_real(&real, root, "c", "real", 0, 0, 2, &err), &err, VL2_ERR_FORMAT,
                "c: real is 2.5|a number from 0 to 2");
    err = (vl2_error){0};
    assert_says(vl2_json_get_real(&real, root, "c", "text", 0, 0, 2, &err), &err, VL2_ERR_FORMAT,
                "c: text is \"5\"");
    assert_int_equal(vl2_json_get_bool(&flag, root, "c", "flag", false, NULL), VL2_OK);
    assert_true(flag);
    err = (vl2_error){0};
    assert_says(vl2_json_get_bool(&flag, root, "c", "one", false, &err), &err, VL2_ERR_FORMAT,
                "c: one is 1, expected true or false");
    assert_int_equal(vl2_json_get_text(&text, root, "c", "text", NULL, NULL), VL2_OK);
    assert_string_equal(text, "5");
    err = (vl2_error){0};
    assert_says(vl2_json_get_text(&text, root, "c", "nul", NULL, &err), &err, VL2_ERR_FORMAT,
                "c: nul|U+0000");
    err = (vl2_error){0};
    assert_says(vl2_json_get_text(&text, root, "c", "one", NULL, &err), &err, VL2_ERR_FORMAT,
                "expected a string");
    vl2_json_free(doc);
}

static void test_quote(void **state) {
    (void)state;
    vl2_buf out = {0};
    static const char text[] = "a\"\\\n\t\x01\x7F/\0é\xFF中\xE4\xB8";
    assert_int_equal(vl2_json_quote(&out, text, sizeof text - 1, NULL), VL2_OK);
    assert_string_equal(out.data, "\"a\\\"\\\\\\n\\t\\u0001\\u007f/\\u0000é\xEF\xBF\xBD中"
                                  "\xEF\xBF\xBD\"");
    vl2_json_doc *doc = parse(out.data);
    size_t size;
    assert_memory_equal(vl2_json_text(vl2_json_root(doc), &size), "a\"\\\n\t\x01\x7F/\0é", 11);
    vl2_json_free(doc);
    vl2_buf_free(&out);
}

/* Property: what is quoted reads back as itself. */
static void test_quote_round_trip(void **state) {
    (void)state;
    uint32_t random = 1;
    for (int round = 0; round < 2000; round++) {
        char text[40];
        size_t n = 0;
        while (n < 32) {
            random = random * 1664525u + 1013904223u;
            char c = (char)(random >> 24 & 0x7F);
            text[n++] = c;
        }
        vl2_buf out = {0};
        assert_int_equal(vl2_json_quote(&out, text, n, NULL), VL2_OK);
        vl2_json_doc *doc = parse(out.data);
        size_t size;
        const char *back = vl2_json_text(vl2_json_root(doc), &size);
        assert_int_equal(size, n);
        assert_memory_equal(back, text, n);
        vl2_json_free(doc);
        vl2_buf_free(&out);
    }
}

static void test_read(void **state) {
    (void)state;
    scratch s = scratch_make();
    vl2_json_doc *doc;
    vl2_error err = {0};
    assert_says(vl2_json_read(&doc, scratch_path(&s, "none.json"), 100, &err), &err, VL2_ERR_IO,
                "none.json|No such file");
    err = (vl2_error){0};
    assert_says(vl2_json_read(&doc, scratch_write(&s, "a.json", "[1", 2), 100, &err), &err,
                VL2_ERR_FORMAT, "a.json|line 1");
    err = (vl2_error){0};
    assert_says(vl2_json_read(&doc, s.path, 1, &err), &err, VL2_ERR_LIMIT, "a.json|limit of 1");
    scratch_remove(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),         cmocka_unit_test(test_depth),
        cmocka_unit_test(test_values),           cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_other_reads),      cmocka_unit_test(test_quote),
        cmocka_unit_test(test_quote_round_trip), cmocka_unit_test(test_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
