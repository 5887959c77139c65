#include "model/gguf_config.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

/* ---- keys of a language model -> the fields of a language_config -------------------------------- */

typedef enum kind { SIZE, REAL, FLAG } kind;

typedef struct line {
    const char *key; /* behind "<architecture>." */
    const char *field;
    kind kind;
} line;

static const line LINES[] = {
    {"embedding_length", "hidden_size", SIZE},
    {"block_count", "num_hidden_layers", SIZE},
    {"feed_forward_length", "intermediate_size", SIZE},
    {"context_length", "max_position_embeddings", SIZE},
    {"attention.head_count", "num_attention_heads", SIZE},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", REAL},
    {"rope.freq_base", "rope_theta", REAL},
    {"leading_dense_block_count", "first_k_dense_replace", SIZE},
    {"expert_count", "n_routed_experts", SIZE},
    {"expert_used_count", "num_experts_per_tok", SIZE},
    {"expert_feed_forward_length", "moe_intermediate_size", SIZE},
    {"expert_shared_count", "n_shared_experts", SIZE},
    {"expert_weights_norm", "norm_topk_prob", FLAG},
};
enum { N_LINES = sizeof LINES / sizeof *LINES, KEY_SIZE = 128 };

typedef struct reading {
    const vl2_checkpoint *checkpoint;
    const vl2_gguf *keys;
    char arch[32];
    vl2_buf json;
    vl2_error *err;
} reading;

static const char *key_of(char out[KEY_SIZE], const reading *r, const char *key) {
    snprintf(out, KEY_SIZE, "%s.%s", r->arch, key);
    return out;
}

static vl2_status size_of(size_t *out, const reading *r, const char *key, size_t absent) {
    char name[KEY_SIZE];
    return vl2_gguf_size(out, r->keys, key_of(name, r, key), absent, r->err);
}

static vl2_status add_line(reading *r, const line *l) {
    char name[KEY_SIZE];
    size_t size;
    double real;
    bool flag;
    if (!vl2_gguf_find(r->keys, key_of(name, r, l->key))) return VL2_OK;
    switch (l->kind) {
    case SIZE:
        VL2_TRY(vl2_gguf_size(&size, r->keys, name, 0, r->err));
        return vl2_buf_addf(&r->json, r->err, "\"%s\": %zu, ", l->field, size);
    case REAL:
        VL2_TRY(vl2_gguf_real(&real, r->keys, name, 0, r->err));
        return vl2_buf_addf(&r->json, r->err, "\"%s\": %.9g, ", l->field, real);
    case FLAG:
        VL2_TRY(vl2_gguf_flag(&flag, r->keys, name, false, r->err));
        return vl2_buf_addf(&r->json, r->err, "\"%s\": %s, ", l->field, flag ? "true" : "false");
    }
    return VL2_OK;
}

/* The rows of the embedding are the vocabulary, whatever a key says of it. */
static vl2_status add_vocabulary(reading *r) {
    const vl2_tensor *t = vl2_checkpoint_find(r->checkpoint, "token_embd.weight");
    if (!t || t->rank != 2)
        return vl2_fail(r->err, VL2_ERR_FORMAT, "%s: tensor token_embd.weight is missing",
                        r->keys->file);
    bool tied = !vl2_checkpoint_find(r->checkpoint, "output.weight");
    bool bias = vl2_checkpoint_find(r->checkpoint, "blk.0.attn_output.bias") != NULL;
    return vl2_buf_addf(
        &r->json, r->err,
        "\"vocab_size\": %zu, \"tie_word_embeddings\": %s, \"attention_bias\": %s, ", t->shape[0],
        tied ? "true" : "false", bias ? "true" : "false");
}

