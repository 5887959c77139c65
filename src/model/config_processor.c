#include "model/config_parts.h"

#include <stdio.h>
#include <string.h>

/* One [width, height] of candidate_resolutions. */
static vl2_status read_candidate(vl2_resolution *out, const vl2_json *list, size_t i,
                                 const vl2_config_field_group *group, vl2_error *err) {
    const vl2_json *pair = vl2_json_at(list, i);
    const vl2_json *width = vl2_json_at(pair, 0), *height = vl2_json_at(pair, 1);
    int64_t w = vl2_json_int(width), h = vl2_json_int(height);
    if (vl2_json_kind_of(pair) != VL2_JSON_ARRAY || vl2_json_size(pair) != 2 ||
        vl2_json_kind_of(width) != VL2_JSON_INT || vl2_json_kind_of(height) != VL2_JSON_INT)
        return vl2_config_field_fail(group, "candidate_resolutions", VL2_ERR_FORMAT, err,
                                     "entry %zu is no pair of whole numbers [width, height]", i);
    if (w < 1 || h < 1 || w > VL2_MAX_SIDE * VL2_MAX_SIDE_TILES ||
        h > VL2_MAX_SIDE * VL2_MAX_SIDE_TILES)
        return vl2_config_field_fail(group, "candidate_resolutions", VL2_ERR_FORMAT, err,
                                     "entry %zu is [%lld, %lld], expected sides from 1 to %d", i,
                                     (long long)w, (long long)h, VL2_MAX_SIDE * VL2_MAX_SIDE_TILES);
    *out = (vl2_resolution){(size_t)w, (size_t)h};
    return VL2_OK;
}

static vl2_status check_candidate(vl2_resolution candidate, size_t side, size_t i,
                                  const vl2_config_field_group *group, vl2_error *err) {
    if (candidate.width % side != 0 || candidate.height % side != 0)
        return vl2_config_field_fail(
            group, "candidate_resolutions", VL2_ERR_FORMAT, err,
            "entry %zu is [%zu, %zu], expected multiples of %zu, the first "
            "entry's width",
            i, candidate.width, candidate.height, side);
    if (candidate.width / side > VL2_MAX_SIDE_TILES || candidate.height / side > VL2_MAX_SIDE_TILES)
        return vl2_config_field_fail(
            group, "candidate_resolutions", VL2_ERR_UNSUPPORTED, err,
            "entry %zu is [%zu, %zu], expected up to %d tiles of %zu a side", i, candidate.width,
            candidate.height, VL2_MAX_SIDE_TILES, side);
    return VL2_OK;
}

static vl2_status read_candidates(vl2_image_config *out, const vl2_config_field_group *group,
                                  vl2_error *err) {
    const vl2_json *list = vl2_json_get(group->object, "candidate_resolutions");
    size_t n = vl2_json_size(list);
    if (vl2_json_kind_of(list) != VL2_JSON_ARRAY || n < 1 || n > VL2_MAX_CANDIDATES)
        return vl2_json_fail(group->object, group->where, "candidate_resolutions",
                             "a list of 1 to 256 pairs [width, height]", err);
    for (size_t i = 0; i < n; i++)
        VL2_TRY(read_candidate(&out->candidates[i], list, i, group, err));
    out->n_candidates = n;
    out->side = out->candidates[0].width;
    for (size_t i = 0; i < n; i++)
        VL2_TRY(check_candidate(out->candidates[i], out->side, i, group, err));
    return VL2_OK;
}

/* Three numbers, one a channel; absent: 0.5 each. */
static vl2_status read_channels(float out[3], const vl2_config_field_group *group, const char *key,
                                double min, double max, vl2_error *err) {
    const vl2_json *list = vl2_json_get(group->object, key);
    for (size_t i = 0; i < 3; i++) out[i] = 0.5f;
    if (!list) return VL2_OK;
    if (vl2_json_kind_of(list) != VL2_JSON_ARRAY || vl2_json_size(list) != 3)
        return vl2_json_fail(group->object, group->where, key, "a list of 3 numbers", err);
    for (size_t i = 0; i < 3; i++) {
        vl2_json_kind kind = vl2_json_kind_of(vl2_json_at(list, i));
        double x = vl2_json_real(vl2_json_at(list, i));
        if ((kind != VL2_JSON_INT && kind != VL2_JSON_REAL) || !(x >= min && x <= max))
            return vl2_config_field_fail(group, key, VL2_ERR_FORMAT, err,
                                         "entry %zu is no number from %g to %g", i, min, max);
        out[i] = (float)x;
    }
    return VL2_OK;
}

/* A token's name into `out` of VL2_MAX_NAME bytes. */
static vl2_status read_name(char *out, const vl2_config_field_group *group, const char *key,
                            const char *absent, vl2_error *err) {
    const char *name;
    VL2_TRY(vl2_json_get_text(&name, group->object, group->where, key, absent, err));
    if (!*name || strlen(name) >= VL2_MAX_NAME)
        return vl2_config_field_fail(group, key, VL2_ERR_FORMAT, err,
                                     "a name of %zu bytes, expected 1 to %d", strlen(name),
                                     VL2_MAX_NAME - 1);
    memcpy(out, name, strlen(name) + 1);
    return VL2_OK;
}

/* Layout follows these two: unlike the others they have no default. */
static vl2_status read_layout(size_t *patch, size_t *ratio, const vl2_config_field_group *group,
                              vl2_error *err) {
    static const char *const keys[] = {"patch_size", "downsample_ratio"};
    for (size_t i = 0; i < 2; i++) {
        if (!vl2_json_get(group->object, keys[i]))
            return vl2_json_fail(group->object, group->where, keys[i], "a whole number", err);
    }
    VL2_TRY(vl2_config_field_one(patch, group, keys[0], 0, 1, VL2_MAX_SIDE, err));
    return vl2_config_field_one(ratio, group, keys[1], 0, 1, VL2_MAX_RATIO, err);
}

vl2_status vl2_config_processor_read(vl2_image_config *out, size_t *patch, size_t *ratio,
                                     const vl2_config_field_group *group, vl2_error *err) {
    static const vl2_config_field_word formats[] = {{"deepseek", 0}};
    int format;
    VL2_TRY(read_candidates(out, group, err));
    VL2_TRY(read_layout(patch, ratio, group, err));
    VL2_TRY(read_channels(out->mean, group, "image_mean", 0, 1, err));
    VL2_TRY(read_channels(out->std, group, "image_std", 1e-6, 1e6, err));
    VL2_TRY(vl2_config_field_flag(&out->normalize, group, "normalize", true, err));
    VL2_TRY(vl2_config_field_choice(&format, group, "sft_format", "deepseek", formats, 1, err));
    VL2_TRY(read_name(out->image_token, group, "image_token", "<image>", err));
    out->pad_token[0] = '\0';
    if (vl2_json_kind_of(vl2_json_get(group->object, "pad_token")) == VL2_JSON_NULL) return VL2_OK;
    return read_name(out->pad_token, group, "pad_token", "<｜▁pad▁｜>", err);
}
