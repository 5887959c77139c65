#!/usr/bin/env python3
"""From the start of the program to the first token of a short prompt's answer, the files in the system's cache.

    bench/first_token.py tiny-Q8_0.gguf sparse-tiny … [--repeat 5] [--threads 2] [--program build/release/cli/vl2]

Models as bench/made_up_gguf.py and bench/sparse_checkpoint.py make them (with --tokenizer, or the vocabulary is a
miniature's) or published ones. Told are the median and the least of all runs, in milliseconds: until the answer's first
byte is there, and until the program has ended after it.
"""
import argparse
import pathlib
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROMPT = "What is the capital of France?"


def warm(model):
    """Every byte of it read once."""
    for file in filter(pathlib.Path.is_file, model.iterdir()) if model.is_dir() else [model]:
        with open(file, "rb", buffering=0) as data:
            while data.read(8 << 20):
                pass


def once(program, model, threads):
    begun = time.monotonic()
    words = [program, "run", "-q", "-m", model, "--threads", str(threads), "--max-tokens", "1", "--temperature", "1", PROMPT]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as run:
        run.stdout.read(1)
        first = time.monotonic()
        run.stdout.read()
    if run.returncode:
        raise SystemExit(f"{model}: {program} ended with {run.returncode}")
    return (first - begun) * 1e3, (time.monotonic() - begun) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", default=ROOT / "build/release/cli/vl2")
    args = parser.parse_args()
    for model in args.models:
        warm(model)
        first, ended = zip(*(once(args.program, model, args.threads) for _ in range(args.repeat)))
        print(f"{model.name:24} first token {statistics.median(first):6.0f} ms (least {min(first):.0f}), ended "
              f"{statistics.median(ended):6.0f} ms (least {min(ended):.0f})", flush=True)


if __name__ == "__main__":
    main()