/* MLA's widths: with the _mla keys, the plain ones are those of the compressed keys and values. */
static vl2_status add_mla(reading *r) {
    size_t key, value, rope, low, q_low;
    VL2_TRY(size_of(&key, r, "attention.key_length", 192));
    VL2_TRY(size_of(&value, r, "attention.value_length", 128));
    VL2_TRY(size_of(&key, r, "attention.key_length_mla", key));
    VL2_TRY(size_of(&value, r, "attention.value_length_mla", value));
    VL2_TRY(size_of(&rope, r, "rope.dimension_count", 64));
    VL2_TRY(size_of(&low, r, "attention.kv_lora_rank", 512));
    VL2_TRY(size_of(&q_low, r, "attention.q_lora_rank", 0));
    if (rope >= key)
        return vl2_fail(
            r->err, VL2_ERR_FORMAT,
            "%s: %s.rope.dimension_count is %zu, expected less than the key's length %zu",
            r->keys->file, r->arch, rope, key);
    VL2_TRY(vl2_buf_addf(&r->json, r->err,
                         "\"use_mla\": true, \"kv_lora_rank\": %zu, \"qk_nope_head_dim\": %zu, "
                         "\"qk_rope_head_dim\": %zu, \"v_head_dim\": %zu, ",
                         low, key - rope, rope, value));
    if (q_low) return vl2_buf_addf(&r->json, r->err, "\"q_lora_rank\": %zu, ", q_low);
    return vl2_buf_addf(&r->json, r->err, "\"q_lora_rank\": null, ");
}

static vl2_status add_mha(reading *r) {
    size_t heads;
    VL2_TRY(size_of(&heads, r, "attention.head_count", 1));
    VL2_TRY(size_of(&heads, r, "attention.head_count_kv", heads));
    return vl2_buf_addf(&r->json, r->err, "\"use_mla\": false, \"num_key_value_heads\": %zu, ",
                        heads);
}

/* Sigmoid scores come with a bias tensor and groups; softmax without. */
static vl2_status add_router(reading *r) {
    size_t gating, groups, top;
    double scale;
    char name[KEY_SIZE];
    VL2_TRY(size_of(&gating, r, "expert_gating_func", 1));
    VL2_TRY(size_of(&groups, r, "expert_group_count", 1));
    VL2_TRY(size_of(&top, r, "expert_group_used_count", 1));
    VL2_TRY(vl2_gguf_real(&scale, r->keys, key_of(name, r, "expert_weights_scale"), 1, r->err));
    if (gating != 1 && gating != 2)
        return vl2_fail(r->err, VL2_ERR_UNSUPPORTED,
                        "%s: %s.expert_gating_func is %zu, expected 1 (softmax) or 2 (sigmoid)",
                        r->keys->file, r->arch, gating);
    const char *method =
        gating == 2 ? "noaux_tc" : (groups > 1 ? "group_limited_greedy" : "greedy");
    return vl2_buf_addf(&r->json, r->err,
                        "\"scoring_func\": \"%s\", \"topk_method\": \"%s\", \"n_group\": %zu, "
                        "\"topk_group\": %zu, \"routed_scaling_factor\": %.9g, ",
                        gating == 2 ? "sigmoid" : "softmax", method, groups, top,
                        scale == 0 ? 1 : scale);
}

static vl2_status add_rope_scaling(reading *r) {
    const char *type;
    size_t size, original;
    double factor, mscale;
    char name[KEY_SIZE];
    VL2_TRY(vl2_gguf_text(&type, &size, r->keys, key_of(name, r, "rope.scaling.type"), r->err));
    if (!type || (size == 4 && memcmp(type, "none", 4) == 0)) return VL2_OK;
    VL2_TRY(vl2_gguf_real(&factor, r->keys, key_of(name, r, "rope.scaling.factor"), 1, r->err));
    VL2_TRY(size_of(&original, r, "rope.scaling.original_context_length", 4096));
    VL2_TRY(vl2_gguf_real(&mscale, r->keys, key_of(name, r, "rope.scaling.yarn_log_multiplier"), 0,
                          r->err));
    VL2_TRY(vl2_buf_addf(&r->json, r->err, "\"rope_scaling\": {\"type\": "));
    VL2_TRY(vl2_json_quote(&r->json, type, size, r->err));
    return vl2_buf_addf(&r->json, r->err,
                        ", \"factor\": %.9g, \"original_max_position_embeddings\": %zu, "
                        "\"mscale\": %.9g, \"mscale_all_dim\": %.9g}, ",
                        factor, original, mscale * 10, mscale * 10);
}

