#include "model/config_parts.h"

#include <stddef.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const vl2_config_field_size sizes[] = {
    {"vocab_size", offsetof(vl2_language_config, vocab), 102400, 1, VL2_MAX_VOCAB},
    {"hidden_size", offsetof(vl2_language_config, hidden), 4096, 1, VL2_MAX_WIDTH},
    {"intermediate_size", offsetof(vl2_language_config, dense_width), 11008, 1, VL2_MAX_WIDTH},
    {"num_hidden_layers", offsetof(vl2_language_config, layers), 30, 1, VL2_MAX_LAYERS},
    {"num_attention_heads", offsetof(vl2_language_config, heads), 32, 1, VL2_MAX_HEADS},
    {"max_position_embeddings", offsetof(vl2_language_config, max_positions), 2048, 1,
     VL2_MAX_POSITIONS},
    {"first_k_dense_replace", offsetof(vl2_language_config, first_dense), 0, 0, VL2_MAX_LAYERS},
    {"moe_layer_freq", offsetof(vl2_language_config, moe_freq), 1, 1, VL2_MAX_LAYERS},
};

/* Of multi-head latent attention only: files of the other kind have null or 0 here. */
static const vl2_config_field_size mla_sizes[] = {
    {"kv_lora_rank", offsetof(vl2_language_config, kv_lora), 512, 1, VL2_MAX_WIDTH},
    {"qk_nope_head_dim", offsetof(vl2_language_config, nope_dim), 128, 1, VL2_MAX_WIDTH},
    {"qk_rope_head_dim", offsetof(vl2_language_config, rope_dim), 64, 2, VL2_MAX_WIDTH},
    {"v_head_dim", offsetof(vl2_language_config, v_dim), 128, 1, VL2_MAX_WIDTH},
};

static vl2_status read_mha(vl2_language_config *out, const vl2_config_field_group *group,
                           vl2_error *err) {
    VL2_TRY(vl2_config_field_or_null(&out->kv_heads, group, "num_key_value_heads", 32, 1,
                                     VL2_MAX_HEADS, err));
    if (out->kv_heads == 0) out->kv_heads = out->heads; /* null */
    if (out->heads % out->kv_heads != 0)
        return vl2_config_field_fail(group, "num_key_value_heads", VL2_ERR_FORMAT, err,
                                     "%zu does not divide num_attention_heads %zu", out->kv_heads,
                                     out->heads);
    out->head_dim = out->hidden / out->heads;
    if (out->hidden % out->heads != 0 || out->head_dim % 2 != 0)
        return vl2_config_field_fail(
            group, "num_attention_heads", VL2_ERR_FORMAT, err,
            "%zu, expected heads of a whole, even width in hidden_size %zu", out->heads,
            out->hidden);
    return VL2_OK;
}

static vl2_status read_mla(vl2_language_config *out, const vl2_config_field_group *group,
                           vl2_error *err) {
    VL2_TRY(vl2_config_field_sizes(out, group, mla_sizes, COUNT(mla_sizes), err));
    VL2_TRY(
        vl2_config_field_or_null(&out->q_lora, group, "q_lora_rank", 1536, 1, VL2_MAX_WIDTH, err));
    out->kv_heads = out->heads; /* num_key_value_heads plays no part */
    if (out->rope_dim % 2 != 0)
        return vl2_config_field_fail(group, "qk_rope_head_dim", VL2_ERR_FORMAT, err,
                                     "%zu, expected an even number", out->rope_dim);
    size_t widest = out->nope_dim + (out->v_dim > out->rope_dim ? out->v_dim : out->rope_dim);
    if (widest > VL2_MAX_WIDTH / out->heads)
        return vl2_config_field_fail(group, "num_attention_heads", VL2_ERR_UNSUPPORTED, err,
                                     "%zu heads of %zu numbers, expected up to %d together",
                                     out->heads, widest, VL2_MAX_WIDTH);
    return VL2_OK;
}

static vl2_status read_attention(vl2_language_config *out, const vl2_config_field_group *group,
                                 vl2_error *err) {
    VL2_TRY(vl2_config_field_flag(&out->use_mla, group, "use_mla", true, err));
    VL2_TRY(vl2_config_field_flag(&out->attention_bias, group, "attention_bias", false, err));
    VL2_TRY(out->use_mla ? read_mla(out, group, err) : read_mha(out, group, err));
    return vl2_config_rope_read(out, group, err);
}

/* A router that chooses among groups: their number, and how many stay. */
static vl2_status read_groups(vl2_language_config *out, const vl2_config_field_group *group,
                              vl2_error *err) {
    size_t min_group = out->router == VL2_ROUTER_NOAUX_TC ? 2 : 1; /* it adds a group's two best */
    const char *needed = "a whole number, for this topk_method";
    if (!vl2_json_get(group->object, "n_group"))
        return vl2_json_fail(group->object, group->where, "n_group", needed, err);
    if (!vl2_json_get(group->object, "topk_group"))
        return vl2_json_fail(group->object, group->where, "topk_group", needed, err);
    VL2_TRY(vl2_config_field_one(&out->groups, group, "n_group", 0, 1, out->experts, err));
    VL2_TRY(vl2_config_field_one(&out->top_groups, group, "topk_group", 0, 1, out->groups, err));
    if (out->experts % out->groups != 0 || out->experts / out->groups < min_group)
        return vl2_config_field_fail(group, "n_group", VL2_ERR_FORMAT, err,
                                     "%zu groups of n_routed_experts %zu, expected equal groups of "
                                     "at least %zu",
                                     out->groups, out->experts, min_group);
    size_t kept = out->experts / out->groups * out->top_groups;
    if (out->experts_per_token > kept)
        return vl2_config_field_fail(group, "num_experts_per_tok", VL2_ERR_FORMAT, err,
                                     "%zu, but the groups kept have only %zu experts",
                                     out->experts_per_token, kept);
    return VL2_OK;
}

