"""The shape of the demo checkpoint, in one place."""

from __future__ import annotations

SIDE = 98
PATCH = 14
GRID = SIDE // PATCH
CANDIDATES = [[SIDE * w, SIDE * h] for w, h in
              [(1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (4, 1), (1, 4), (6, 1), (1, 6)]]
MEAN = [0.5, 0.5, 0.5]

VISION = {"image_size": SIDE, "patch_size": PATCH, "width": 256, "layers": 4, "heads": 8, "mlp_ratio": 4.0}
PROJECTOR = {"projector_type": "downsample_mlp_gelu", "input_dim": VISION["width"], "n_embed": 256, "depth": 2,
             "mlp_ratio": 1, "downsample_ratio": 2}
LANGUAGE = {
    "hidden_size": 256, "intermediate_size": 768, "moe_intermediate_size": 256, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 8, "n_shared_experts": 1, "n_routed_experts": 8,
    "num_experts_per_tok": 2, "first_k_dense_replace": 1, "moe_layer_freq": 1, "kv_lora_rank": 128,
    "q_lora_rank": None, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
    "topk_method": "noaux_tc", "n_group": 1, "topk_group": 1, "scoring_func": "sigmoid", "norm_topk_prob": True,
    "routed_scaling_factor": 1.0, "max_position_embeddings": 4096, "rope_theta": 10000.0,
}