static vl2_status add_fields(reading *r) {
    bool mla = strcmp(r->arch, "deepseek2") == 0;
    size_t experts;
    VL2_TRY(vl2_buf_addf(&r->json, r->err, "{"));
    for (int i = 0; i < N_LINES; i++) VL2_TRY(add_line(r, &LINES[i]));
    VL2_TRY(add_vocabulary(r));
    VL2_TRY(mla ? add_mla(r) : add_mha(r));
    VL2_TRY(size_of(&experts, r, "expert_count", 0));
    if (experts) VL2_TRY(add_router(r));
    VL2_TRY(add_rope_scaling(r));
    return vl2_buf_addf(&r->json, r->err, "\"hidden_act\": \"silu\"}");
}

static vl2_status read_language(vl2_language_config *out, reading *r) {
    VL2_TRY(add_fields(r));
    VL2_TRY(vl2_config_language_parse(out, r->json.data, r->json.size, r->keys->file, r->err));
    out->interleaved = strcmp(r->arch, "deepseek") == 0;
    return VL2_OK;
}

static vl2_status read_architecture(reading *r) {
    static const char *const known[] = {"deepseek2", "deepseek2-ocr", "deepseek"};
    const char *text;
    size_t size;
    VL2_TRY(vl2_gguf_text(&text, &size, r->keys, "general.architecture", r->err));
    for (size_t i = 0; text && i < sizeof known / sizeof *known; i++) {
        if (size != strlen(known[i]) || memcmp(text, known[i], size) != 0) continue;
        snprintf(r->arch, sizeof r->arch, "%s", known[i]);
        return VL2_OK;
    }
    if (text && size == 4 && memcmp(text, "clip", 4) == 0)
        return vl2_fail(
            r->err, VL2_ERR_UNSUPPORTED,
            "%s holds a vision half alone; give the language half as the model and this "
            "file with --mmproj",
            r->keys->file);
    return vl2_fail(r->err, VL2_ERR_UNSUPPORTED,
                    "%s: general.architecture is \"%.*s\", expected deepseek2, deepseek2-ocr or "
                    "deepseek",
                    r->keys->file, (int)(size < 40 ? size : 40), text ? text : "");
}

/* ---- all of it --------------------------------------------------------------------------------- */

/* The published texts; *found is false where the file has none. */
static vl2_status read_texts(vl2_config *out, bool *found, const vl2_gguf *keys, vl2_error *err) {
    const char *config, *processor;
    size_t config_size, processor_size;
    VL2_TRY(vl2_gguf_text(&config, &config_size, keys, "vl2.config", err));
    VL2_TRY(vl2_gguf_text(&processor, &processor_size, keys, "vl2.processor_config", err));
    *found = config && processor;
    if (!*found) return VL2_OK;
    return vl2_config_parse(out, config, config_size, keys->file, processor, processor_size,
                            keys->file, err);
}

/* Vision, projector and pictures of another file, for this language model. */
static vl2_status add_vision_half(vl2_config *config, const vl2_gguf *keys, vl2_error *err) {
    vl2_config half;
    bool found;
    VL2_TRY(read_texts(&half, &found, keys, err));
    if (!found)
        return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                        "%s: no key vl2.config: this is no vision half that `vl2 quantize` wrote",
                        keys->file);
    if (half.projector.output != config->lang.hidden)
        return vl2_fail(
            err, VL2_ERR_FORMAT,
            "%s gives rows of %zu numbers, expected %zu, the width of the language model",
            keys->file, half.projector.output, config->lang.hidden);
    half.lang = config->lang;
    *config = half;
    return VL2_OK;
}

vl2_status vl2_gguf_config_read(vl2_config *out, const vl2_checkpoint *checkpoint, vl2_error *err) {
    const vl2_gguf *mmproj = vl2_checkpoint_mmproj_keys(checkpoint);
    reading r = {.checkpoint = checkpoint, .keys = vl2_checkpoint_keys(checkpoint), .err = err};
    vl2_config config = {0};
    bool found;
    VL2_TRY(read_architecture(&r));
    VL2_TRY(read_texts(&config, &found, r.keys, err));
    vl2_status status = found ? VL2_OK : read_language(&config.lang, &r);
    vl2_buf_free(&r.json);
    VL2_TRY(status);
    if (mmproj) VL2_TRY(add_vision_half(&config, mmproj, err));
    config.has_vision = vl2_checkpoint_find(checkpoint, "v.patch_embd.weight") != NULL;
    *out = config;
    return VL2_OK;
}

