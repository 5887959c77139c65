/* The resize against a plain transcription of its definition, its SIMD form against its plain one,
 * and with threads against without. Pillow's own pixels are in test_views. */
#include "image/resize.h"

#include "pictures.h"

#include <math.h>

static void fill(uint8_t *bytes, size_t n, uint32_t seed) {
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        /* extremes are what clipping and the sums' range are about */
        bytes[i] = seed >> 28 < 5 ? 0 : seed >> 28 < 10 ? 255 : (uint8_t)(seed >> 16);
    }
}

static double cubic(double x) {
    x = fabs(x);
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

/* One side of docs/MODEL.md §4's formula; `step` and `line` are distances in bytes. */
static void scale_line(uint8_t *out, size_t out_step, const uint8_t *in, size_t step, size_t n,
                       size_t out_n) {
    const double scale = (double)n / (double)out_n, stretch = scale > 1 ? scale : 1;
    double *w = malloc((n + 1) * sizeof *w);
    assert_non_null(w);
    for (size_t x = 0; x < out_n; x++) {
        const double centre = ((double)x + 0.5) * scale;
        const int low = (int)(centre - 2 * stretch + 0.5), high = (int)(centre + 2 * stretch + 0.5);
        const int from = low < 0 ? 0 : low, to = high > (int)n ? (int)n : high;
        double sum = 0;
        for (int j = from; j < to; j++) sum += w[j] = cubic((j - centre + 0.5) * (1 / stretch));
        int64_t total = 1 << 21;
        for (int j = from; j < to; j++) {
            const double k = w[j] / sum * (1 << 22);
            total += (int64_t)(k < 0 ? k - 0.5 : k + 0.5) * in[(size_t)j * step];
        }
        total >>= 22;
        out[x * out_step] = (uint8_t)(total < 0 ? 0 : total > 255 ? 255 : total);
    }
    free(w);
}

static uint8_t *scale_side(uint8_t *rgb, size_t w, size_t h, size_t ow, size_t oh, bool across) {
    uint8_t *out = malloc(ow * oh * 3);
    assert_non_null(out);
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < (across ? h : w); i++) {
            if (across)
                scale_line(out + i * ow * 3 + c, 3, rgb + i * w * 3 + c, 3, w, ow);
            else
                scale_line(out + i * 3 + c, ow * 3, rgb + i * 3 + c, w * 3, h, oh);
        }
    free(rgb);
    return out;
}

static uint8_t *scale_plainly(const uint8_t *rgb, size_t w, size_t h, size_t ow, size_t oh,
                              bool down_first) {
    uint8_t *out = malloc(w * h * 3);
    assert_non_null(out);
    memcpy(out, rgb, w * h * 3);
    for (int i = 0; i < 2; i++) {
        if (i == down_first && ow != w) {
            out = scale_side(out, w, h, ow, h, true);
            w = ow;
        } else if (i != down_first && oh != h) {
            out = scale_side(out, w, h, w, oh, false);
            h = oh;
        }
    }
    return out;
}

/* Sizes from and to; whether Pillow goes down first (rows saved > 2 * columns saved). */
static const struct {
    size_t w, h, ow, oh;
    bool down_first;
} SIZES[] = {{1, 1, 1, 1, false},       {1, 1, 7, 5, false},         {7, 5, 1, 1, false},
             {64, 48, 64, 48, false},   {33, 17, 33, 40, false},     {33, 17, 50, 17, false},
             {100, 3, 9, 90, false},    {640, 427, 384, 256, false}, {3, 700, 2, 384, true},
             {97, 101, 96, 100, false}, {500, 40, 21, 33, false},    {300, 507, 50, 7, false},
             {300, 508, 50, 7, true},   {100, 51, 120, 50, true},    {17, 139, 243, 199, false}};

static void sizes_match_the_definition(void **state) {
    (void)state;
    vl2_pool *pool = NULL;
    assert_int_equal(vl2_pool_create(&pool, 3, NULL), VL2_OK);
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        const size_t w = SIZES[i].w, h = SIZES[i].h, ow = SIZES[i].ow, oh = SIZES[i].oh;
        uint8_t *rgb = malloc(w * h * 3), *alone = NULL, *shared = NULL;
        assert_non_null(rgb);
        fill(rgb, w * h * 3, (uint32_t)i);
        uint8_t *wanted = scale_plainly(rgb, w, h, ow, oh, SIZES[i].down_first);
        assert_int_equal(vl2_resize_bicubic(&alone, rgb, w, h, ow, oh, NULL, NULL), VL2_OK);
        assert_int_equal(vl2_resize_bicubic(&shared, rgb, w, h, ow, oh, pool, NULL), VL2_OK);
        assert_memory_equal(alone, wanted, ow * oh * 3);
        assert_memory_equal(shared, wanted, ow * oh * 3);
        vl2_mem_free(alone);
        vl2_mem_free(shared);
        free(wanted);
        free(rgb);
    }
    vl2_pool_free(pool);
}

static void kernels_agree(void **state) {
    (void)state;
    enum { ROOM = 4096, MOST = 80, OUT = 300 };
    const vl2_resize_kernels plain = vl2_resize_plain(), best = vl2_resize_best();
    uint8_t *in = malloc(3 * ROOM), a[OUT * 3], b[OUT * 3];
    int32_t *weights = malloc(OUT * MOST * sizeof *weights);
    uint32_t first[OUT];
    assert_true(in && weights);
    fill(in, 3 * ROOM, 9);
    for (size_t i = 0; i < OUT * MOST; i++)
        weights[i] = (int32_t)(i * 2654435761u % 300000) - 20000;
    for (size_t i = 0; i < OUT; i++)
        first[i] = (uint32_t)(i * 37 % (ROOM - MOST - VL2_RESIZE_STEP));
    for (size_t taps = VL2_RESIZE_STEP; taps <= MOST; taps += VL2_RESIZE_STEP) {
        plain.across(a, in, first, weights, taps, OUT);
        best.across(b, in, first, weights, taps, OUT);
        assert_memory_equal(a, b, sizeof a);
    }
    for (size_t taps = 1; taps < 12; taps++) {
        for (size_t n = 1; n <= OUT; n += 13) {
            memset(a, 7, sizeof a);
            memset(b, 7, sizeof b);
            plain.down(a, in, OUT, weights, taps, n);
            best.down(b, in, OUT, weights, taps, n);
            assert_memory_equal(a, b, sizeof a); /* also what lies behind the row */
            assert_int_equal(a[n], 7);
        }
    }
    free(weights);
    free(in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_match_the_definition),
        cmocka_unit_test(kernels_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
