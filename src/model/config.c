#include "model/config.h"

#include "base/file.h"
#include "base/mem.h"
#include "model/config_parts.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 16 << 20, WHERE = 400 };

/* ---- what the files are ------------------------------------------------------------------------ */

static bool names_ocr(const vl2_json *value) {
    const char *text = vl2_json_text(value, NULL);
    return text && strstr(text, "OCR");
}

/* DeepSeek-OCR says the same model_type, but has two towers of another make behind one projector. */
static bool is_ocr(const vl2_json *root) {
    const vl2_json *vision = vl2_json_get(root, "vision_config");
    const char *tower = vl2_json_text(vl2_json_get(vision, "model_name"), NULL);
    return names_ocr(vl2_json_at(vl2_json_get(root, "architectures"), 0)) ||
           vl2_json_kind_of(vl2_json_get(vision, "width")) == VL2_JSON_OBJECT ||
           (tower && strncmp(tower, "deeplip", 7) == 0);
}

static vl2_status check_model(const vl2_config_field_group *root, vl2_error *err) {
    static const vl2_config_field_word models[] = {{"deepseek_vl_v2", 0}};
    int model;
    if (vl2_json_kind_of(root->object) != VL2_JSON_OBJECT)
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: no JSON object", root->where);
    VL2_TRY(vl2_config_field_choice(&model, root, "model_type", models[0].word, models, 1, err));
    if (is_ocr(root->object))
        return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                        "%s: this is a DeepSeek-OCR model, which is not supported, expected "
                        "DeepSeek-VL2",
                        root->where);
    return VL2_OK;
}

/* ---- config.json ------------------------------------------------------------------------------ */

static vl2_status read_top(vl2_config *out, const vl2_config_field_group *root, vl2_error *err) {
    static const char global_view[] = "global_view_pos";
    static const vl2_config_field_word tags[] = {{"2D", 0}};
    const char *place = ""; /* null, like any other word than "head", is the tail */
    int tag;
    VL2_TRY(vl2_config_field_choice(&tag, root, "tile_tag", NULL, tags, 1, err));
    if (vl2_json_kind_of(vl2_json_get(root->object, global_view)) != VL2_JSON_NULL)
        VL2_TRY(vl2_json_get_text(&place, root->object, root->where, global_view, "head", err));
    out->image.global_first = strcmp(place, "head") == 0;
    return VL2_OK;
}

static vl2_status read_parts(vl2_config *out, const vl2_config_field_group *root, vl2_error *err) {
    char where[WHERE];
    vl2_config_field_group part;
    VL2_TRY(vl2_config_field_open(&part, where, sizeof where, root, "vision_config", err));
    VL2_TRY(vl2_config_vision_read(&out->vision, &part, err));
    VL2_TRY(vl2_config_field_open(&part, where, sizeof where, root, "projector_config", err));
    VL2_TRY(vl2_config_projector_read(&out->projector, &out->vision, &part, err));
    size_t width = out->projector.output;
    VL2_TRY(vl2_config_field_open(&part, where, sizeof where, root, "language_config", err));
    VL2_TRY(vl2_config_language_read(&out->lang, &part, err));
    if (width != out->lang.hidden)
        return vl2_fail(err, VL2_ERR_FORMAT,
                        "%s: projector_config.n_embed is %zu, expected %zu, language_config's "
                        "hidden_size",
                        root->where, width, out->lang.hidden);
    return VL2_OK;
}

static vl2_status parse_model(vl2_config *out, const vl2_json *object, const char *name,
                              vl2_error *err) {
    vl2_config_field_group root = {object, name};
    VL2_TRY(check_model(&root, err));
    out->has_vision = true;
    VL2_TRY(read_top(out, &root, err));
    return read_parts(out, &root, err);
}

/* ---- processor_config.json -------------------------------------------------------------------- */

/* The unfold's ratio, or what the token layout must have where there is none. */
static size_t layout_ratio(const vl2_projector_config *projector) {
    return projector->token_pooling ? 2 : projector->ratio;
}