/* ---- a configuration -> keys ------------------------------------------------------------------- */

const char *vl2_gguf_config_architecture(const vl2_language_config *lang) {
    if (lang->use_mla) return "deepseek2";
    return lang->interleaved ? "deepseek" : "deepseek2-ocr";
}

typedef struct writing {
    vl2_gguf_out *out;
    const char *arch;
    vl2_error *err;
} writing;

static vl2_status put(const writing *w, const char *key, size_t value) {
    char name[KEY_SIZE];
    snprintf(name, sizeof name, "%s.%s", w->arch, key);
    return vl2_gguf_add_u32(w->out, name, (uint32_t)value, w->err);
}

static vl2_status put_real(const writing *w, const char *key, double value) {
    char name[KEY_SIZE];
    snprintf(name, sizeof name, "%s.%s", w->arch, key);
    return vl2_gguf_add_f32(w->out, name, (float)value, w->err);
}

static vl2_status put_attention(const writing *w, const vl2_language_config *l) {
    VL2_TRY(put(w, "attention.head_count", l->heads));
    VL2_TRY(put_real(w, "attention.layer_norm_rms_epsilon", l->rms_eps));
    VL2_TRY(put_real(w, "rope.freq_base", l->rope.theta));
    if (!l->use_mla) {
        VL2_TRY(put(w, "attention.head_count_kv", l->kv_heads));
        return put(w, "rope.dimension_count", l->head_dim);
    }
    VL2_TRY(put(w, "attention.head_count_kv", 1)); /* all heads read the same compressed keys */
    if (l->q_lora) VL2_TRY(put(w, "attention.q_lora_rank", l->q_lora));
    VL2_TRY(put(w, "attention.kv_lora_rank", l->kv_lora));
    VL2_TRY(put(w, "attention.key_length", l->kv_lora + l->rope_dim));
    VL2_TRY(put(w, "attention.value_length", l->kv_lora));
    VL2_TRY(put(w, "attention.key_length_mla", l->nope_dim + l->rope_dim));
    VL2_TRY(put(w, "attention.value_length_mla", l->v_dim));
    return put(w, "rope.dimension_count", l->rope_dim);
}

static vl2_status put_experts(const writing *w, const vl2_language_config *l) {
    char name[KEY_SIZE];
    VL2_TRY(put(w, "leading_dense_block_count", l->first_dense));
    VL2_TRY(put(w, "expert_count", l->experts));
    VL2_TRY(put(w, "expert_used_count", l->experts_per_token));
    VL2_TRY(put(w, "expert_feed_forward_length", l->expert_width));
    VL2_TRY(put(w, "expert_shared_count", l->shared_width / l->expert_width));
    VL2_TRY(put_real(w, "expert_weights_scale", l->routed_scale));
    VL2_TRY(put(w, "expert_gating_func", l->scoring == VL2_SCORING_SIGMOID ? 2 : 1));
    if (l->groups > 1) {
        VL2_TRY(put(w, "expert_group_count", l->groups));
        VL2_TRY(put(w, "expert_group_used_count", l->top_groups));
    }
    snprintf(name, sizeof name, "%s.expert_weights_norm", w->arch);
    return vl2_gguf_add_bool(w->out, name, l->norm_topk, w->err);
}

