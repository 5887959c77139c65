#!/usr/bin/env python3
"""A checkpoint folder of a published model's real shapes whose weights are holes of a sparse file.

    bench/sparse_checkpoint.py tiny /tmp/sparse-tiny && vl2 bench -m /tmp/sparse-tiny --stages load

All weights are zero, so nothing that it says means anything; opening it, mapping it and paging it in costs what the
real file costs, and it takes no room on the disk. The tokenizer is a miniature's, or --tokenizer tokenizer.json.
"""
import argparse
import json
import pathlib
import shutil
import struct

ROOT = pathlib.Path(__file__).resolve().parent.parent
MINI = ROOT / "tests/golden/mini-tiny"
VISION = {"image_size": 384, "patch_size": 14, "width": 1152, "layers": 27, "heads": 16, "mlp_ratio": 3.7362}
MLA = {"use_mla": True, "kv_lora_rank": 512, "q_lora_rank": None, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
MODELS = {
    "tiny": {"hidden_size": 1280, "num_hidden_layers": 12, "num_attention_heads": 10, "num_key_value_heads": 10,
             "use_mla": False, "intermediate_size": 6848, "n_routed_experts": 64, "moe_intermediate_size": 896,
             "vocab_size": 129280, "topk_method": "greedy", "scoring_func": "softmax"},
    "small": {"hidden_size": 2048, "num_hidden_layers": 27, "num_attention_heads": 16, **MLA, "intermediate_size": 10944,
              "n_routed_experts": 64, "moe_intermediate_size": 1408, "vocab_size": 102400, "topk_method": "greedy",
              "scoring_func": "softmax"},
    "base": {"hidden_size": 2560, "num_hidden_layers": 30, "num_attention_heads": 32, **MLA, "intermediate_size": 12288,
             "n_routed_experts": 72, "moe_intermediate_size": 1536, "vocab_size": 129280, "topk_method": "noaux_tc",
             "n_group": 1, "topk_group": 1, "scoring_func": "sigmoid", "norm_topk_prob": True, "routed_scaling_factor": 2.0},
}


def vision_tensors():
    width, hidden = VISION["width"], int(VISION["width"] * VISION["mlp_ratio"])
    grid = VISION["image_size"] // VISION["patch_size"]
    yield "vision.patch_embed.proj.weight", [width, 3, VISION["patch_size"], VISION["patch_size"]]
    yield "vision.patch_embed.proj.bias", [width]
    yield "vision.pos_embed", [1, grid * grid, width]
    for i in range(VISION["layers"]):
        block = f"vision.blocks.{i}."
        for name, rows, cols in (("attn.qkv", 3 * width, width), ("attn.proj", width, width), ("mlp.fc1", hidden, width),
                                 ("mlp.fc2", width, hidden)):
            yield block + name + ".weight", [rows, cols]
            yield block + name + ".bias", [rows]
        for name in ("norm1", "norm2"):
            yield f"{block}{name}.weight", [width]
            yield f"{block}{name}.bias", [width]
    yield "vision.norm.weight", [width]
    yield "vision.norm.bias", [width]


def mlp(prefix, width, hidden):
    yield prefix + "gate_proj.weight", [hidden, width]
    yield prefix + "up_proj.weight", [hidden, width]
    yield prefix + "down_proj.weight", [width, hidden]


def attention(prefix, c):
    d, heads = c["hidden_size"], c["num_attention_heads"]
    if not c["use_mla"]:
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield f"{prefix}{name}.weight", [d, d]
        return
    nope, rope, v, low = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"], c["kv_lora_rank"]
    yield prefix + "q_proj.weight", [heads * (nope + rope), d]
    yield prefix + "kv_a_proj_with_mqa.weight", [low + rope, d]
    yield prefix + "kv_a_layernorm.weight", [low]
    yield prefix + "kv_b_proj.weight", [heads * (nope + v), low]
    yield prefix + "o_proj.weight", [d, heads * v]


def language_tensors(c):
    d = c["hidden_size"]
    yield "language.model.embed_tokens.weight", [c["vocab_size"], d]
    yield "language.lm_head.weight", [c["vocab_size"], d]
    yield "language.model.norm.weight", [d]
    for i in range(c["num_hidden_layers"]):
        layer = f"language.model.layers.{i}."
        yield layer + "input_layernorm.weight", [d]
        yield layer + "post_attention_layernorm.weight", [d]
        yield from attention(layer + "self_attn.", c)
        if i == 0:
            yield from mlp(layer + "mlp.", d, c["intermediate_size"])
            continue
        yield layer + "mlp.gate.weight", [c["n_routed_experts"], d]
        if c["topk_method"] == "noaux_tc":
            yield layer + "mlp.gate.e_score_correction_bias", [c["n_routed_experts"]]
        for k in range(c["n_routed_experts"]):
            yield from mlp(f"{layer}mlp.experts.{k}.", d, c["moe_intermediate_size"])
        yield from mlp(layer + "mlp.shared_experts.", d, 2 * c["moe_intermediate_size"])


def tensors(c):
    d, width = c["hidden_size"], VISION["width"]
    yield from vision_tensors()
    yield "projector.layers.0.weight", [d, 4 * width]
    yield "projector.layers.0.bias", [d]
    yield "projector.layers.2.weight", [d, d]
    yield "projector.layers.2.bias", [d]
    yield "image_newline", [d]
    yield "view_seperator", [d]
    yield from language_tensors(c)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path, default=MINI / "tokenizer.json")
    arguments = parser.parse_args()
    language = {**MODELS[arguments.model], "n_shared_experts": 2, "num_experts_per_tok": 6, "first_k_dense_replace": 1,
                "max_position_embeddings": 4096}
    arguments.folder.mkdir(parents=True)
    sides = [[384 * w, 384 * h] for h in range(1, 10) for w in range(1, 10) if w * h <= 9]
    config = {"model_type": "deepseek_vl_v2", "tile_tag": "2D", "global_view_pos": "head", "candidate_resolutions": sides,
              "vision_config": VISION, "language_config": language,
              "projector_config": {"input_dim": VISION["width"], "n_embed": language["hidden_size"]}}
    (arguments.folder / "config.json").write_text(json.dumps(config, indent=1))
    processor = {**json.loads((MINI / "processor_config.json").read_text()), "candidate_resolutions": sides, "patch_size": 14,
                 "downsample_ratio": 2}
    (arguments.folder / "processor_config.json").write_text(json.dumps(processor, indent=1))
    shutil.copy(arguments.tokenizer, arguments.folder / "tokenizer.json")
    shutil.copy(MINI / "tokenizer_config.json", arguments.folder)
    header, at = {}, 0
    for name, shape in tensors(language):
        size = 2
        for n in shape:
            size *= n
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    with open(arguments.folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    print(f"{arguments.folder}: {len(header)} tensors, {at / 1e9:.2f} GB, of zeros")


if __name__ == "__main__":
    main()
