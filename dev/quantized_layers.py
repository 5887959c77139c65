#!/usr/bin/env python3
"""What quantized weights cost in layers of the published models' shapes: docs/QUANTIZATION.md's table.

    dev/quantized_layers.py [--program build/release/cli/vl2] [--layers 3] [--folder /tmp] [tiny small base]

Makes a text model of the first layers (the first is dense, the others have all their experts) with normal weights and
a vocabulary of a few hundred, so that its size is that of the layers: up to 5 GB for base, and as much again for the
file of a type. Some hundred tokens run through it; told is the distance of the hidden rows behind the last layer (in
brackets: of the middle row) and of the logits to float32 arithmetic on the bfloat16 original, and how often the
likeliest next token stays.
Needs numpy.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from compare_traces import Trace
from quantized_quality import TYPES, log_softmax

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))
import sparse_checkpoint as shapes  # noqa: E402

VOCABULARY = 576  # the miniature's tokenizer
LOGITS = 3.0  # their standard deviation: as sharp as a language model is


def folder_of(name, layers, folder, blocks=1):
    """A checkpoint folder of zeros, in holes; its tensors' places."""
    shapes.MODELS[name].update(num_hidden_layers=layers, vocab_size=VOCABULARY)
    shapes.VISION["layers"] = blocks  # texts never meet them
    sys.argv = ["sparse_checkpoint.py", name, str(folder)]
    shapes.main()
    with open(folder / "model.safetensors", "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(size)), 8 + size


def fill(path, header, start, rng):
    with open(path, "r+b") as file:
        for name, tensor in header.items():
            if not name.startswith("language."):
                continue
            shape, (first, end) = tensor["shape"], tensor["data_offsets"]
            scale = LOGITS if "lm_head" in name else 1.0
            file.seek(start + first)
            if len(shape) == 1:
                value = 0.0 if name.endswith("bias") else 1.0
                file.write((np.full(shape, value, "<f4").view("<u4") >> 16).astype("<u2").tobytes())
                continue
            for at in range(0, (end - first) // 2, 1 << 22):
                n = min(1 << 22, (end - first) // 2 - at)
                x = rng.standard_normal(n, np.float32) * np.float32(scale / shape[-1] ** 0.5)
                file.write(((x.view("<u4") + 0x8000) >> 16).astype("<u2").tobytes())


def run(program, model, compute, talk, out):
    subprocess.run([program, "trace", "-q", "-m", model, "--compute", compute, "--conversation", talk, "-o", out,
                    "--greedy", "0", "--positions", "all"], check=True)
    trace = Trace(out)
    hidden = [n for n in trace.tensors if n.startswith("hidden")]
    last = max(hidden, key=lambda n: int("".join(c for c in n if c.isdigit()) or 0))
    return [np.array(trace.values(n), dtype=np.float64).reshape(trace.tensors[n]["shape"]) for n in (last, "logits")]


def distance(ours, reference):
    """Of all rows, and of the middle one: a row whose token met other experts is far off."""
    rows = ((ours - reference) ** 2).mean(-1)
    return np.sqrt(np.array([rows.mean(), np.median(rows)]) / (reference ** 2).mean())


def measure(name, args, folder):
    rng = np.random.default_rng(7)
    model = folder / name
    header, start = folder_of(name, args.layers, model)
    fill(model / "model.safetensors", header, start, rng)
    letters = rng.integers(33, 127, 400).astype(np.uint8).tobytes().decode().replace("<", "a")
    talk = folder / "talk.json"
    talk.write_text(json.dumps([{"role": "<|User|>", "content": letters, "images": []},
                                {"role": "<|Assistant|>", "content": ""}]))
    reference = run(args.program, model, "f32", talk, folder / "out")
    p = log_softmax(reference[1])
    for kind in args.types.split(","):
        path = folder / "model.gguf"
        subprocess.run([args.program, "quantize", "-q", model, path, "--type", kind, "--half", "text"], check=True)
        for compute in ("f32", "auto"):
            hidden, logits = run(args.program, path, compute, talk, folder / "out")
            q = log_softmax(logits)
            rms, middle = distance(hidden, reference[0])
            print(f"{name:5} {kind:7} {compute:4} {path.stat().st_size / 1e6:7.0f} MB  hidden {rms:.4f} ({middle:.4f})"
                  f"  logits {distance(logits, reference[1])[0]:.4f}  KL {(np.exp(p) * (p - q)).sum(-1).mean():.5f}"
                  f"  first token {100 * (p.argmax(-1) == q.argmax(-1)).mean():.1f} % of {len(p)}", flush=True)
        path.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "build/release/cli/vl2")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--folder", help="where the models are made, and removed again (the system's temporary folder)")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("models", nargs="*", default=list(shapes.MODELS))
    args = parser.parse_args()
    for name in args.models:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            measure(name, args, pathlib.Path(folder))


if __name__ == "__main__":
    main()