static vl2_status put_yarn(const writing *w, const vl2_rope_config *rope) {
    char name[KEY_SIZE];
    if (rope->type != VL2_ROPE_YARN && rope->type != VL2_ROPE_LINEAR) return VL2_OK;
    snprintf(name, sizeof name, "%s.rope.scaling.type", w->arch);
    const char *type = rope->type == VL2_ROPE_YARN ? "yarn" : "linear";
    VL2_TRY(vl2_gguf_add_text(w->out, name, type, strlen(type), w->err));
    VL2_TRY(put_real(w, "rope.scaling.factor", rope->factor));
    if (rope->type == VL2_ROPE_LINEAR) return VL2_OK;
    VL2_TRY(put(w, "rope.scaling.original_context_length", (size_t)rope->yarn_original));
    return put_real(w, "rope.scaling.yarn_log_multiplier", 0.1 * rope->yarn_mscale_all_dim);
}

vl2_status vl2_gguf_config_add_language(vl2_gguf_out *out, const vl2_language_config *lang,
                                        vl2_error *err) {
    const writing w = {out, vl2_gguf_config_architecture(lang), err};
    VL2_TRY(put(&w, "vocab_size", lang->vocab));
    VL2_TRY(put(&w, "context_length", lang->max_positions));
    VL2_TRY(put(&w, "embedding_length", lang->hidden));
    VL2_TRY(put(&w, "block_count", lang->layers));
    VL2_TRY(put(&w, "feed_forward_length", lang->dense_width));
    VL2_TRY(put_attention(&w, lang));
    VL2_TRY(put_yarn(&w, &lang->rope));
    return lang->experts ? put_experts(&w, lang) : VL2_OK;
}

static vl2_status put_floats(vl2_gguf_out *out, const char *key, const float values[3],
                             vl2_error *err) {
    VL2_TRY(vl2_gguf_add_array(out, key, VL2_GGUF_F32, 3, err));
    for (int i = 0; i < 3; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        const uint8_t bytes[4] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                                  (uint8_t)(bits >> 24)};
        VL2_TRY(vl2_buf_add(&out->keys, bytes, sizeof bytes, err));
    }
    return VL2_OK;
}

static vl2_status put_grid(vl2_gguf_out *out, const vl2_image_config *image, vl2_error *err) {
    VL2_TRY(vl2_gguf_add_array(out, "clip.vision.image_grid_pinpoints", VL2_GGUF_I32,
                               2 * image->n_candidates, err));
    for (size_t i = 0; i < 2 * image->n_candidates; i++) {
        const vl2_resolution *r = &image->candidates[i / 2];
        const uint32_t side = (uint32_t)(i % 2 ? r->height : r->width);
        const uint8_t bytes[4] = {(uint8_t)side, (uint8_t)(side >> 8), (uint8_t)(side >> 16),
                                  (uint8_t)(side >> 24)};
        VL2_TRY(vl2_buf_add(&out->keys, bytes, sizeof bytes, err));
    }
    return VL2_OK;
}

vl2_status vl2_gguf_config_add_vision(vl2_gguf_out *out, const vl2_config *config, vl2_error *err) {
    static const char type[] = "deepseek_vl2";
    const vl2_vision_config *v = &config->vision;
    const writing w = {out, "clip", err};
    VL2_TRY(vl2_gguf_add_text(out, "clip.projector_type", type, sizeof type - 1, err));
    VL2_TRY(vl2_gguf_add_bool(out, "clip.has_vision_encoder", true, err));
    VL2_TRY(vl2_gguf_add_bool(out, "clip.use_gelu", true, err));
    VL2_TRY(put(&w, "vision.image_size", v->side));
    VL2_TRY(put(&w, "vision.patch_size", v->patch));
    VL2_TRY(put(&w, "vision.embedding_length", v->width));
    VL2_TRY(put(&w, "vision.feed_forward_length", v->mlp_width));
    VL2_TRY(put(&w, "vision.block_count", v->layers));
    VL2_TRY(put(&w, "vision.projection_dim", config->projector.output));
    VL2_TRY(put(&w, "vision.attention.head_count", v->heads));
    VL2_TRY(put_real(&w, "vision.attention.layer_norm_epsilon", 1e-6));
    VL2_TRY(put(&w, "vision.projector.scale_factor", config->projector.ratio));
    VL2_TRY(put_floats(out, "clip.vision.image_mean", config->image.mean, err));
    VL2_TRY(put_floats(out, "clip.vision.image_std", config->image.std, err));
    return put_grid(out, &config->image, err);
}
