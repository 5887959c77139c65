"""The second stage on a GPU, for a given time: pictures are drawn beside it by all CPU cores.

    python -m training.timed --begin models/demo --out DIR --seconds 540 [--workers 14] [--heads FILE]
DIR gets learner-0.pt ... (the weights with the throw-away heads, in parts; training/export.py reads them), timed-train.csv,
timed-scores.csv. The rate falls with the time that is left, so a run of any length ends well. --device cpu tries it out.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path

import torch
from torch import Tensor

from . import kernels, packed
from .feed import TASKS, Batch, Feed
from .heads import shares_right
from .model import load
from .optim import Both
from .train import Learner, mean_loss, tower_loss
from .warm import pixels

PART = 14 << 20                         # bytes of a part of the weights
LIVE = ("seconds", "speed", "fall", "batches", "more")      # what the plan may change
SPELLING = 0.6                          # weight of the views of words that only the tower reads


class Heard:
    """Running sums, on the device, of the loss of each task's answers by the tokens that count; and of letters."""

    def __init__(self, device: str):
        self.sums = torch.zeros(2, len(TASKS) + 1, device=device)

    def add(self, task: Tensor, each: Tensor, weight: Tensor) -> None:
        counts = ((weight > 0.5) & (task >= 0)).float()
        self.sums.index_add_(1, task.clamp(min=0), torch.stack([each * counts, counts]))

    def letters(self, loss: Tensor) -> None:
        self.sums[:, -1] += torch.stack([loss, torch.ones_like(loss)])

    def take(self) -> dict[str, float]:
        total, count = self.sums.tolist()
        self.sums.zero_()
        return {k: round(t / c, 3) for k, t, c in zip([*TASKS, "letters"], total, count) if c}


def learn(learner: Learner, b: Batch, heard: Heard, patch: float, share: float) -> Tensor:
    """Adds the gradients of a batch, times share; its loss."""
    if b.packed is None:
        loss = SPELLING * tower_loss(learner, b.views)
        heard.letters(loss.detach())
    else:
        logits, near = learner(b.packed, patch)
        loss, each = mean_loss(logits, b.packed)
        loss = loss + near
        heard.add(b.task, each, b.packed.weight)
    (loss * share).backward()
    return loss.detach()


@torch.no_grad()
def exam(learner: Learner, batches: list[Batch]) -> dict[str, float]:
    """Held-out questions, answered by teacher-forced argmax, and what the heads read from views."""
    got: dict[str, list[float]] = {}
    for b in batches:
        for name, score in packed.scores(b.packed, learner(b.packed)[0].argmax(-1)):
            got.setdefault(str(name), []).append(score)
    out = {k: round(100 * sum(v) / len(v), 1) for k, v in sorted(got.items())}
    if texts := [b for b in batches if b.kind == "text"]:
        with kernels.autocast(texts[0].views["tiles"].device.type):
            seen = learner.vision(pixels(texts[0].views["tiles"]))
            rows = learner.projector(seen)
        out |= {"reads_" + k: round(100 * v, 1) for k, v in shares_right(learner.heads, seen.float(), rows.float(), texts[0].views).items()
                if k in ("letter", "spell")}
    return out


def save(learner: Learner, out: Path, step: int) -> None:
    """The weights as learner-K.pt, each under PART bytes; a save that was cut off is seen when they are read."""
    pieces: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, t in learner.state_dict().items():
        size += t.numel() * t.element_size()
        if size > PART:
            pieces.append({})
            size = t.numel() * t.element_size()
        pieces[-1][name] = t.cpu().clone()
    for k, piece in enumerate(pieces):
        torch.save({"step": step, "parts": len(pieces), "weights": piece}, out / f"part-{k}")
    for k in range(len(pieces)):
        os.replace(out / f"part-{k}", out / f"learner-{k}.pt")


def read_weights(learner: Learner, folder: Path) -> None:
    """Raises ValueError where the parts are not of one save."""
    first = torch.load(folder / "learner-0.pt", map_location="cpu", weights_only=True)
    pieces = [torch.load(folder / f"learner-{k}.pt", map_location="cpu", weights_only=True) for k in range(first["parts"])]
    if {p["step"] for p in pieces} != {first["step"]}:
        raise ValueError(f"{folder}: learner-*.pt are of several saves, steps {[p['step'] for p in pieces]}; begin from an export instead")
    learner.load_state_dict({k: v for p in pieces for k, v in p["weights"].items()})


def start(a: argparse.Namespace) -> Learner:
    torch.manual_seed(a.seed)
    learner = Learner()
    if list(a.begin.glob("learner-*.pt")):
        read_weights(learner, a.begin)
    else:
        learner.published[0].load_state_dict(load(a.begin).state_dict())
        learner.language.from_model(learner.published[0].language)
    if a.heads:
        learner.load_state_dict({k: v.float() for k, v in torch.load(a.heads, weights_only=True).items()}, strict=False)
    return learner.to(a.device)


def rate(a: argparse.Namespace, part: float, step: int) -> float:
    """What all rates are multiplied with after a part of the time: a rise, then level, then down in a line."""
    return a.speed * min(1.0, (step + 1) / a.rise) * max(0.01, min(1.0, (1 - part) / a.fall))


