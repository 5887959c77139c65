/* tests/kernels/ops.h - operations at every level, compute mode and number of threads: what the tests
 * of plain and of quantized weights share. */
#ifndef VL2_TESTS_KERNELS_OPS_H
#define VL2_TESTS_KERNELS_OPS_H

#include "backend/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t seed = 7;

static inline float next(void) { /* xorshift64*, -1 … 1 */
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (float)((double)(int64_t)(seed * 2685821657736338717u) / 9223372036854775808.0);
}

static inline float *floats(size_t n) {
    float *p = malloc(n * sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) p[i] = next();
    return p;
}

typedef void (*with_backend)(vl2_backend *be, vl2_dtype type);

/* Calls test with backends reserved for m rows of k, on each of n types: the same numbers for every
 * number of threads. */
static inline void everywhere(with_backend test, const vl2_dtype *types, size_t n, size_t m,
                              size_t k) {
    for (const char *const *level = vl2_backend_levels(); *level; level++)
        for (int compute = VL2_COMPUTE_AUTO; compute <= VL2_COMPUTE_F32; compute++)
            for (int threads = 1; threads <= 3; threads++) {
                vl2_backend_options options = {threads, *level, (vl2_compute)compute};
                vl2_backend *be;
                vl2_error err = {0};
                assert_int_equal(vl2_backend_create(&be, &options, &err), VL2_OK);
                assert_int_equal(vl2_backend_reserve(be, m, k, &err), VL2_OK);
                for (size_t i = 0; i < n; i++) {
                    seed = 7 + i;
                    test(be, types[i]);
                }
                vl2_backend_free(be);
            }
}

#endif
