#include "stages/stage.h"

#include <math.h>

#include "lang/rope.h"

enum { HALF = 4 };

static vl2_language_config config_of(vl2_rope_scaling type) {
    return (vl2_language_config){.use_mla = true,
                                 .rope_dim = 2 * HALF,
                                 .head_dim = 999, /* of no use here */
                                 .rope = {.type = type,
                                          .theta = 10000.0,
                                          .factor = 8.0,
                                          .yarn_original = 64.0,
                                          .yarn_beta_fast = 32.0,
                                          .yarn_beta_slow = 1.0,
                                          .yarn_mscale = 0.8,
                                          .yarn_mscale_all_dim = 0.6,
                                          .max_positions = 100}};
}

static void frequencies_are(const vl2_language_config *lang, size_t length,
                            const double expected[HALF]) {
    double f[HALF];
    vl2_rope_frequencies(f, lang, length);
    for (size_t i = 0; i < HALF; i++) assert_true(fabs(f[i] / expected[i] - 1.0) < 1e-12);
}

static void test_plain_and_linear(void **state) {
    (void)state;
    vl2_language_config lang = config_of(VL2_ROPE_PLAIN);
    assert_int_equal(vl2_rope_half(&lang), HALF);
    frequencies_are(&lang, 5000, (const double[]){1.0, 0.1, 0.01, 0.001});
    lang = config_of(VL2_ROPE_LINEAR);
    frequencies_are(&lang, 5000, (const double[]){0.125, 0.0125, 0.00125, 0.000125});
    lang.use_mla = false;
    lang.head_dim = 2;
    assert_int_equal(vl2_rope_half(&lang), 1);
}

static void test_dynamic(void **state) {
    (void)state;
    const vl2_language_config lang = config_of(VL2_ROPE_DYNAMIC);
    frequencies_are(&lang, 100, (const double[]){1.0, 0.1, 0.01, 0.001});
    /* T 150: theta' = 10000 * (8 * 1.5 - 7)^(8/6) */
    const double theta = 10000.0 * pow(5.0, 4.0 / 3.0);
    frequencies_are(&lang, 150,
                    (const double[]){1.0, pow(theta, -0.25), pow(theta, -0.5), pow(theta, -0.75)});
}

/* d 8, L0 64: c(32) = 8*ln(64/(64 pi))/(2 ln 1e4) < 0, so lo = 0; c(1) = 8*ln(64/(2 pi))/(2 ln 1e4)
 * = 1.008, so hi = 2. Pairs 0, 1, 2, 3 are on the ramp at 0, 1/2, 1, 1. */
static void test_yarn(void **state) {
    (void)state;
    const vl2_language_config lang = config_of(VL2_ROPE_YARN);
    frequencies_are(&lang, 5000,
                    (const double[]){1.0, 0.1 * (0.5 / 8.0 + 0.5), 0.01 / 8.0, 0.001 / 8.0});
    const double one[HALF] = {1.0, 0.5, 0.25, 0.125};
    const double magnitude = (0.1 * 0.8 * log(8.0) + 1.0) / (0.1 * 0.6 * log(8.0) + 1.0);
    float c[HALF], s[HALF];
    vl2_rope_rows(c, s, &lang, one, 3, 1);
    assert_true(fabs((double)c[1] - cos(1.5) * magnitude) < 1e-7);
    assert_true(fabs((double)s[1] - sin(1.5) * magnitude) < 1e-7);
}

static void test_yarn_without_a_ramp(void **state) {
    (void)state;
    vl2_language_config lang = config_of(VL2_ROPE_YARN);
    lang.rope.yarn_original = 6.0; /* c(1) < 0: lo = hi = 0, hi becomes 0.001 */
    frequencies_are(&lang, 1, (const double[]){1.0, 0.1 / 8.0, 0.01 / 8.0, 0.001 / 8.0});
    lang.rope.factor = 0.5; /* no magnitude below a factor of 1 */
    const double one[HALF] = {1.0, 1.0, 1.0, 1.0};
    float c[HALF], s[HALF];
    vl2_rope_rows(c, s, &lang, one, 0, 1);
    assert_true(c[0] == 1.0f && s[0] == 0.0f);
}

/* Far positions keep their angle, which float32 products would lose. */
static void test_far_positions(void **state) {
    (void)state;
    const vl2_language_config lang = config_of(VL2_ROPE_PLAIN);
    const double f[HALF] = {1.0, 0.1, 0.01, 0.001};
    float c[3 * HALF], s[3 * HALF];
    vl2_rope_rows(c, s, &lang, f, 999999, 3);
    for (size_t row = 0; row < 3; row++) {
        assert_true(fabs((double)c[row * HALF] - cos(999999.0 + (double)row)) < 1e-7);
        assert_true(fabs((double)s[row * HALF + 1] - sin((999999.0 + (double)row) * 0.1)) < 1e-7);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_and_linear),
        cmocka_unit_test(test_dynamic),
        cmocka_unit_test(test_yarn),
        cmocka_unit_test(test_yarn_without_a_ramp),
        cmocka_unit_test(test_far_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
