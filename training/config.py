"""config.json as dataclasses, with the defaults that an absent key takes (docs/MODEL.md §2)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass
class Vision:
    image_size: int = 384
    patch_size: int = 16
    width: int = 1024
    layers: int = 24
    heads: int = 16
    mlp_ratio: float = 4.0
    class_token: bool = False
    ignore_head: bool = True
    global_pool: str = "map"

    @property
    def grid(self) -> int:
        return self.image_size // self.patch_size


@dataclass
class Projector:
    projector_type: str = "downsample_mlp_gelu"
    input_dim: int = 1152
    n_embed: int = 2048
    depth: int = 2
    mlp_ratio: float = 1
    downsample_ratio: int = 2
    token_pooling: bool = False


@dataclass
class Language:
    vocab_size: int = 102400
    hidden_size: int = 4096
    intermediate_size: int = 11008
    moe_intermediate_size: int = 1407
    num_hidden_layers: int = 30
    num_attention_heads: int = 32
    num_key_value_heads: int | None = 32
    n_shared_experts: int | None = None
    n_routed_experts: int | None = None
    routed_scaling_factor: float = 1.0
    kv_lora_rank: int = 512
    q_lora_rank: int | None = 1536
    qk_rope_head_dim: int = 64
    v_head_dim: int = 128
    qk_nope_head_dim: int = 128
    topk_method: str = "gready"
    n_group: int | None = None
    topk_group: int | None = None
    num_experts_per_tok: int | None = None
    moe_layer_freq: int = 1
    first_k_dense_replace: int = 0
    norm_topk_prob: bool = False
    scoring_func: str = "softmax"
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    attention_bias: bool = False
    use_mla: bool = True

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    def is_moe(self, layer: int) -> bool:
        return bool(self.n_routed_experts) and layer >= self.first_k_dense_replace and layer % self.moe_layer_freq == 0


@dataclass
class Config:
    vision: Vision
    projector: Projector
    language: Language
    candidates: list[list[int]]
    image_mean: list[float] = field(default_factory=lambda: [0.5] * 3)
    image_std: list[float] = field(default_factory=lambda: [0.5] * 3)
    normalize: bool = True
    global_view_pos: str = "head"


def _take(kind: type, data: dict) -> Any:
    names = {f.name for f in fields(kind)}
    return kind(**{k: v for k, v in data.items() if k in names})


def load(folder: Path) -> Config:
    """The configuration of a checkpoint folder."""
    main = json.loads((folder / "config.json").read_text())
    processor = json.loads((folder / "processor_config.json").read_text())
    if main.get("tile_tag") != "2D":
        raise ValueError(f"tile_tag {main.get('tile_tag')!r}: only 2D is supported")
    return Config(
        _take(Vision, main["vision_config"]), _take(Projector, main["projector_config"]),
        _take(Language, main["language_config"]), processor["candidate_resolutions"],
        processor.get("image_mean", [0.5] * 3), processor.get("image_std", [0.5] * 3),
        processor.get("normalize", True), main.get("global_view_pos", "head"))
