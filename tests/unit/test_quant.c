/* Quantized blocks: decoding against what another program decodes, and how much rounding loses. */
#include "unit/scratch.h"

#include "model/quant.h"
#include "model/quantize.h"
#include "model/quantize_levels.h"
#include "unit/quant_blocks.h"

#include <math.h>

typedef struct fixture {
    vl2_dtype type;
    const unsigned char *blocks;
    const uint32_t *values;
    size_t bytes, n;
} fixture;

#define FIXTURE(type, name)                                                                        \
    {                                                                                              \
        type, name##_blocks, name##_values, sizeof name##_blocks,                                  \
            sizeof name##_values / sizeof *name##_values                                           \
    }

static const fixture fixtures[] = {
    FIXTURE(VL2_Q8_0, q8_0), FIXTURE(VL2_Q4_0, q4_0), FIXTURE(VL2_Q4_1, q4_1),
    FIXTURE(VL2_Q5_0, q5_0), FIXTURE(VL2_Q5_1, q5_1), FIXTURE(VL2_IQ4_NL, iq4_nl),
    FIXTURE(VL2_Q4_K, q4_k), FIXTURE(VL2_Q5_K, q5_k), FIXTURE(VL2_Q6_K, q6_k),
};
enum { N_FIXTURES = sizeof fixtures / sizeof *fixtures };

/* The file's bytes mean what they mean elsewhere, to the bit; and from the middle of a row, too. */
static void test_decodes(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FIXTURES; i++) {
        const fixture *f = &fixtures[i];
        const vl2_dtype_traits *t = vl2_dtype_of(f->type);
        assert_int_equal(f->bytes, 2 * t->block_bytes);
        assert_int_equal(f->n, 2 * t->block);
        float out[512], part[512];
        vl2_dtype_to_f32(out, f->blocks, f->type, f->n);
        assert_memory_equal(out, f->values, f->n * sizeof *out);
        vl2_dtype_to_f32_from(part, f->blocks, f->type, 5, f->n - 9);
        assert_memory_equal(part, out + 5, (f->n - 9) * sizeof *out);
    }
}

/* xorshift, summed to something like a normal distribution */
static float normal(uint64_t *state) {
    double sum = 0;
    for (int i = 0; i < 12; i++) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        sum += (double)(*state >> 11) * 0x1p-53;
    }
    return (float)(sum - 6) * 0.02f;
}

enum { N = 64 * 256 };

static double relative_error(vl2_dtype type, const float *x) {
    static float y[N];
    static char blocks[N * 2];
    vl2_dtype_from_f32(blocks, x, type, N);
    vl2_dtype_to_f32(y, blocks, type, N);
    double e = 0, s = 0;
    for (int i = 0; i < N; i++) {
        e += (double)(y[i] - x[i]) * (y[i] - x[i]);
        s += (double)x[i] * x[i];
    }
    return sqrt(e / s);
}

/* rms of the error by rms of normal numbers. The bounds are 2 % over what was measured; rounding to
 * the block's greatest number alone, without search, is over all of them but Q8_0's. */
static void test_loses_little(void **state) {
    (void)state;
    static const struct {
        vl2_dtype type;
        double most;
    } bounds[] = {{VL2_Q8_0, 0.0056}, {VL2_Q6_K, 0.0176}, {VL2_Q5_K, 0.0354},  {VL2_Q5_0, 0.0412},
                  {VL2_Q4_K, 0.0716}, {VL2_Q4_0, 0.0830}, {VL2_IQ4_NL, 0.0751}};
    static float x[N];
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < N; i++) x[i] = normal(&seed);
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        double e = relative_error(bounds[i].type, x);
        if (e > bounds[i].most) print_message("%s: %.5f\n", vl2_dtype_of(bounds[i].type)->name, e);
        assert_true(e <= bounds[i].most && e > bounds[i].most / 2);
    }
}

/* Zeros stay zeros; constants, one great number among small ones, and ends of the range are near. */
static void test_odd_blocks(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FIXTURES; i++) {
        if (!vl2_quantize_can(fixtures[i].type)) continue;
        const vl2_dtype type = fixtures[i].type;
        const size_t n = vl2_dtype_of(type)->block;
        float x[256] = {0}, y[256];
        char block[512];
        vl2_dtype_from_f32(block, x, type, n);
        vl2_dtype_to_f32(y, block, type, n);
        for (size_t j = 0; j < n; j++) assert_true(y[j] == 0);
        static const float great[] = {1, -1, 1e-2f, -60000};
        for (size_t g = 0; g < 4; g++) {
            for (size_t j = 0; j < n; j++) x[j] = great[g];
            vl2_dtype_from_f32(block, x, type, n);
            vl2_dtype_to_f32(y, block, type, n);
            for (size_t j = 0; j < n; j++) assert_true(fabsf(y[j] / x[j] - 1) < 0.02f);
            memset(x, 0, sizeof x);
            x[7] = great[g];
            vl2_dtype_from_f32(block, x, type, n);
            vl2_dtype_to_f32(y, block, type, n);
            assert_true(fabsf(y[7] / x[7] - 1) < 0.02f && fabsf(y[8]) < fabsf(x[7]) * 0.04f);
        }
    }
}

