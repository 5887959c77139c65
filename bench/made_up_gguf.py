#!/usr/bin/env python3
"""A text half of a published model's real shape as a GGUF file, with made-up weights, for timing several programs on one file.

    bench/made_up_gguf.py tiny Q4_K_M tiny.gguf [--dots1] [--tokenizer tokenizer.json] [--program build/release/cli/vl2]

Keys, names and order are those of `vl2 quantize --half text` (of two layers, the second repeated), types those of its
mixes; blocks are random bytes under fixed scales, so that nothing overflows. --dots1 writes tiny as that architecture,
with query and key norms of ones: ik_llama.cpp knows it, and not tiny's own. --tokenizer takes a published one in place
of a miniature's, for timing how the file opens. Needs numpy, and room for the file.
"""
import argparse
import math
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cli"))
import sparse_checkpoint as shapes  # noqa: E402
from gguf_file import BLOCKS, Gguf, as_text, as_value  # noqa: E402

F32, U32, FLOAT, TEXT = 0, 4, 6, 8
NUMBERS = {"F32": 0, "F16": 1, "BF16": 30, "Q8_0": 8, "Q6_K": 14, "Q5_K": 13, "Q5_0": 6, "Q4_K": 12, "Q4_0": 2, "IQ4_NL": 20}
MIXES = {"Q6_K": ("Q6_K", "Q8_0", "Q8_0"), "Q5_K_M": ("Q5_K", "Q5_0", "Q6_K"), "Q5_K_S": ("Q5_K", "Q5_0", "Q5_K"),
         "Q4_K_M": ("Q4_K", "IQ4_NL", "Q6_K"), "Q4_K_S": ("Q4_K", "IQ4_NL", "Q4_K"), "IQ4_NL": ("IQ4_NL", "IQ4_NL", "Q6_K"),
         "Q4_0": ("Q4_0", "Q4_0", "Q6_K"), **{name: (name, name, name) for name in ("F32", "F16", "BF16", "Q8_0")}}
# Of each type: where its blocks have float16 numbers, and by what rms of all weights is divided to find them.
HALVES = {8: [(0, 73)], 20: [(0, 60)], 2: [(0, 4.6)], 6: [(0, 9.2)], 12: [(0, 147), (2, 20)], 13: [(0, 300), (2, 20)],
          14: [(208, 1332)]}
CAREFUL = ("output.weight", "attn_v.", "attn_kv_a_mqa.", "attn_k_b.", "attn_v_b.")
POOL = 4 << 20  # bytes of blocks that are made, and then repeated


def two_layers(name, program, tokenizer):
    """Keys and tensors (without data) of that model with two layers, as vl2 writes them."""
    layers = shapes.MODELS[name]["num_hidden_layers"]
    shapes.MODELS[name]["num_hidden_layers"], shapes.VISION["layers"] = 2, 1
    with tempfile.TemporaryDirectory() as folder:
        sparse, file = pathlib.Path(folder) / "sparse", pathlib.Path(folder) / "text.gguf"
        sys.argv = ["sparse_checkpoint.py", name, str(sparse), *(["--tokenizer", str(tokenizer)] if tokenizer else [])]
        shapes.main()
        subprocess.run([program, "quantize", "-q", sparse, file, "--type", "BF16", "--half", "text"], check=True)
        read = Gguf(file)
    return read.keys, [(n, sizes) for n, (sizes, _, _) in read.tensors.items()], layers


def kind_of(name, sizes, mix):
    if len(sizes) == 1 or "ffn_gate_inp" in name:
        return F32
    most, short, careful = MIXES[mix]
    is_careful = any(part in name for part in CAREFUL) and "attn_output" not in name
    kind = careful if is_careful else most
    if sizes[0] % BLOCKS[NUMBERS[kind]][0]:
        kind = "Q8_0" if is_careful else short
    return NUMBERS[kind]


def blocks(kind, std, rng):
    """Some blocks whose numbers have about that standard deviation."""
    size = BLOCKS[kind][1]
    n = POOL // size
    if kind == F32:
        return rng.normal(0, std, n).astype("<f4").tobytes()
    if kind == NUMBERS["BF16"]:
        return (rng.normal(0, std, n).astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    if kind == NUMBERS["F16"]:
        return rng.normal(0, std, n).astype("<f2").tobytes()
    out = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at, by in HALVES[kind]:
        out[:, at:at + 2] = np.array([std / by], "<f2").view(np.uint8)
    return out.tobytes()


def repeated(out, some, n, rng, size):
    """n bytes of the pool, from any of its blocks on."""
    at = int(rng.integers(0, len(some) // size)) * size
    while n:
        piece = some[at:at + n]
        out.write(piece)
        n, at = n - len(piece), 0


def as_dots1(keys, tensors, layers):
    keys = {"dots1" + k[len("deepseek2-ocr"):] if k.startswith("deepseek2-ocr.") else k: v for k, v in keys.items()}
    keys |= {"general.architecture": (TEXT, "dots1"), "dots1.attention.key_length": (U32, 128),
             "dots1.attention.value_length": (U32, 128), "dots1.expert_weights_scale": (FLOAT, 1.0),
             "dots1.expert_gating_func": (U32, 1)}
    return keys, tensors + [(f"blk.{i}.attn_{x}_norm.weight", (128,)) for i in range(layers) for x in "qk"]


def write(path, keys, tensors, mix):
    head, at, plan = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))), 0, []
    for name, (kind, value) in keys.items():
        head += as_text(name) + struct.pack("<I", kind) + as_value(kind, value)
    for name, sizes in tensors:
        kind = kind_of(name, sizes, mix)
        n = math.prod(sizes) // BLOCKS[kind][0] * BLOCKS[kind][1]
        head += as_text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, at)
        plan.append((name, sizes, kind, n))
        at += n + -n % 32
    rng, pools = np.random.default_rng(1), {}
    with open(path, "wb") as out:
        out.write(head + bytes(-len(head) % 32))
        for name, sizes, kind, n in plan:
            if len(sizes) == 1:
                out.write(np.full(sizes[0], 0.0 if name.endswith(".bias") else 1.0, "<f4").tobytes())
            else:
                some = pools.get((kind, sizes[0])) or blocks(kind, sizes[0] ** -0.5, rng)
                pools[kind, sizes[0]] = some
                repeated(out, some, n, rng, BLOCKS[kind][1])
            out.write(bytes(-n % 32))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("tiny", "small"))
    parser.add_argument("type", choices=MIXES)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--dots1", action="store_true")
    parser.add_argument("--tokenizer", type=pathlib.Path)
    parser.add_argument("--program", default=ROOT / "build/release/cli/vl2")
    args = parser.parse_args()
    keys, two, layers = two_layers(args.model, args.program, args.tokenizer)
    keys = {k: v for k, v in keys.items() if not k.startswith("vl2.") and (args.tokenizer or k != "tokenizer.huggingface.json")}
    keys |= {k: (U32, layers) for k in keys if k.endswith(".block_count")}
    tensors = [t for t in two if not t[0].startswith("blk.1.")]
    tensors += [(f"blk.{i}.{n[6:]}", sizes) for i in range(1, layers) for n, sizes in two if n.startswith("blk.1.")]
    if args.dots1:
        keys, tensors = as_dots1(keys, tensors, layers)
    write(args.file, keys, tensors, args.type)
    print(f"{args.file}: {args.file.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
