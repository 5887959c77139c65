#!/usr/bin/env python3
"""Writes tests/fuzz/corpus/gguf: small files that reach all of the reader."""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/cli"))
from gguf_file import Gguf  # noqa: E402

TOKENS = ["<s>", "</s>", "a", "b", "ab", "[PAD5]", "<|User|>", "c"]


def language(arch, **more):
    sizes = {"embedding_length": 8, "block_count": 1, "feed_forward_length": 8, "context_length": 64,
             "attention.head_count": 2, "attention.head_count_kv": 1, **more}
    keys = {"general.architecture": (8, arch), **{f"{arch}.{k}": (4, v) for k, v in sizes.items()}}
    keys[f"{arch}.attention.layer_norm_rms_epsilon"] = (6, 1e-6)
    keys |= {"tokenizer.ggml.model": (8, "gpt2"), "tokenizer.ggml.pre": (8, "deepseek-v3"),
             "tokenizer.ggml.tokens": (9, (8, TOKENS)), "tokenizer.ggml.merges": (9, (8, ["a b"])),
             "tokenizer.ggml.token_type": (9, (5, [3, 3, 1, 1, 1, 5, 4, 1])),
             "tokenizer.ggml.bos_token_id": (4, 0), "tokenizer.ggml.eos_token_id": (4, 1)}
    return keys


def f32(*sizes):
    count = 1
    for n in sizes:
        count *= n
    return sizes, 0, bytes(4 * count)


def write(name, keys, tensors):
    file = Gguf.__new__(Gguf)
    file.keys, file.tensors = keys, tensors
    file.write(ROOT / "tests/fuzz/corpus/gguf" / name)


def main():
    (ROOT / "tests/fuzz/corpus/gguf").mkdir(parents=True, exist_ok=True)
    ends = {"token_embd.weight": f32(8, 8), "output_norm.weight": f32(8), "output.weight": f32(8, 8),
            "blk.0.attn_norm.weight": f32(8), "blk.0.ffn_norm.weight": f32(8), "blk.0.ffn_gate.weight": f32(8, 8),
            "blk.0.ffn_up.weight": f32(8, 8), "blk.0.ffn_down.weight": f32(8, 8)}
    heads = {f"blk.0.attn_{n}.weight": f32(8, 8) for n in ("q", "k", "v", "output")}
    write("mha", language("deepseek", **{"attention.head_count_kv": 2}), ends | heads)
    mla = {"blk.0.attn_q.weight": f32(8, 8), "blk.0.attn_kv_a_mqa.weight": f32(8, 6), "blk.0.attn_kv_a_norm.weight": f32(4),
           "blk.0.attn_k_b.weight": f32(2, 4, 2), "blk.0.attn_v_b.weight": f32(4, 2, 2),
           "blk.0.attn_output.weight": f32(4, 8)}
    sizes = {"attention.kv_lora_rank": 4, "attention.key_length": 6, "attention.value_length": 4,
             "attention.key_length_mla": 4, "attention.value_length_mla": 2, "rope.dimension_count": 2}
    write("mla", language("deepseek2", **sizes), ends | mla)
    experts = {k: v for k, v in ends.items() if "ffn_g" not in k and "ffn_u" not in k and "ffn_d" not in k}
    experts |= {"blk.0.ffn_gate_inp.weight": f32(8, 2)}
    experts |= {f"blk.0.ffn_{n}_exps.weight": ((8, 8, 2), 0, bytes(512)) for n in ("gate", "up", "down")}
    write("experts", language("deepseek2", **sizes, expert_count=2, expert_used_count=1, expert_feed_forward_length=8,
                              expert_shared_count=0), experts | mla)
    write("blocks", {"general.alignment": (4, 64), "x": (9, (10, [1, 2])), "y": (12, 0.5), "z": (7, True)},
          {"q8": ((32, 2), 8, bytes(68)), "q4": ((256,), 12, bytes(144)), "h": ((4, 4, 2), 1, bytes(64))})
    write("nothing", {}, {})
    write("texts", {"vl2.config": (8, "{}"), "vl2.processor_config": (8, "{}"), "general.architecture": (8, "clip"),
                    "tokenizer.huggingface.json": (8, '{"model": {"type": "BPE"}}')}, {"v.patch_embd.weight": f32(1)})


if __name__ == "__main__":
    main()
