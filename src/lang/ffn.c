#include "lang/ffn.h"

vl2_epilogue vl2_ffn_activation(const vl2_language_config *lang) {
    switch (lang->act) {
    case VL2_ACT_SILU: return VL2_EPI_SILU;
    case VL2_ACT_GELU_ERF: return VL2_EPI_GELU_ERF;
    case VL2_ACT_GELU_TANH: return VL2_EPI_GELU_TANH;
    case VL2_ACT_RELU: return VL2_EPI_RELU;
    }
    return VL2_EPI_NONE;
}

void vl2_ffn_forward(vl2_backend *be, float *x, const float *normed, size_t m,
                     const vl2_language_config *lang, const vl2_mlp *mlp, float *hidden) {
    const size_t d = lang->hidden, width = mlp->gate.rows;
    const vl2_vec none = {0};
    be->ops->gated(be, hidden, width, normed, d, m, &mlp->gate, &mlp->up, vl2_ffn_activation(lang));
    be->ops->linear(be, x, d, hidden, width, m, &mlp->down, &none, VL2_EPI_ADD, false);
}
