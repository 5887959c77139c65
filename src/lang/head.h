/* lang/head.h - normed rows [m,D] -> logits [m,V]: docs/MODEL.md §7. */
#ifndef VL2_LANG_HEAD_H
#define VL2_LANG_HEAD_H

#include "backend/ops.h"

/* Row i's logits go to out[i] [V]. One pass over the head's weights for all rows, or, where the
 * outputs do not lie one behind the other, for `staged_rows` at a time, through staging
 * [staged_rows, V]. */
void vl2_head_forward(vl2_backend *be, float *const *out, const float *normed, size_t m,
                      const vl2_mat *head, float *staging, size_t staged_rows);

#endif
