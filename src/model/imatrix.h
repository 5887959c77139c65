/* model/imatrix.h - an importance matrix: how much each input column of a matrix matters.
 *
 * A GGUF file as ggml's family has it: general.type "imatrix", and for the matrices of a tensor NAME
 * two tensors of floats, NAME.in_sum2 [n,cols], sums of the squares of what each column was multiplied
 * with, and NAME.counts [n], of how many rows. Experts are several matrices of one tensor. */
#ifndef VL2_MODEL_IMATRIX_H
#define VL2_MODEL_IMATRIX_H

#include "model/gguf_write.h"

#define VL2_IMATRIX_SUMS "in_sum2" /* behind a tensor's name and a point */
#define VL2_IMATRIX_COUNTS "counts"

typedef struct vl2_imatrix vl2_imatrix;

vl2_status vl2_imatrix_open(vl2_imatrix **out, const char *path, vl2_error *err);
void vl2_imatrix_close(vl2_imatrix *imatrix);
/* w [cols], how much the columns of matrix `index` of the n named `name` matter, about 1. *known = false, and w is untouched,
 * where the file has no such tensor, or that expert never met a row. Another shape, or a number that
 * no sum of squares is, is an error. */
vl2_status vl2_imatrix_weights(float *w, bool *known, const vl2_imatrix *imatrix, const char *name,
                               size_t index, size_t n, size_t cols, vl2_error *err);

#endif
