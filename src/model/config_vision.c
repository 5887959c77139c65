#include "model/config_parts.h"

#include <stddef.h>

static const vl2_config_field_size sizes[] = {
    {"image_size", offsetof(vl2_vision_config, side), 384, 1, VL2_MAX_SIDE},
    {"patch_size", offsetof(vl2_vision_config, patch), 16, 1, VL2_MAX_SIDE},
    {"width", offsetof(vl2_vision_config, width), 1024, 1, VL2_MAX_WIDTH},
    {"layers", offsetof(vl2_vision_config, layers), 24, 1, VL2_MAX_LAYERS},
    {"heads", offsetof(vl2_vision_config, heads), 16, 1, VL2_MAX_HEADS},
};

/* The forms of the tower's end that the reference's own code cannot run either. */
static vl2_status check_head(vl2_vision_config *out, const vl2_config_field_group *group,
                             vl2_error *err) {
    static const vl2_config_field_word pools[] = {{"map", true}, {"", true}, {"avg", false}};
    bool class_token, ignore_head;
    int final_norm;
    VL2_TRY(vl2_config_field_flag(&class_token, group, "class_token", false, err));
    VL2_TRY(vl2_config_field_flag(&ignore_head, group, "ignore_head", true, err));
    VL2_TRY(vl2_config_field_choice(&final_norm, group, "global_pool", "map", pools,
                                    sizeof pools / sizeof *pools, err));
    out->final_norm = final_norm;
    if (class_token)
        return vl2_config_field_fail(group, "class_token", VL2_ERR_UNSUPPORTED, err,
                                     "true is not supported, expected false");
    if (!ignore_head)
        return vl2_config_field_fail(group, "ignore_head", VL2_ERR_UNSUPPORTED, err,
                                     "false is not supported, expected true");
    return VL2_OK;
}

static vl2_status check_shapes(vl2_vision_config *out, double mlp_ratio,
                               const vl2_config_field_group *group, vl2_error *err) {
    if (out->width % out->heads != 0)
        return vl2_config_field_fail(group, "heads", VL2_ERR_FORMAT, err,
                                     "%zu does not divide width %zu", out->heads, out->width);
    out->grid = out->side / out->patch;
    if (out->grid < 1 || out->grid > VL2_MAX_GRID)
        return vl2_config_field_fail(group, "patch_size", VL2_ERR_FORMAT, err,
                                     "%zu gives %zu patches a side of %zu pixels, expected 1 to %d",
                                     out->patch, out->grid, out->side, VL2_MAX_GRID);
    double mlp_width = (double)out->width * mlp_ratio; /* truncated, as the reference does it */
    if (!(mlp_width >= 1 && mlp_width <= VL2_MAX_WIDTH))
        return vl2_config_field_fail(group, "mlp_ratio", VL2_ERR_FORMAT, err,
                                     "%g gives an MLP of width %.0f, expected 1 to %d", mlp_ratio,
                                     mlp_width, VL2_MAX_WIDTH);
    out->mlp_width = (size_t)mlp_width;
    return VL2_OK;
}

vl2_status vl2_config_vision_read(vl2_vision_config *out, const vl2_config_field_group *group,
                                  vl2_error *err) {
    double mlp_ratio;
    VL2_TRY(vl2_config_field_sizes(out, group, sizes, sizeof sizes / sizeof *sizes, err));
    VL2_TRY(vl2_config_field_real(&mlp_ratio, group, "mlp_ratio", 4, 0, VL2_MAX_WIDTH, err));
    VL2_TRY(check_head(out, group, err));
    return check_shapes(out, mlp_ratio, group, err);
}
