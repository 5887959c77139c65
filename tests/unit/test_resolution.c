#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/resolution.h"

static vl2_image_config candidates(void) {
    static const size_t tiles[][2] = {{1, 1}, {1, 2}, {2, 1}, {1, 3}, {3, 1}, {2, 2}, {1, 4},
                                      {4, 1}, {2, 3}, {3, 2}, {3, 3}, {1, 9}, {9, 1}};
    vl2_image_config config = {.side = 384};
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        config.candidates[config.n_candidates++] =
            (vl2_resolution){tiles[i][0] * 384, tiles[i][1] * 384};
    }
    return config;
}

static void assert_tiles(size_t width, size_t height, bool crop, size_t wide, size_t high) {
    vl2_image_config config = candidates();
    size_t tiles_wide, tiles_high;
    vl2_resolution_choose(&tiles_wide, &tiles_high, &config, width, height, crop);
    if (tiles_wide != wide || tiles_high != high) {
        fail_msg("%zu x %zu: %zu x %zu tiles, not %zu x %zu", width, height, tiles_wide, tiles_high,
                 wide, high);
    }
}

static void takes_the_most_pixels_then_the_least_waste(void **state) {
    (void)state;
    assert_tiles(384, 384, true, 1, 1); /* all equal in pixels: the least waste */
    assert_tiles(100, 100, true, 1, 1); /* a small picture is kept whole by every candidate */
    assert_tiles(1000, 1000, true, 3, 3);
    assert_tiles(768, 384, true, 2, 1);
    assert_tiles(385, 384, true, 2, 1);
    assert_tiles(384, 3456, true, 1, 9);
    assert_tiles(3456, 384, true, 9, 1);
    assert_tiles(4000, 3000, true, 3, 3);
    assert_tiles(200000, 1, true, 1, 1); /* its height would round to 0 in all */
}

static void no_cropping_is_one_tile(void **state) {
    (void)state;
    assert_tiles(4000, 3000, false, 1, 1);
    assert_tiles(0, 10, true, 1, 1);
    assert_tiles(SIZE_MAX, SIZE_MAX, true, 3, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_most_pixels_then_the_least_waste),
        cmocka_unit_test(no_cropping_is_one_tile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
