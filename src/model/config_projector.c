#include "model/config_parts.h"

#include "model/weights.h"

static const vl2_config_field_word types[] = {
    {"downsample_mlp_gelu", VL2_PROJECTOR_DOWNSAMPLE_MLP_GELU},
    {"mlp_gelu", VL2_PROJECTOR_MLP_GELU},
    {"linear", VL2_PROJECTOR_LINEAR},
    {"identity", VL2_PROJECTOR_IDENTITY},
};

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* How many Linear layers there are, and how wide between them: docs/MODEL.md §6. */
static vl2_status set_layers(vl2_projector_config *out, size_t depth, size_t mlp_ratio,
                             const vl2_config_field_group *group, vl2_error *err) {
    out->hidden = out->output;
    switch (out->type) {
    case VL2_PROJECTOR_DOWNSAMPLE_MLP_GELU:
        out->linears = larger(depth, 2);
        out->hidden = out->output * mlp_ratio;
        break;
    case VL2_PROJECTOR_MLP_GELU: out->linears = larger(depth, 1); break;
    case VL2_PROJECTOR_LINEAR: out->linears = 1; break;
    case VL2_PROJECTOR_IDENTITY: out->linears = 0; break;
    }
    if (out->linears > VL2_MAX_PROJECTOR_LINEARS)
        return vl2_config_field_fail(group, "depth", VL2_ERR_UNSUPPORTED, err,
                                     "%zu is not supported, expected up to %d", depth,
                                     VL2_MAX_PROJECTOR_LINEARS);
    if (out->hidden > VL2_MAX_WIDTH)
        return vl2_config_field_fail(group, "mlp_ratio", VL2_ERR_FORMAT, err,
                                     "%zu gives layers of width %zu, expected up to %d", mlp_ratio,
                                     out->hidden, VL2_MAX_WIDTH);
    if (out->type == VL2_PROJECTOR_IDENTITY && out->input != out->output)
        return vl2_config_field_fail(group, "projector_type", VL2_ERR_FORMAT, err,
                                     "\"identity\" needs input_dim %zu and n_embed %zu to be equal",
                                     out->input, out->output);
    return VL2_OK;
}

/* Rows a side. The language model expects ceil(G/downsample_ratio): other counts have no places. */
static vl2_status set_grid(vl2_projector_config *out, size_t grid, size_t ratio,
                           const vl2_config_field_group *group, vl2_error *err) {
    if (out->type == VL2_PROJECTOR_DOWNSAMPLE_MLP_GELU) {
        if (out->token_pooling)
            return vl2_config_field_fail(group, "token_pooling", VL2_ERR_UNSUPPORTED, err,
                                         "not supported with downsample_mlp_gelu");
        if (out->input * ratio * ratio > VL2_MAX_WIDTH)
            return vl2_config_field_fail(group, "downsample_ratio", VL2_ERR_UNSUPPORTED, err,
                                         "%zu gives rows of width %zu, expected up to %d", ratio,
                                         out->input * ratio * ratio, VL2_MAX_WIDTH);
        out->ratio = ratio;
        out->grid = (grid + ratio - 1) / ratio;
        return VL2_OK;
    }
    size_t expected = out->token_pooling ? 2 : 1;
    if (ratio != expected)
        return vl2_config_field_fail(group, "downsample_ratio", VL2_ERR_UNSUPPORTED, err,
                                     "%zu, expected %zu for this projector_type %s token_pooling",
                                     ratio, expected, out->token_pooling ? "with" : "without");
    if (grid % expected != 0)
        return vl2_config_field_fail(group, "token_pooling", VL2_ERR_UNSUPPORTED, err,
                                     "%zu patches a side, expected an even number", grid);
    out->ratio = 1;
    out->grid = grid / expected;
    return VL2_OK;
}

vl2_status vl2_config_projector_read(vl2_projector_config *out, const vl2_vision_config *vision,
                                     const vl2_config_field_group *group, vl2_error *err) {
    int type;
    size_t depth, mlp_ratio, ratio;
    VL2_TRY(vl2_config_field_choice(&type, group, "projector_type", types[0].word, types,
                                    sizeof types / sizeof *types, err));
    out->type = (vl2_projector_type)type;
    VL2_TRY(vl2_config_field_one(&out->input, group, "input_dim", 1152, 1, VL2_MAX_WIDTH, err));
    VL2_TRY(vl2_config_field_one(&out->output, group, "n_embed", 2048, 1, VL2_MAX_WIDTH, err));
    VL2_TRY(vl2_config_field_one(&depth, group, "depth", 2, 0, VL2_MAX_LAYERS, err));
    VL2_TRY(vl2_config_field_one(&mlp_ratio, group, "mlp_ratio", 1, 1, VL2_MAX_WIDTH, err));
    VL2_TRY(vl2_config_field_one(&ratio, group, "downsample_ratio", 2, 1, VL2_MAX_RATIO, err));
    VL2_TRY(vl2_config_field_flag(&out->token_pooling, group, "token_pooling", false, err));
    if (out->input != vision->width)
        return vl2_config_field_fail(group, "input_dim", VL2_ERR_FORMAT, err,
                                     "%zu, expected %zu, vision_config's width", out->input,
                                     vision->width);
    VL2_TRY(set_layers(out, depth, mlp_ratio, group, err));
    return set_grid(out, vision->grid, ratio, group, err);
}
