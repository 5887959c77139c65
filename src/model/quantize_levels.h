/* model/quantize_levels.h - vl2_quantize_row, compiled for each level: same bytes, other speed. */
#ifndef VL2_MODEL_QUANTIZE_LEVELS_H
#define VL2_MODEL_QUANTIZE_LEVELS_H

#include "model/dtype.h"

void vl2_quantize_plain_row(void *row, const float *x, const float *w, vl2_dtype type, size_t n);
#if defined(__x86_64__)
void vl2_quantize_avx2_row(void *row, const float *x, const float *w, vl2_dtype type, size_t n);
#endif

#endif
