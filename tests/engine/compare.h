/* tests/engine/compare.h - two traces, tensor by tensor: integers equal, floats near.
 *
 * The distance of a tensor is max |a-b| / rms(b), b being the reference; a NaN is infinitely far. */
#ifndef VL2_TESTS_ENGINE_COMPARE_H
#define VL2_TESTS_ENGINE_COMPARE_H

#include "model/safetensors.h"

/* PRODUCT's bound in float32, whose own noise is about 2e-5. */
#define TRACE_TOLERANCE 1e-4

typedef struct trace_difference {
    size_t n_compared;
    double worst; /* of the float tensors */
    char worst_name[64];
    char problem[256]; /* "" when the traces agree within the tolerance */
} trace_difference;

/* Every tensor of `wanted` must be in `got` with its type and shape, and none may be more. */
trace_difference compare_traces(const vl2_checkpoint *got, const vl2_checkpoint *wanted,
                                double tolerance);
trace_difference compare_trace_files(const char *got, const char *wanted, double tolerance);

#endif
