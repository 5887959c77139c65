#include "model/config_parts.h"

#include <math.h>

static const char key[] = "rope_scaling";

/* m(x) of docs/MODEL.md §7 */
static double mscale(double factor, double x) {
    return factor <= 1 ? 1 : 0.1 * x * log(factor) + 1;
}

static vl2_status read_yarn(vl2_rope_config *out, const vl2_config_field_group *scaling,
                            vl2_error *err) {
    VL2_TRY(vl2_config_field_real(&out->yarn_original, scaling, "original_max_position_embeddings",
                                  4096, 1, VL2_MAX_POSITIONS, err));
    VL2_TRY(vl2_config_field_real(&out->yarn_beta_fast, scaling, "beta_fast", 32, 1e-6, 1e6, err));
    VL2_TRY(vl2_config_field_real(&out->yarn_beta_slow, scaling, "beta_slow", 1, 1e-6, 1e6, err));
    VL2_TRY(vl2_config_field_real(&out->yarn_mscale, scaling, "mscale", 1, 0, 1e6, err));
    if (out->theta <= 1)
        return vl2_config_field_fail(scaling, "type", VL2_ERR_UNSUPPORTED, err,
                                     "yarn needs a rope_theta over 1, found %g", out->theta);
    return VL2_OK;
}

/* MLA multiplies the scores' scale by m(mscale_all_dim)^2, whatever the type. */
static vl2_status read_all_dim(vl2_language_config *lang, const vl2_config_field_group *scaling,
                               vl2_error *err) {
    static const char all_dim[] = "mscale_all_dim";
    vl2_rope_config *rope = &lang->rope;
    bool null = vl2_json_kind_of(vl2_json_get(scaling->object, all_dim)) == VL2_JSON_NULL;
    if (!null || rope->type == VL2_ROPE_YARN)
        VL2_TRY(
            vl2_config_field_real(&rope->yarn_mscale_all_dim, scaling, all_dim, 0, 0, 1e6, err));
    double m = mscale(rope->factor, rope->yarn_mscale_all_dim);
    if (rope->yarn_mscale_all_dim != 0) lang->softmax_scale *= m * m;
    return VL2_OK;
}

static vl2_status read_scaling(vl2_language_config *lang, const vl2_config_field_group *scaling,
                               vl2_error *err) {
    static const vl2_config_field_word types[] = {
        {"linear", VL2_ROPE_LINEAR}, {"dynamic", VL2_ROPE_DYNAMIC}, {"yarn", VL2_ROPE_YARN}};
    vl2_rope_config *rope = &lang->rope;
    size_t dims = lang->use_mla ? lang->rope_dim : lang->head_dim;
    int type;
    VL2_TRY(vl2_config_field_choice(&type, scaling, "type", NULL, types,
                                    sizeof types / sizeof *types, err));
    rope->type = (vl2_rope_scaling)type;
    if (!vl2_json_get(scaling->object, "factor"))
        return vl2_json_fail(scaling->object, scaling->where, "factor", "a number", err);
    VL2_TRY(vl2_config_field_real(&rope->factor, scaling, "factor", 1, 1e-6, 1e6, err));
    if (rope->type == VL2_ROPE_DYNAMIC && dims < 4)
        return vl2_config_field_fail(scaling, "type", VL2_ERR_UNSUPPORTED, err,
                                     "dynamic needs at least 4 rotated dims, found %zu", dims);
    if (rope->type == VL2_ROPE_YARN && !lang->use_mla)
        return vl2_config_field_fail(scaling, "type", VL2_ERR_UNSUPPORTED, err,
                                     "yarn is not supported with use_mla false, expected linear or "
                                     "dynamic");
    if (rope->type == VL2_ROPE_YARN) VL2_TRY(read_yarn(rope, scaling, err));
    return lang->use_mla ? read_all_dim(lang, scaling, err) : VL2_OK;
}

vl2_status vl2_config_rope_read(vl2_language_config *lang, const vl2_config_field_group *group,
                                vl2_error *err) {
    size_t dims = lang->use_mla ? lang->nope_dim + lang->rope_dim : lang->head_dim;
    lang->softmax_scale = 1 / sqrt((double)dims);
    lang->rope = (vl2_rope_config){
        .type = VL2_ROPE_PLAIN, .factor = 1, .max_positions = lang->max_positions};
    VL2_TRY(vl2_config_field_real(&lang->rope.theta, group, "rope_theta", 10000, 1e-3, 1e15, err));
    const vl2_json *object = vl2_json_get(group->object, key);
    if (!object || vl2_json_kind_of(object) == VL2_JSON_NULL) return VL2_OK;
    char where[400];
    vl2_config_field_group scaling;
    VL2_TRY(vl2_config_field_open(&scaling, where, sizeof where, group, key, err));
    return read_scaling(lang, &scaling, err);
}
