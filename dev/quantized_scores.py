#!/usr/bin/env python3
"""What quantized weights cost a checkpoint on held-out questions: docs/QUANTIZATION.md's table of scores.

    python -m training.evaluate make DIR --count 300
    dev/quantized_scores.py DIR [--program build/release/cli/vl2] [--model models/demo] [--imatrix FILE] [TYPE…]

Answers DIR/questions.jsonl with each type's file, and with an importance matrix once more with that; the first type is
what the others are compared with. Told: right answers, answers that are word for word the first type's, and for each
task the share of right ones in per cent.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from training.evaluate import score  # noqa: E402


def answers(path):
    return {a["id"]: a["text"] for a in map(json.loads, path.read_text().splitlines())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "build/release/cli/vl2")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/demo")
    parser.add_argument("--imatrix")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("types", nargs="*", default=["BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"])
    args = parser.parse_intermixed_args()
    runs = [(kind, ()) for kind in args.types]
    if args.imatrix:
        runs += [(f"{kind}+imatrix", ("--imatrix", args.imatrix)) for kind in args.types if kind not in ("BF16", "F16", "F32")]
    tables, said, out = {}, {}, args.folder / "answers.jsonl"
    with tempfile.TemporaryDirectory() as folder:
        for name, options in runs:
            file = pathlib.Path(folder) / "model.gguf"
            subprocess.run([args.program, "quantize", "-q", args.model, file, "--type", name.split("+")[0], *options], check=True)
            out.unlink(missing_ok=True)
            subprocess.run([args.program, "batch", "-q", "-m", file, args.folder / "questions.jsonl", "-o", out], check=True)
            tables[name], said[name] = score(args.folder), answers(out)
            right = sum(round(row["right"] * row["questions"]) for row in tables[name].values())
            first = said[args.types[0]]
            same = sum(text == first[key] for key, text in said[name].items())
            print(f"{name:16} {right} right, {same} of {len(first)} as {args.types[0]}", flush=True)
    print("\ntask             " + " ".join(f"{name:>15}" for name in tables))
    for task, row in tables[args.types[0]].items():
        print(f"{task:16} " + " ".join(f"{100 * table[task]['right']:15.1f}" for table in tables.values()) + f"   of {row['questions']}")
    for name in list(tables)[1:]:
        falls = {task: 100 * (tables[args.types[0]][task]["right"] - row["right"]) for task, row in tables[name].items()}
        worst = max(falls, key=falls.get)
        print(f"{name}: greatest fall {falls[worst]:.1f} points, {worst}")


if __name__ == "__main__":
    main()
