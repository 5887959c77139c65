/* model/config.h - config.json and processor_config.json, checked: docs/MODEL.md §2.
 *
 * Absent keys have the reference classes' defaults. What this library cannot run is refused here,
 * by key; everything in a vl2_config that was read successfully can be run. */
#ifndef VL2_MODEL_CONFIG_H
#define VL2_MODEL_CONFIG_H

#include "base/err.h"

enum {
    VL2_MAX_CANDIDATES = 256, /* resolutions */
    VL2_MAX_SIDE_TILES = 64,  /* tiles of one picture along a side */
    VL2_MAX_NAME = 128
};

typedef enum vl2_router_method {
    VL2_ROUTER_GREEDY,
    VL2_ROUTER_GROUP_LIMITED,
    VL2_ROUTER_NOAUX_TC
} vl2_router_method;
typedef enum vl2_scoring { VL2_SCORING_SOFTMAX, VL2_SCORING_SIGMOID } vl2_scoring;
typedef enum vl2_rope_scaling {
    VL2_ROPE_PLAIN,
    VL2_ROPE_LINEAR,
    VL2_ROPE_DYNAMIC,
    VL2_ROPE_YARN
} vl2_rope_scaling;
typedef enum vl2_activation {
    VL2_ACT_SILU,
    VL2_ACT_GELU_ERF,
    VL2_ACT_GELU_TANH,
    VL2_ACT_RELU
} vl2_activation;
typedef enum vl2_projector_type {
    VL2_PROJECTOR_DOWNSAMPLE_MLP_GELU,
    VL2_PROJECTOR_MLP_GELU,
    VL2_PROJECTOR_LINEAR,
    VL2_PROJECTOR_IDENTITY
} vl2_projector_type;

typedef struct vl2_vision_config {
    size_t side, patch;                     /* S, P in pixels */
    size_t grid;                            /* G = S / P */
    size_t width, layers, heads, mlp_width; /* Dv, Lv, Hv, Fv = int(Dv * mlp_ratio) */
    bool final_norm;                        /* false with global_pool "avg" */
} vl2_vision_config;

typedef struct vl2_projector_config {
    vl2_projector_type type;
    size_t input, output; /* Dv, D */
    size_t linears;       /* number of Linear layers, 0 for identity */
    size_t hidden;        /* outputs of all but the last Linear */
    size_t ratio;         /* r of the unfold; 1 for the other types */
    bool token_pooling;
    size_t grid; /* projected rows a side: g */
} vl2_projector_config;

typedef struct vl2_rope_config {
    vl2_rope_scaling type;
    double theta, factor;
    double yarn_original, yarn_beta_fast, yarn_beta_slow, yarn_mscale, yarn_mscale_all_dim;
    size_t max_positions; /* of the dynamic form */
} vl2_rope_config;

typedef struct vl2_language_config {
    size_t vocab, hidden, layers, heads, kv_heads; /* V, D, L, H, Hk */
    size_t max_positions;
    double rms_eps;
    bool use_mla, attention_bias, tie_embeddings;
    bool interleaved; /* MHA: rotated pairs are neighbours, not halves of a head */
    size_t head_dim;  /* MHA: Dh = D / H */
    size_t q_lora, kv_lora, nope_dim, rope_dim, v_dim; /* MLA; q_lora 0: none */
    double softmax_scale;                              /* with yarn's mscale where it applies */
    vl2_rope_config rope;
    vl2_activation act;
    size_t dense_width; /* F */
    size_t experts, experts_per_token, expert_width,
        shared_width; /* E (0: no MoE), k, Fe, Fs (0: none) */
    size_t first_dense, moe_freq;
    vl2_router_method router;
    vl2_scoring scoring;
    size_t groups, top_groups;
    bool norm_topk;
    double routed_scale;
} vl2_language_config;

typedef struct vl2_resolution {
    size_t width, height;
} vl2_resolution;

typedef struct vl2_image_config { /* of processor_config.json */
    vl2_resolution candidates[VL2_MAX_CANDIDATES];
    size_t n_candidates;
    size_t side; /* S = candidates[0].width */
    float mean[3], std[3];
    bool normalize;
    bool global_first;                                       /* global_view_pos "head" */
    char image_token[VL2_MAX_NAME], pad_token[VL2_MAX_NAME]; /* pad "" = the file names none */
} vl2_image_config;

typedef struct vl2_config {
    bool has_vision; /* false: a language model alone, whose other parts below are empty */
    vl2_vision_config vision;
    vl2_projector_config projector;
    vl2_language_config lang;
    vl2_image_config image;
} vl2_config;

/* Reads folder/config.json and folder/processor_config.json. */
vl2_status vl2_config_read(vl2_config *out, const char *folder, vl2_error *err);
/* The same from texts; names lead the messages. */
vl2_status vl2_config_parse(vl2_config *out, const char *config, size_t config_size,
                            const char *config_name, const char *processor, size_t processor_size,
                            const char *processor_name, vl2_error *err);
/* The text of a language_config alone. */
vl2_status vl2_config_language_parse(vl2_language_config *out, const char *text, size_t size,
                                     const char *name, vl2_error *err);
bool vl2_config_is_moe(const vl2_language_config *lang, size_t layer);
/* KV values of a token and layer: MLA C + Dr, MHA 2 * Hk * Dh. */
size_t vl2_config_kv_width(const vl2_language_config *lang);
/* Tokens of a picture with tw x th local tiles: g*(g+1) + 1 + th*g*(tw*g+1). */
size_t vl2_config_image_tokens(const vl2_config *config, size_t tiles_wide, size_t tiles_high);

#endif
