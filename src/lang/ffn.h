/* lang/ffn.h - the gated MLP, of dense layers and of shared experts: docs/MODEL.md §7.
 *
 *   x [m,D] += down(act(gate(normed)) * up(normed)) */
#ifndef VL2_LANG_FFN_H
#define VL2_LANG_FFN_H

#include "backend/ops.h"
#include "model/weights.h"

vl2_epilogue vl2_ffn_activation(const vl2_language_config *lang);
/* normed [m,D]; hidden [m,F] is scratch. */
void vl2_ffn_forward(vl2_backend *be, float *x, const float *normed, size_t m,
                     const vl2_language_config *lang, const vl2_mlp *mlp, float *hidden);

#endif