/* What is no number becomes 0 and spoils no neighbour. */
static void test_not_finite(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FIXTURES; i++) {
        if (!vl2_quantize_can(fixtures[i].type)) continue;
        const vl2_dtype type = fixtures[i].type;
        const size_t n = vl2_dtype_of(type)->block;
        float x[256], y[256];
        char block[512];
        for (size_t j = 0; j < n; j++) x[j] = j % 2 ? 0.5f : -0.5f;
        x[0] = NAN;
        x[1] = INFINITY;
        x[2] = -INFINITY;
        vl2_dtype_from_f32(block, x, type, n);
        vl2_dtype_to_f32(y, block, type, n);
        for (size_t j = 0; j < n; j++) assert_true(isfinite(y[j]));
        for (size_t j = 3; j < n; j++) assert_true(fabsf(y[j] - x[j]) < 0.05f);
    }
}

/* w times the squared error of row y to x, to that of zeros. */
static double weighted_error(const void *row, const float *x, const float *w, vl2_dtype type) {
    static float y[N];
    double e = 0, s = 0;
    vl2_dtype_to_f32(y, row, type, N);
    for (int i = 0; i < N; i++) {
        e += (double)w[i] * (y[i] - x[i]) * (y[i] - x[i]);
        s += (double)w[i] * x[i] * x[i];
    }
    return e / s;
}

/* Weights of the squared errors: even ones change no byte, uneven ones are heeded. The bounds are
 * nine tenths of what was measured (Q8_0 has little choice). */
static void test_weights(void **state) {
    (void)state;
    static const double gains[] = {
        [VL2_Q8_0] = 0.04,   [VL2_Q4_0] = 0.35, [VL2_Q5_0] = 0.36, [VL2_Q6_K] = 0.41,
        [VL2_IQ4_NL] = 0.46, [VL2_Q4_K] = 0.47, [VL2_Q5_K] = 0.48};
    static float x[N], w[N];
    static char even[2 * N], plain[2 * N], uneven[2 * N];
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < N; i++) x[i] = normal(&seed);
    for (size_t i = 0; i < N_FIXTURES; i++) {
        const vl2_dtype type = fixtures[i].type;
        if (!vl2_quantize_can(type)) continue;
        for (int k = 0; k < N; k++) w[k] = 1;
        vl2_quantize_row(plain, x, NULL, type, N);
        vl2_quantize_row(even, x, w, type, N);
        assert_memory_equal(plain, even,
                            N / vl2_dtype_of(type)->block * vl2_dtype_of(type)->block_bytes);
        for (int k = 0; k < N; k++) w[k] = expf(100 * normal(&seed));
        vl2_quantize_row(uneven, x, w, type, N);
        double gain = 1 - weighted_error(uneven, x, w, type) / weighted_error(plain, x, w, type);
        if (gain < gains[type]) print_message("%s: %.4f\n", vl2_dtype_of(type)->name, gain);
        assert_true(gain >= gains[type]);
    }
}

/* Every level writes the same bytes, for rows that end within a group of eight blocks, too. */
static void test_levels_agree(void **state) {
    (void)state;
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2")) skip();
    enum { COLS = 5 * 256 + 96 };
    float x[COLS], w[COLS];
    uint64_t seed = 2463534242u;
    for (size_t i = 0; i < COLS; i++) x[i] = normal(&seed) * (i / 256 % 2 ? 1e-5f : 1);
    memset(x + 32, 0, 64 * sizeof *x);
    for (size_t i = 0; i < COLS; i++) w[i] = i < COLS / 2 ? 1 : expf(100 * normal(&seed));
    for (size_t i = 0; i < N_FIXTURES; i++) {
        const vl2_dtype type = fixtures[i].type;
        if (!vl2_quantize_can(type)) continue;
        const size_t n = COLS / vl2_dtype_of(type)->block * vl2_dtype_of(type)->block;
        char plain[2 * COLS], fast[2 * COLS];
        memset(plain, 1, sizeof plain);
        memset(fast, 1, sizeof fast);
        vl2_quantize_plain_row(plain, x, w, type, n);
        vl2_quantize_avx2_row(fast, x, w, type, n);
        assert_memory_equal(plain, fast, sizeof plain);
    }
#else
    skip();
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decodes),    cmocka_unit_test(test_loses_little),
        cmocka_unit_test(test_odd_blocks), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_weights),    cmocka_unit_test(test_levels_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
