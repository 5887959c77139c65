/* Compiled for every machine of an architecture. */
#include "model/quantize_levels.h"

#include "model/quantize_lanes.h"

void vl2_quantize_plain_row(void *row, const float *x, const float *w, vl2_dtype type, size_t n) {
    quantize_row(row, x, w, type, n);
}
