#include "unit/scratch.h"

#include "base/buf.h"

static void test_grows(void **state) {
    (void)state;
    vl2_buf buf = {0};
    for (int i = 0; i < 1000; i++) assert_int_equal(vl2_buf_addf(&buf, NULL, "%03d,", i), VL2_OK);
    assert_int_equal(buf.size, 4000);
    assert_int_equal(strlen(buf.data), 4000);
    assert_memory_equal(buf.data + 3996, "999,", 5);
    assert_int_equal(vl2_buf_add(&buf, "a\0b", 3, NULL), VL2_OK);
    assert_memory_equal(buf.data + 4000, "a\0b", 4);
    vl2_buf_clear(&buf);
    assert_string_equal(buf.data, "");
    vl2_buf_free(&buf);
    assert_null(buf.data);
}

static void test_cap(void **state) {
    (void)state;
    vl2_error err = {0};
    vl2_buf buf = {.cap = 10};
    assert_int_equal(vl2_buf_add(&buf, "0123456789", 10, &err), VL2_OK);
    assert_says(vl2_buf_add(&buf, "x", 1, &err), &err, VL2_ERR_LIMIT, "10 bytes");
    assert_string_equal(buf.data, "0123456789");
    assert_int_equal(vl2_buf_reserve(&buf, SIZE_MAX, NULL), VL2_ERR_LIMIT);
    vl2_buf_free(&buf);
    assert_int_equal(buf.cap, 10);
}

static void test_detach(void **state) {
    (void)state;
    vl2_buf buf = {0};
    char *text;
    size_t size;
    assert_int_equal(vl2_buf_detach(&buf, &text, &size, NULL), VL2_OK);
    assert_string_equal(text, "");
    assert_int_equal(size, 0);
    vl2_free(text);
    assert_int_equal(vl2_buf_add(&buf, "hello", 5, NULL), VL2_OK);
    assert_int_equal(vl2_buf_detach(&buf, &text, NULL, NULL), VL2_OK);
    assert_string_equal(text, "hello");
    assert_null(buf.data);
    vl2_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_detach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
