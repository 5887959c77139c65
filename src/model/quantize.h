/* model/quantize.h - floats to quantized blocks: of the scales that a block could have, one whose
 * squared error is least among those tried. docs/QUANTIZATION.md compares the errors. */
#ifndef VL2_MODEL_QUANTIZE_H
#define VL2_MODEL_QUANTIZE_H

#include "model/dtype.h"

/* Row of n elements in whole blocks. All quantized types but Q4_1 and Q5_1, which are only read.
 * w [n] > 0: how much the square of each element's error counts; NULL: all alike.
 * Numbers that are not finite count as 0. The bytes are the same on every machine. */
void vl2_quantize_row(void *row, const float *x, const float *w, vl2_dtype type, size_t n);
bool vl2_quantize_can(vl2_dtype type);

#endif