static vl2_status parse_processor(vl2_config *out, const vl2_json *object, const char *name,
                                  vl2_error *err) {
    vl2_config_field_group root = {object, name};
    size_t patch, ratio;
    if (vl2_json_kind_of(object) != VL2_JSON_OBJECT)
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: no JSON object", name);
    VL2_TRY(vl2_config_processor_read(&out->image, &patch, &ratio, &root, err));
    if (out->image.side != out->vision.side)
        return vl2_config_field_fail(
            &root, "candidate_resolutions", VL2_ERR_FORMAT, err,
            "views of %zu pixels, expected %zu, vision_config's image_size", out->image.side,
            out->vision.side);
    if (patch != out->vision.patch)
        return vl2_config_field_fail(&root, "patch_size", VL2_ERR_FORMAT, err,
                                     "%zu, expected %zu, as in vision_config", patch,
                                     out->vision.patch);
    if (ratio != layout_ratio(&out->projector))
        return vl2_config_field_fail(&root, "downsample_ratio", VL2_ERR_FORMAT, err,
                                     "%zu, expected %zu, as in projector_config", ratio,
                                     layout_ratio(&out->projector));
    return VL2_OK;
}

/* ---- both ------------------------------------------------------------------------------------- */

vl2_status vl2_config_parse(vl2_config *out, const char *config, size_t config_size,
                            const char *config_name, const char *processor, size_t processor_size,
                            const char *processor_name, vl2_error *err) {
    vl2_json_doc *model = NULL, *views = NULL;
    vl2_config read = {0};
    vl2_status status;
    VL2_GOTO(done, status, vl2_json_parse(&model, config, config_size, config_name, err));
    VL2_GOTO(done, status, parse_model(&read, vl2_json_root(model), config_name, err));
    VL2_GOTO(done, status, vl2_json_parse(&views, processor, processor_size, processor_name, err));
    VL2_GOTO(done, status, parse_processor(&read, vl2_json_root(views), processor_name, err));
    *out = read;
done:
    vl2_json_free(model);
    vl2_json_free(views);
    return status;
}

vl2_status vl2_config_language_parse(vl2_language_config *out, const char *text, size_t size,
                                     const char *name, vl2_error *err) {
    vl2_json_doc *doc;
    vl2_language_config read = {0};
    VL2_TRY(vl2_json_parse(&doc, text, size, name, err));
    const vl2_config_field_group group = {vl2_json_root(doc), name};
    vl2_status status = vl2_config_language_read(&read, &group, err);
    vl2_json_free(doc);
    if (status == VL2_OK) *out = read;
    return status;
}

/* The two documents are read one after the other: a model that is refused need not have both. */
static vl2_status read_both(vl2_config *read, const char *config, const char *processor,
                            vl2_error *err) {
    vl2_json_doc *doc;
    VL2_TRY(vl2_json_read(&doc, config, MAX_CONFIG_BYTES, err));
    vl2_status status = parse_model(read, vl2_json_root(doc), config, err);
    vl2_json_free(doc);
    if (status != VL2_OK) return status;
    VL2_TRY(vl2_json_read(&doc, processor, MAX_CONFIG_BYTES, err));
    status = parse_processor(read, vl2_json_root(doc), processor, err);
    vl2_json_free(doc);
    return status;
}

vl2_status vl2_config_read(vl2_config *out, const char *folder, vl2_error *err) {
    char *config = NULL, *processor = NULL;
    vl2_config read = {0};
    vl2_status status;
    VL2_GOTO(done, status, vl2_path_join(&config, folder, "config.json", err));
    VL2_GOTO(done, status, vl2_path_join(&processor, folder, "processor_config.json", err));
    VL2_GOTO(done, status, read_both(&read, config, processor, err));
    *out = read;
done:
    vl2_mem_free(config);
    vl2_mem_free(processor);
    return status;
}

/* ---- questions -------------------------------------------------------------------------------- */

bool vl2_config_is_moe(const vl2_language_config *lang, size_t layer) {
    return lang->experts > 0 && layer >= lang->first_dense && layer % lang->moe_freq == 0;
}

size_t vl2_config_kv_width(const vl2_language_config *lang) {
    return lang->use_mla ? lang->kv_lora + lang->rope_dim : 2 * lang->kv_heads * lang->head_dim;
}

size_t vl2_config_image_tokens(const vl2_config *config, size_t tiles_wide, size_t tiles_high) {
    size_t g = config->projector.grid;
    return g * (g + 1) + 1 + tiles_high * g * (tiles_wide * g + 1);
}
