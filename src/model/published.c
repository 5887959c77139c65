#include "model/published.h"

#include <string.h>

/* The configurations as the models' own files give them, so far as they differ from the defaults. */
#define CANDIDATES                                                                                 \
    "\"candidate_resolutions\":[[384,384],[384,768],[768,384],[384,1152],[1152,384],[384,1536],"   \
    "[1536,384],[768,768],[384,1920],[1920,384],[384,2304],[2304,384],[768,1152],[1152,768],"      \
    "[384,2688],[2688,384],[384,3072],[3072,384],[768,1536],[1536,768],[384,3456],[3456,384],"     \
    "[1152,1152]],"

/* The vision tower is the same in all three; n_embed is the language model's width. */
#define FAMILY(n_embed)                                                                            \
    "{\"model_type\":\"deepseek_vl_v2\",\"tile_tag\":\"2D\",\"global_view_pos\":\"head\","         \
    "\"vision_config\":{\"image_size\":384,\"patch_size\":14,\"width\":1152,\"layers\":27,"        \
    "\"heads\":16,\"mlp_ratio\":3.7362},"                                                          \
    "\"projector_config\":{\"input_dim\":1152,\"n_embed\":" n_embed ",\"downsample_ratio\":2},"    \
    "\"language_config\":{\"hidden_size\":" n_embed ",\"max_position_embeddings\":4096,"           \
    "\"first_k_dense_replace\":1,\"n_shared_experts\":2,\"num_experts_per_tok\":6,"

#define MLA                                                                                        \
    "\"use_mla\":true,\"q_lora_rank\":null,\"kv_lora_rank\":512,\"qk_nope_head_dim\":128,"         \
    "\"qk_rope_head_dim\":64,\"v_head_dim\":128,"

static const char processor[] =
    "{" CANDIDATES "\"patch_size\":14,\"downsample_ratio\":2,\"image_mean\":[0.5,0.5,0.5],"
    "\"image_std\":[0.5,0.5,0.5],\"normalize\":true}";

static const struct {
    const char *name, *config;
} models[] = {
    {"tiny", FAMILY("1280") "\"use_mla\":false,\"vocab_size\":129280,\"num_hidden_layers\":12,"
                            "\"num_attention_heads\":10,\"num_key_value_heads\":10,"
                            "\"intermediate_size\":6848,\"n_routed_experts\":64,"
                            "\"moe_intermediate_size\":896,\"topk_method\":\"greedy\"}}"},
    {"small", FAMILY("2048") MLA "\"vocab_size\":102400,\"num_hidden_layers\":27,"
                                 "\"num_attention_heads\":16,\"intermediate_size\":10944,"
                                 "\"n_routed_experts\":64,\"moe_intermediate_size\":1408,"
                                 "\"topk_method\":\"greedy\"}}"},
    {"base", FAMILY("2560") MLA "\"vocab_size\":129280,\"num_hidden_layers\":30,"
                                "\"num_attention_heads\":32,\"intermediate_size\":12288,"
                                "\"n_routed_experts\":72,\"moe_intermediate_size\":1536,"
                                "\"topk_method\":\"noaux_tc\",\"scoring_func\":\"sigmoid\","
                                "\"n_group\":1,\"topk_group\":1,\"norm_topk_prob\":true,"
                                "\"routed_scaling_factor\":2.0}}"},
};

vl2_status vl2_config_published(vl2_config *out, const char *name, vl2_error *err) {
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (strcmp(models[i].name, name) != 0) continue;
        return vl2_config_parse(out, models[i].config, strlen(models[i].config), models[i].name,
                                processor, sizeof processor - 1, models[i].name, err);
    }
    return vl2_fail(err, VL2_ERR_ARGUMENT,
                    "\"%.40s\" is no published model, expected tiny, small or base", name);
}
