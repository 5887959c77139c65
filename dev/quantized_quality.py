#!/usr/bin/env python3
"""What quantized weights cost: docs/QUANTIZATION.md's table for a checkpoint with examples.json.

    dev/quantized_quality.py [--program build/release/cli/vl2] [--model models/demo]
                             [--imatrix FILE] [TYPE…]

Writes each type to a temporary file (with an importance matrix once more with that), runs the examples'
questions, and compares the logits of all positions with those of float32 arithmetic on the original.
Needs numpy.
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile

import numpy as np

from compare_traces import Trace

ROOT = pathlib.Path(__file__).resolve().parents[1]
TYPES = ["BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "IQ4_NL", "Q4_0"]


def conversation(example, model):
    pictures = [str(model / name) for name in example["images"]]
    return [{"role": "<|User|>", "content": "<image>\n" * len(pictures) + example["prompt"], "images": pictures},
            {"role": "<|Assistant|>", "content": ""}]


def trace(program, model, talk, compute, folder):
    (folder / "talk.json").write_text(json.dumps(talk))
    subprocess.run([program, "trace", "-q", "-m", model, "--compute", compute, "--conversation", folder / "talk.json",
                    "-o", folder / "out", "--greedy", "8", "--positions", "all"], check=True)
    out = Trace(folder / "out")
    logits = np.array(out.values("logits"), dtype=np.float64).reshape(out.tensors["logits"]["shape"])
    return logits, list(out.values("greedy_ids"))


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def compare(ours, reference):
    rms, kl, first, same = [], [], [], 0
    for (a, ids), (b, expected) in zip(ours, reference):
        p, q = log_softmax(b), log_softmax(a)
        rms.append(np.sqrt(((a - b) ** 2).mean() / (b ** 2).mean()))
        kl.append((np.exp(p) * (p - q)).sum(-1).mean())
        first.append((a.argmax(-1) == b.argmax(-1)).mean())
        same += ids == expected
    return np.mean(rms), np.mean(kl), np.mean(first), same


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "build/release/cli/vl2")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/demo")
    parser.add_argument("--imatrix")
    parser.add_argument("types", nargs="*", default=TYPES)
    args = parser.parse_intermixed_args()
    talks = [conversation(e, args.model.resolve()) for e in json.loads((args.model / "examples.json").read_text())]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        reference = [trace(args.program, args.model, t, "f32", folder) for t in talks]
        runs = [(kind, ()) for kind in args.types]
        if args.imatrix:
            runs += [(kind, ("--imatrix", args.imatrix)) for kind in args.types if kind not in ("BF16", "F16", "F32")]
        for kind, options in runs:
            path = folder / (kind + ".gguf")
            subprocess.run([args.program, "quantize", "-q", args.model, path, "--type", kind, *options], check=True)
            for compute in ("f32", "auto"):
                ours = [trace(args.program, path, t, compute, folder) for t in talks]
                rms, kl, first, same = compare(ours, reference)
                print(f"{kind + '+imatrix' * bool(options):15} {compute:4} {os.path.getsize(path) / 1e6:7.1f} MB  rms {rms:.4f}  KL {kl:.5f}  "
                      f"first token {100 * first:.1f} %  greedy {same}/{len(talks)}", flush=True)


if __name__ == "__main__":
    main()
