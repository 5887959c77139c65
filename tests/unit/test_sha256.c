#include "unit/scratch.h"

#include "base/sha256.h"

static void check(const char *text, size_t size, size_t step, const char *expected) {
    vl2_sha256 s;
    uint8_t out[32];
    char hex[65];
    vl2_sha256_init(&s);
    for (size_t at = 0; at < size; at += step)
        vl2_sha256_add(&s, text + at, size - at < step ? size - at : step);
    vl2_sha256_end(&s, out);
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", out[i]);
    assert_string_equal(hex, expected);
}

static void test_known(void **state) { /* FIPS 180-4's examples */
    (void)state;
    check("", 0, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check("abc", 3, 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    const char *expected = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
    for (size_t step = 1; step <= 56; step++) check(two_blocks, 56, step, expected);
}

static void test_million(void **state) {
    (void)state;
    char *text = malloc(1000000);
    assert_non_null(text);
    memset(text, 'a', 1000000);
    const char *expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
    check(text, 1000000, 1000000, expected);
    check(text, 1000000, 63, expected);
    check(text, 1000000, 65, expected);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known),
                                       cmocka_unit_test(test_million)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
