#!/usr/bin/env python3
"""What 8-bit products cost the vision tower's real shapes: docs/QUANTIZATION.md's table.

    dev/vision_distance.py [--program build/release/cli/vl2] [--blocks 27] [--folder /tmp] [--level LEVEL]

Makes a checkpoint with the published tower and projector (normal weights, biases and gains about 1) and next to nothing
behind them, runs one view of noise and edges through it, and tells the distance of the tower's features and of the
projector's rows to float32 arithmetic, for the file's bfloat16, for Q8_0 and for --vision int8. Three times: as it is;
with 4 of the 1152 channels 30 times as large behind each norm; and with gains that spread by a factor of two. Needs numpy.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from compare_traces import Trace
from quantized_layers import folder_of, shapes

ROOT = pathlib.Path(__file__).resolve().parents[1]
KINDS = {"even": (0.1, 0), "4 large channels": (0.1, 4), "uneven gains": (0.7, 0)}


def bfloat16(x):
    return ((x.astype("<f4").view("<u4") + 0x8000) >> 16).astype("<u2").tobytes()


def fill(path, header, start, spread, outliers):
    rng = np.random.default_rng(7)
    channels = rng.choice(1152, outliers, replace=False)
    with open(path, "r+b") as file:
        for name, tensor in sorted(header.items()):
            if not name.startswith(("vision.", "projector.")):
                continue
            shape, first = tensor["shape"], tensor["data_offsets"][0]
            file.seek(start + first)
            x = rng.standard_normal(shape, np.float32)
            if name.endswith("bias"):
                x *= 0.1
            elif len(shape) == 1:
                x = np.exp(spread * x)
                if "blocks" in name:
                    x[channels] *= 30
            else:
                x /= np.sqrt(np.prod(shape[1:]))
            file.write(bfloat16(x))


def picture(path):
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (384, 384, 3)) // 2
    for _ in range(40):
        x, y = rng.integers(0, 350, 2)
        rgb[y:y + 60, x:x + 40] = rng.integers(0, 256, 3)
    path.write_bytes(b"P6 384 384 255\n" + rgb.astype(np.uint8).tobytes())


def run(args, model, talk, out, *options):
    subprocess.run([args.program, "trace", "-q", "-m", model, "--conversation", talk, "-o", out, "--greedy", "0",
                    *options], check=True)
    trace = Trace(out)
    return [np.array(trace.values(n), dtype=np.float64) for n in ("vision", "projector")]


def measure(kind, args, folder):
    model, talk, out, eight = (folder / n for n in ("tiny", "talk.json", "out", "q8.gguf"))
    shapes.MODELS["tiny"].update(num_hidden_layers=1)
    header, start = folder_of("tiny", 1, model, args.blocks)
    fill(model / "model.safetensors", header, start, *KINDS[kind])
    picture(folder / "view.ppm")
    talk.write_text(json.dumps([{"role": "<|User|>", "content": "<image>\n", "images": [str(folder / "view.ppm")]},
                                {"role": "<|Assistant|>", "content": ""}]))
    subprocess.run([args.program, "quantize", "-q", model, eight, "--type", "BF16", "--vision-type", "Q8_0"], check=True)
    reference = run(args, model, talk, out, "--compute", "f32")
    level = ("--cpu", args.level) if args.level else ()
    for name, where, options in (("bfloat16", model, ()), ("Q8_0", eight, ()), ("int8", model, ("--vision", "int8"))):
        ours = run(args, where, talk, out, *level, *options)
        off = [np.sqrt(((a - b) ** 2).mean() / (b ** 2).mean()) for a, b in zip(ours, reference)]
        print(f"{kind:17} {name:9} tower {off[0]:.4f}  projector {off[1]:.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "build/release/cli/vl2")
    parser.add_argument("--blocks", type=int, default=27)
    parser.add_argument("--folder", help="where the model is made, and removed again (the system's temporary folder)")
    parser.add_argument("--level", help="of the CPU, for all but float32 (the best)")
    args = parser.parse_args()
    for kind in KINDS:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            measure(kind, args, pathlib.Path(folder))


if __name__ == "__main__":
    main()