def replan(a: argparse.Namespace, feed: Feed) -> None:
    """Takes what LIVE names from the plan, a file that may change while the training runs."""
    if a.plan and a.plan.exists():
        plan = json.loads(a.plan.read_text())
        for k in LIVE:
            setattr(a, k, plan.get(k, getattr(a, k)))
        feed.share(a.more)


def run(a: argparse.Namespace) -> None:
    begin = time.time()
    a.out.mkdir(parents=True, exist_ok=True)
    feed = Feed(a.workers, a.seed, a.again, a.more, a.size, a.zh)
    learner = start(a)
    feed.load(a.device)
    optim = Both(list(learner.named_parameters()), a.muon, a.adam, a.slow, 1, ("vision.", "projector."))
    moe = [layer for layer in learner.language.layers if layer.moe]
    heard, held_out, pictures, step = Heard(a.device), [], 0, 0
    log, scores = (csv.writer(open(a.out / f"timed-{n}.csv", "a", newline="", buffering=1)) for n in ("train", "scores"))

    def look() -> dict[str, float]:
        held_out.extend([] if held_out else feed.exam(a.device))
        got = exam(learner, held_out)
        scores.writerows([round(time.time() - begin), step, k, v] for k, v in got.items())
        return got

    print(f"ready after {time.time() - begin:.1f} s", flush=True)
    told = tested = saved = time.time()
    while (part := (time.time() - begin) / a.seconds) < 1:
        scale, loads, loss = rate(a, part, step), [torch.zeros_like(layer.bias) for layer in moe], 0
        for _ in range(a.batches):
            b = feed.take()
            loss = loss + learn(learner, b, heard, a.patch * min(1.0, 2 * (1 - part)), 1 / a.batches)
            pictures += b.pictures
            if b.packed is not None:
                loads = [n + layer.load.float() for n, layer in zip(loads, moe)]
        if not torch.isfinite(loss):
            print("skipped a step: loss", loss.item(), flush=True)
            optim.zero()
            continue
        norm = optim.step(scale)
        for layer, load_of in zip(moe, loads):
            layer.bias += 0.003 * min(1.0, scale) * (load_of.mean() - load_of).sign()
        step += 1
        now = time.time()
        if now - told > a.tell:
            full = max(float(n.max() / n.mean().clamp(min=1e-9)) for n in loads)          # 0 where the tower alone learnt
            row = {"seconds": round(now - begin), "step": step, "pictures": pictures, "loss": round(loss.item() / a.batches, 4), "full": round(full, 2)}
            log.writerow(row.values())
            replan(a, feed)
            print(row, f"norm {norm:.2f} rate {scale:.2f} waited {feed.waited}", heard.take(), flush=True)
            told = now
        if now - tested > a.test:
            got = look()
            print("held-out", round(now - begin), step, got, flush=True)
            tested = time.time()
        if now - saved > a.save:
            save(learner, a.out, step)
            saved = time.time()
    save(learner, a.out, step)
    got = look()
    print("held-out at the end", step, pictures, got, f"{time.time() - begin:.1f} s", flush=True)
    feed.stop()


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--begin", type=Path, required=True, help="a checkpoint folder, or one with learner-*.pt")
    p.add_argument("--heads", type=Path, help="throw-away heads of an earlier run, as tensors by name")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--plan", type=Path, help="a JSON file of what changes while it runs: " + ", ".join(LIVE))
    p.add_argument("--seconds", type=float, default=540)
    p.add_argument("--workers", type=int, default=14, help="processes that draw")
    p.add_argument("--again", type=int, default=3, help="how often a drawn picture is asked about")
    p.add_argument("--batches", type=int, default=4, help="of a step")
    p.add_argument("--size", type=float, default=1.0, help="multiplies the pictures of a batch: 0.05 suits a CPU core")
    p.add_argument("--zh", type=float, default=0.3, help="share of questions in Chinese")
    p.add_argument("--rise", type=int, default=100, help="steps in which the rate rises")
    p.add_argument("--more", type=json.loads, default={}, help='multiplies shares of kinds of batches, as {"text": 1.5}')
    p.add_argument("--speed", type=float, default=1.0, help="multiplies all rates")
    p.add_argument("--fall", type=float, default=0.6, help="the last share of the time, in which the rate falls")
    p.add_argument("--muon", type=float, default=2e-3)
    p.add_argument("--adam", type=float, default=1.5e-3)
    p.add_argument("--slow", type=float, default=0.8, help="rate of the vision tower over the others'")
    p.add_argument("--patch", type=float, default=0.3, help="weight of the patches' losses")
    p.add_argument("--tell", type=float, default=10, help="seconds between two lines")
    p.add_argument("--test", type=float, default=100, help="seconds between two looks at held-out pictures")
    p.add_argument("--save", type=float, default=200)
    p.add_argument("--seed", type=int, default=11)
    p.add_argument("--device", default="cuda")
    a = p.parse_args()
    if a.workers < 1:
        p.error("--workers: at least one process must draw")
    run(a)


if __name__ == "__main__":
    main()