static vl2_status read_router(vl2_language_config *out, const vl2_config_field_group *group,
                              vl2_error *err) {
    static const vl2_config_field_word methods[] = {
        {"greedy", VL2_ROUTER_GREEDY},
        {"group_limited_greedy", VL2_ROUTER_GROUP_LIMITED},
        {"noaux_tc", VL2_ROUTER_NOAUX_TC},
    };
    static const vl2_config_field_word scorings[] = {{"softmax", VL2_SCORING_SOFTMAX},
                                                     {"sigmoid", VL2_SCORING_SIGMOID}};
    int method, scoring;
    VL2_TRY(
        vl2_config_field_choice(&method, group, "topk_method", NULL, methods, COUNT(methods), err));
    VL2_TRY(vl2_config_field_choice(&scoring, group, "scoring_func", "softmax", scorings,
                                    COUNT(scorings), err));
    VL2_TRY(vl2_config_field_flag(&out->norm_topk, group, "norm_topk_prob", false, err));
    VL2_TRY(vl2_config_field_real(&out->routed_scale, group, "routed_scaling_factor", 1, -1e6, 1e6,
                                  err));
    out->router = (vl2_router_method)method;
    out->scoring = (vl2_scoring)scoring;
    if (out->router == VL2_ROUTER_GREEDY) return VL2_OK;
    return read_groups(out, group, err);
}

static vl2_status read_experts(vl2_language_config *out, const vl2_config_field_group *group,
                               vl2_error *err) {
    size_t shared;
    if (!vl2_json_get(group->object, "num_experts_per_tok"))
        return vl2_json_fail(group->object, group->where, "num_experts_per_tok",
                             "a whole number, since n_routed_experts is set", err);
    VL2_TRY(vl2_config_field_one(&out->experts_per_token, group, "num_experts_per_tok", 0, 1,
                                 out->experts, err));
    VL2_TRY(vl2_config_field_one(&out->expert_width, group, "moe_intermediate_size", 1407, 1,
                                 VL2_MAX_WIDTH, err));
    VL2_TRY(
        vl2_config_field_or_null(&shared, group, "n_shared_experts", 0, 0, VL2_MAX_EXPERTS, err));
    out->shared_width = shared * out->expert_width;
    if (out->shared_width > VL2_MAX_WIDTH)
        return vl2_config_field_fail(group, "n_shared_experts", VL2_ERR_UNSUPPORTED, err,
                                     "%zu of width %zu, expected up to %d together", shared,
                                     out->expert_width, VL2_MAX_WIDTH);
    size_t ranks; /* of a program spread over several machines; more than one never loads in one */
    VL2_TRY(vl2_config_field_one(&ranks, group, "ep_size", 1, 0, 1, err));
    return read_router(out, group, err);
}

static bool any_moe(const vl2_language_config *lang) {
    for (size_t i = 0; i < lang->layers; i++) {
        if (vl2_config_is_moe(lang, i)) return true;
    }
    return false;
}

static vl2_status read_moe(vl2_language_config *out, const vl2_config_field_group *group,
                           vl2_error *err) {
    VL2_TRY(vl2_config_field_or_null(&out->experts, group, "n_routed_experts", 0, 1,
                                     VL2_MAX_EXPERTS, err));
    if (out->experts && any_moe(out)) return read_experts(out, group, err);
    out->experts = 0; /* no layer has experts, and no field of theirs counts */
    return VL2_OK;
}

vl2_status vl2_config_language_read(vl2_language_config *out, const vl2_config_field_group *group,
                                    vl2_error *err) {
    static const vl2_config_field_word activations[] = {
        {"silu", VL2_ACT_SILU},          {"swish", VL2_ACT_SILU},
        {"gelu", VL2_ACT_GELU_ERF},      {"gelu_pytorch_tanh", VL2_ACT_GELU_TANH},
        {"gelu_new", VL2_ACT_GELU_TANH}, {"relu", VL2_ACT_RELU},
    };
    int act;
    VL2_TRY(vl2_config_field_sizes(out, group, sizes, COUNT(sizes), err));
    VL2_TRY(vl2_config_field_real(&out->rms_eps, group, "rms_norm_eps", 1e-6, 0, 1, err));
    VL2_TRY(vl2_config_field_flag(&out->tie_embeddings, group, "tie_word_embeddings", false, err));
    VL2_TRY(vl2_config_field_choice(&act, group, "hidden_act", "silu", activations,
                                    COUNT(activations), err));
    out->act = (vl2_activation)act;
    VL2_TRY(read_attention(out, group, err));
    return read_moe(out, group, err);
}
