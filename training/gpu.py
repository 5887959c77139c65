"""One call of a training that a machine with a GPU grants minutes at a time.

    python -m training.gpu --state DIR --pieces OUT --minutes 9
draws fresh pictures with every core, warms the vision tower where that is still to do, trains for what is left of the
minutes, and writes what the next call needs to OUT in pieces under 16 MB (weights in float32; moments begin anew).
The next call takes them with --resume FOLDER. --total gives the minutes of training of all calls together.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

PIECE = 15_000_000


def split(state: Path, out: Path, calls: int) -> None:
    """The learner's weights, and how far it is, as numbered files."""
    kept = torch.load(state / "train.pt", map_location="cpu", weights_only=True)
    data = io.BytesIO()
    torch.save({"model": kept["model"], "extra": {**kept["extra"], "calls": calls}}, data)
    out.mkdir(parents=True, exist_ok=True)
    raw = data.getvalue()
    for k in range(0, len(raw), PIECE):
        (out / f"state.{k // PIECE:02d}").write_bytes(raw[k:k + PIECE])


def join(pieces: Path) -> dict:
    raw = b"".join(p.read_bytes() for p in sorted(pieces.glob("state.[0-9][0-9]")))
    return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)


def call(module: str, **options: object) -> None:
    words = [f"--{k.replace('_', '-')}={v}" for k, v in options.items() if v is not True]
    words += [f"--{k.replace('_', '-')}" for k, v in options.items() if v is True]
    subprocess.run([sys.executable, "-m", f"training.{module}", *words], check=True)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--state", type=Path, required=True)
    p.add_argument("--pieces", type=Path, required=True, help="where the pieces go")
    p.add_argument("--resume", type=Path, help="pieces of the call before")
    p.add_argument("--minutes", type=float, default=9)
    p.add_argument("--total", type=float, default=20, help="minutes of training in all, for the falling rate")
    p.add_argument("--shards", type=int, default=300, help="shards of 512 pictures to draw in a call")
    p.add_argument("--warm", type=float, default=3, help="minutes for the vision tower, first call only")
    p.add_argument("--batch", type=int, default=192)
    p.add_argument("--device", default="cuda")
    a = p.parse_args()
    begin, cores = time.time(), os.cpu_count() or 2
    a.state.mkdir(parents=True, exist_ok=True)
    before, calls = 0.0, 0
    if a.resume:
        kept = join(a.resume)
        before, calls = kept["extra"]["seconds"] / 60, kept["extra"]["calls"]
        torch.save(kept, a.state / "train.pt")
    shards = a.state / "shards"
    call("shards", out=shards, first=calls * a.shards, count=a.shards, workers=cores)
    call("shards", out=shards, split="held-out", count=2, workers=2)
    if not calls:
        call("warm", state=a.state, shards=shards, minutes=a.warm, batch=1024, device=a.device)
    left = a.minutes - (time.time() - begin) / 60 - 0.5
    call("train", state=a.state, shards=shards, minutes=a.total, until=round(before + left, 2), batch=a.batch,
         workers=max(1, cores - 2), device=a.device, pairs=0.08, text=0.2, test_every=3, export=a.pieces,
         **({"bf16": True} if a.device == "cuda" else {}))
    split(a.state, a.pieces, calls + 1)
    print(json.dumps({"minutes trained": round(before + left, 1), "calls": calls + 1}))


if __name__ == "__main__":
    main()
