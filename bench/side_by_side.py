#!/usr/bin/env python3
"""vl2 beside other programs on the same machine, in turns: prefill and decoding of text halves, in tokens a second.

    bench/side_by_side.py tiny-Q4_K_M.gguf --other llama.cpp=./driver-llama --other ik=./driver-ik,tiny-Q4_K_M-dots1.gguf
                          [--rounds 3] [--repeat 2] [--threads 2] [prefill:512 prefill:2048 decode:100 decode:4000]

Files by bench/made_up_gguf.py; an --other is NAME=DRIVER[,FILE], a program of bench/llama_driver.cpp, with a file of its
own where it cannot read the first. Told are medians of all rounds, the best in brackets, and what vl2's is of each
other's; and what share of the peaks that `vl2 bench` measured in the same minute its own are.
"""
import argparse
import collections
import json
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def ours(args, told, shares):
    sizes = {kind: ",".join(w.split(":")[1] for w in args.what if w.startswith(kind)) for kind in ("prefill", "decode")}
    stages = [kind for kind, n in sizes.items() if n]
    words = [args.program, "bench", "-q", "-m", args.file, "--threads", str(args.threads), "--stages", ",".join(stages),
             "--sequences", "1", "--repeat", str(args.repeat), "--json"]
    words += ["--prompt", sizes["prefill"]] * bool(sizes["prefill"]) + ["--context", sizes["decode"]] * bool(sizes["decode"])
    for row in json.loads(subprocess.run(words, check=True, capture_output=True).stdout)["stages"]:
        if row["stage"] in stages:
            what = f"{row['stage']}:{row['size'] if row['stage'] == 'prefill' else row['context']}"
            told["vl2", what].append(row["rate"])
            shares[what].append((row["share_percent"], row["peak"]))


def others(args, name, driver, file, told):
    done = subprocess.run([driver, file, str(args.threads), str(args.repeat), *args.what], check=True, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        what, median, _ = line.split("\t")
        told[name, what].append(float(median))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("what", nargs="*", default=["prefill:512", "prefill:2048", "decode:100", "decode:4000"])
    parser.add_argument("--other", action="append", default=[], metavar="NAME=DRIVER[,FILE]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=2, help="of each measure in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", default=ROOT / "build/release/cli/vl2")
    args = parser.parse_intermixed_args()
    programs = []
    for other in args.other:
        name, _, rest = other.partition("=")
        driver, _, file = rest.partition(",")
        programs.append((name, driver, file or args.file))
    told, shares = collections.defaultdict(list), collections.defaultdict(list)
    for _ in range(args.rounds):
        ours(args, told, shares)
        for program in programs:
            others(args, *program, told)
    for what in args.what:
        middle = {name: statistics.median(told[name, what]) for name in ("vl2", *(p[0] for p in programs))}
        share, peak = statistics.median(s for s, _ in shares[what]), shares[what][0][1]
        print(f"{pathlib.Path(args.file).stem:14} {what:13}", *(f"{name} {m:.1f} ({max(told[name, what]):.1f})" for name, m in middle.items()),
              *(f"vl2/{name} {middle['vl2'] / m:.2f}" for name, m in list(middle.items())[1:]), f"{share:.0f} % of {peak}", sep="  ", flush=True)


if __name__ == "__main__":
    main()
