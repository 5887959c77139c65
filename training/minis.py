"""Random checkpoints in miniature, of configurations that are rare, with what the model computes on them.

    python -m training.minis tests/golden-extra
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from . import config, golden, model, talk, tokenizer
from .scenes import render, world

LANGUAGE = {"hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 8, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 4, "n_shared_experts": 1, "n_routed_experts": 8,
            "num_experts_per_tok": 2, "first_k_dense_replace": 1, "kv_lora_rank": 16, "q_lora_rank": None,
            "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "topk_method": "greedy",
            "scoring_func": "softmax", "max_position_embeddings": 2048, "vocab_size": 272,
            "bos_token_id": 0, "eos_token_id": 1}
VISION = {"image_size": 42, "patch_size": 14, "width": 16, "layers": 2, "heads": 2, "mlp_ratio": 1.5}
PROJECTOR = {"projector_type": "downsample_mlp_gelu", "input_dim": 16, "n_embed": 32, "depth": 2, "mlp_ratio": 1,
             "downsample_ratio": 2}
MINIS: dict[str, dict] = {
    "qlora-linear-f32": {"language": {"q_lora_rank": 12, "n_routed_experts": 4, "rope_scaling": {"type": "linear", "factor": 4.0}},
                         "type": torch.float32},
    "group-limited-f16": {"language": {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2,
                                       "routed_scaling_factor": 2.5, "attention_bias": True}, "type": torch.float16},
    "noaux-groups-yarn": {"language": {
        "topk_method": "noaux_tc", "scoring_func": "sigmoid", "n_group": 4, "topk_group": 2, "norm_topk_prob": True,
        "rope_scaling": {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "mscale": 0.7,
                         "mscale_all_dim": 1.0}}},
    "identity-projector": {"vision": {"width": 32, "heads": 4, "image_size": 28},
                           "projector": {"projector_type": "identity", "input_dim": 32, "downsample_ratio": 1}},
    "linear-token-pooling": {"vision": {"image_size": 56}, "projector": {"projector_type": "linear", "token_pooling": True}},
    "mlp-gelu-uneven-side": {"vision": {"image_size": 45},
                             "projector": {"projector_type": "mlp_gelu", "depth": 3, "downsample_ratio": 1},
                             "tail": True},
    "tied-grouped-dynamic": {"language": {
        "use_mla": False, "num_key_value_heads": 2, "tie_word_embeddings": True, "max_position_embeddings": 32,
        "rope_scaling": {"type": "dynamic", "factor": 2.0}, "attention_bias": True}, "greedy": 1},
    "dense-qlora-mscale": {"language": {"n_routed_experts": None, "n_shared_experts": None, "q_lora_rank": 16,
                                        "num_key_value_heads": None, "attention_bias": True, "rms_norm_eps": 1e-5,
                                        "rope_scaling": {"type": "linear", "factor": 2.0, "mscale_all_dim": 0.8}}},
}
CASES = {
    "text": [{"role": "user", "content": "Is 7 more than 12?"}],
    "one_image": [{"role": "user", "content": "<image>\nWhat?", "images": ["a.png"]}],
    "two_images": [{"role": "system", "content": "Short."},
                   {"role": "user", "content": "<image> one", "images": ["a.png"]},
                   {"role": "assistant", "content": "Yes"},
                   {"role": "user", "content": "<image>\n<|ref|>星<|/ref|>", "images": ["b.png"]}],
}


def _files(folder: Path, spec: dict) -> None:
    vision, projector, language = ({**copy.deepcopy(base), **spec.get(k, {})} for k, base in
                                   (("vision", VISION), ("projector", PROJECTOR), ("language", LANGUAGE)))
    s = vision["image_size"]
    candidates = [[s * w, s * h] for w, h in [(1, 1), (2, 1), (1, 2), (2, 2), (3, 1)]]
    main = {"model_type": "deepseek_vl_v2", "tile_tag": "2D", "global_view_pos": "tail" if spec.get("tail") else "head",
            "candidate_resolutions": candidates, "vision_config": vision, "projector_config": projector,
            "language_config": language, "torch_dtype": "bfloat16"}
    processor = {"candidate_resolutions": candidates, "patch_size": vision["patch_size"],
                 "downsample_ratio": projector["downsample_ratio"], "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
                 "normalize": True, "image_token": "<image>", "pad_token": tokenizer.PAD, "sft_format": "deepseek"}
    for name, data in (("config", main), ("processor_config", processor), ("tokenizer", tokenizer.build(small=True)),
                       ("tokenizer_config", tokenizer.TOKENIZER_CONFIG)):
        indent = None if name == "tokenizer" else 1
        (folder / f"{name}.json").write_text(json.dumps(data, ensure_ascii=False, indent=indent) + "\n")


def _weights(folder: Path, spec: dict, seed: int) -> None:
    m, r = model.Model(config.load(folder)), torch.Generator().manual_seed(seed)
    for name, p in m.named_parameters():
        if name.endswith("norm.weight") or "norm1.weight" in name or "norm2.weight" in name or "layernorm" in name:
            p.data.copy_(1 + 0.1 * torch.randn(p.shape, generator=r))
        elif p.ndim > 1 and "embed_tokens" not in name:
            p.data.copy_(torch.randn(p.shape, generator=r) * 1.5 * p[0].numel() ** -0.5)
        else:
            p.data.copy_(torch.randn(p.shape, generator=r) * 0.3)
    kept = {k: v.to(spec.get("type", torch.bfloat16)).contiguous() for k, v in m.state_dict().items()}
    if m.config.language.tie_word_embeddings:
        del kept["language.lm_head.weight"]
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@torch.no_grad()
def _margin(m: model.Model, words: talk.Words, messages: list[dict], base: Path, ids: list[int]) -> float:
    """The smallest distance between the two best logits while decoding."""
    p = talk.prompt(words, m, messages, base)
    x = talk.embed(m, words, p)
    x = torch.cat([x, m.language.model.embed_tokens(torch.tensor(ids[:-1], dtype=torch.long))])
    hidden = m.language.hidden_states(x, golden.Layout.single(len(x), x.device))[-1]
    best = m.language.lm_head(hidden[-len(ids):]).topk(2, -1).values
    return float((best[:, 0] - best[:, 1]).min())


def make(folder: Path, spec: dict, seed: int) -> float:
    """Writes one miniature with its goldens; returns its smallest margin."""
    (folder / "golden").mkdir(parents=True, exist_ok=True)
    _files(folder, spec)
    _weights(folder, spec, seed)
    m, words, margin = model.load(folder), talk.Words(folder), 1.0
    for k, (name, width, height) in enumerate([("a.png", 60, 60), ("b.png", 90, 44)]):
        scene = world.sample(100 + k, "held-out", "items", n=2)
        image = render.draw(scene, 100 + k)
        image.resize((width, height)).save(folder / "golden" / name)
    for name, messages in CASES.items():
        (folder / "golden" / f"{name}.json").write_text(json.dumps(messages, ensure_ascii=False) + "\n")
        out = golden.record(m, words, messages, folder / "golden", spec.get("greedy", 8))
        margin = min(margin, _margin(m, words, messages, folder / "golden", out["greedy_ids"].tolist()))
        save_file(out, folder / "golden" / f"{name}.safetensors")
    return margin


def main() -> None:
    root = Path(sys.argv[1])
    for k, (name, spec) in enumerate(MINIS.items()):
        for seed in range(k * 100, k * 100 + 20):
            margin = make(root / name, spec, seed)
            if margin > 0.01:
                break
        print(f"{name}: smallest margin {margin:.4f}, seed {seed}")


if __name__ == "__main__":
    main()
