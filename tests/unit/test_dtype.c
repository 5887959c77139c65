#include "unit/scratch.h"

#include "model/dtype.h"

#include <math.h>

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* What the 16 bits mean, by the format's definition. */
static double f16_value(uint16_t h) {
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double sign = h >> 15 ? -1.0 : 1.0;
    if (exponent == 0) return sign * ldexp(fraction, -24);
    return sign * ldexp(1024 + fraction, exponent - 25);
}

static void test_f16_to_f32(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float x = vl2_f16_to_f32((uint16_t)h);
        bool special = (h & 0x7c00) == 0x7c00;
        if (!special)
            assert_true((double)x == f16_value((uint16_t)h));
        else if (h & 0x3ff)
            assert_true(isnan(x));
        else
            assert_true(isinf(x));
        assert_int_equal(bits_of(x) >> 31, h >> 15);
        if (!isnan(x))
            assert_int_equal(vl2_f32_to_f16(x), h);
        else
            assert_true(isnan(vl2_f16_to_f32(vl2_f32_to_f16(x))));
    }
}

/* Between two neighbours: below the middle down, above it up, the middle to the even one. */
static void test_f32_to_f16_rounds(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        double low = f16_value((uint16_t)h);
        double high = h == 0x7bff ? 65536 : f16_value((uint16_t)(h + 1));
        float middle = (float)((low + high) / 2); /* exact */
        assert_int_equal(vl2_f32_to_f16(middle), h & 1 ? h + 1 : h);
        assert_int_equal(vl2_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(vl2_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(vl2_f32_to_f16(-nextafterf(middle, 0)), h | 0x8000);
    }
    assert_int_equal(vl2_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(vl2_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(vl2_f32_to_f16(-0.0f), 0x8000);
}

static void test_bf16(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float x = vl2_bf16_to_f32((uint16_t)h);
        assert_int_equal(bits_of(x), h << 16);
        if (!isnan(x))
            assert_int_equal(vl2_f32_to_bf16(x), h);
        else
            assert_true(isnan(vl2_bf16_to_f32(vl2_f32_to_bf16(x))));
    }
    assert_int_equal(vl2_f32_to_bf16(float_of(0x3f808000)), 0x3f80); /* the middle, even below */
    assert_int_equal(vl2_f32_to_bf16(float_of(0x3f818000)), 0x3f82); /* even above */
    assert_int_equal(vl2_f32_to_bf16(float_of(0x3f808001)), 0x3f81);
    assert_true(isnan(vl2_bf16_to_f32(vl2_f32_to_bf16(float_of(0x7f800001)))));
}

static void test_names(void **state) {
    (void)state;
    for (int type = 0; type < VL2_DTYPE_COUNT; type++) {
        const vl2_dtype_traits *t = vl2_dtype_of((vl2_dtype)type);
        assert_int_equal(vl2_dtype_by_name(t->name, strlen(t->name)), type);
        assert_int_equal(t->is_weight, type <= VL2_BF16 || type >= VL2_Q8_0);
        assert_int_equal(t->block > 1, vl2_dtype_is_quantized((vl2_dtype)type));
    }
    assert_int_equal(vl2_dtype_by_name("F3", 2), VL2_DTYPE_COUNT);
    assert_int_equal(vl2_dtype_by_name("F8_E4M3", 7), VL2_DTYPE_COUNT);
    assert_int_equal(vl2_dtype_by_name("", 0), VL2_DTYPE_COUNT);
}

static void test_rows(void **state) {
    (void)state;
    size_t bytes;
    assert_true(vl2_dtype_row_bytes(&bytes, VL2_BF16, 7));
    assert_int_equal(bytes, 14);
    assert_true(vl2_dtype_row_bytes(&bytes, VL2_Q4_K, 512));
    assert_int_equal(bytes, 288);
    assert_false(vl2_dtype_row_bytes(&bytes, VL2_Q4_K, 896));
    assert_false(vl2_dtype_row_bytes(&bytes, VL2_F32, SIZE_MAX / 2));
    const uint16_t bf16[] = {0x3f80, 0xc000}, f16[] = {0x3c00, 0xc000};
    const float f32[] = {1, -2};
    float out[2];
    vl2_dtype_to_f32(out, bf16, VL2_BF16, 2);
    assert_memory_equal(out, f32, sizeof out);
    memset(out, 0, sizeof out);
    vl2_dtype_to_f32(out, f16, VL2_F16, 2);
    assert_memory_equal(out, f32, sizeof out);
    memset(out, 0, sizeof out);
    vl2_dtype_to_f32(out, f32, VL2_F32, 2);
    assert_memory_equal(out, f32, sizeof out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_to_f32), cmocka_unit_test(test_f32_to_f16_rounds),
        cmocka_unit_test(test_bf16),       cmocka_unit_test(test_names),
        cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
