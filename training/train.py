"""The second stage: everything learns to answer, from where training/warm.py ended (or still is).

    python -m training.train --state DIR --shards DIR --steps 4000 [--me 0]
Run again with the same state to go on; run with another --me beside it to train with two processes. DIR/plan.json may
change what LIVE names while it runs. The patches' losses stay on: every picture teaches the tower too.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import config, data, kernels, packed
from .export import export
from .fast import FastLanguage
from .heads import WAVES, Heads, losses, shares_right, steps_loss
from .init import init_language
from .merge import Common, read_common
from .model import Model, load
from .optim import Both
from .packed import Packed, Packer
from .settings import CANDIDATES, LANGUAGE, PROJECTOR, VISION
from .state import load_state, save_state
from .turns import TOKENS
from .warm import pixels, view_batch

SHARES = {"text": 0.0, "pair": 0.4, "long": 0.6}      # what the second batch of a step holds
LIVE = ("steps", "speed", "shares", "wide", "both", "letters", "short", "boxes")      # what DIR/plan.json may change


class Learner(nn.Module):
    """The model, its language half as training/fast.py has it, with the throw-away heads of the warm-up."""

    def __init__(self) -> None:
        super().__init__()
        whole = config.Config(config.Vision(**VISION), config.Projector(**PROJECTOR),
                              config.Language(vocab_size=TOKENS.vocab, **LANGUAGE), CANDIDATES)
        self.published = [Model(whole)]            # in a list: no part of this module's parameters
        model = self.published[0]
        self.vision, self.projector = model.vision, model.projector
        self.image_newline, self.view_seperator = model.image_newline, model.view_seperator
        self.heads = Heads(VISION["width"], PROJECTOR["n_embed"])
        self.language = FastLanguage(whole.language)
        self.tellers = nn.ModuleList(nn.Linear(PROJECTOR["n_embed"], 4 * WAVES) for _ in range(2))
        self.answerers = nn.ModuleList(nn.Linear(PROJECTOR["n_embed"], TOKENS.vocab) for _ in range(2))

    def whole(self) -> Model:
        self.language.to_model(self.published[0].language)
        return self.published[0]

    def forward(self, b: Packed, patch: float = 0.0, apart: bool = False) -> tuple[Tensor, Tensor]:
        """Logits at the places that predict, and the weighted losses of the throw-away heads: of patches and rows, and of what a turn's
        states know before the last layers; apart: the tower learns from the first two alone."""
        near = torch.zeros((), device=b.source.device)
        with kernels.autocast(b.source.device.type):
            seen = self.vision(pixels(b.views["tiles"]))
            rows = self.projector(seen)
            if patch:
                near = patch * sum(losses(self.heads, seen, rows, b.views).values())
        ends = torch.stack([self.image_newline, self.view_seperator])
        rows = (rows.detach() if apart else rows).reshape(-1, rows.shape[-1]).float()
        table = torch.cat([rows, ends, self.language.embed])
        fused = table.is_cpu and kernels.there()
        x = kernels.LookUp.apply(table, b.source) if fused else table.index_select(0, b.source).to(kernels.dtype_on(table.device.type))
        between: list[Tensor] = []
        logits = self.language(x, b.plan, between)
        if patch and len(b.told):
            for teller, states in zip(self.tellers, between[1:]):
                guess = teller(states.index_select(0, b.told).float()).view(-1, 4, WAVES)
                near = near + 0.4 * steps_loss(guess, b.boxes).mean()
        if patch and len(b.asked):
            for answerer, states in zip(self.answerers, between[1:]):
                near = near + 0.3 * F.cross_entropy(answerer(states.index_select(0, b.asked).float()), b.words)
        return logits, near


def balance(language: FastLanguage, step: float) -> float:
    """Moves the routers' biases towards even loads; returns the fullest expert's share of the mean."""
    worst = 0.0
    for layer in language.layers:
        if layer.moe:
            load = layer.load.float()
            layer.bias += step * (load.mean() - load).sign()
            worst = max(worst, float(load.max() / load.mean()))
    return worst


def mean_loss(logits: Tensor, b: Packed) -> tuple[Tensor, Tensor]:
    each = F.cross_entropy(logits.float(), b.target, reduction="none", ignore_index=-1)
    return (each * b.weight).sum() / (b.weight.sum() + 1), each.detach()


def tower_loss(learner: Learner, views: dict[str, Tensor]) -> Tensor:
    """What the heads say of views that the tower and projector alone learn from."""
    with kernels.autocast(views["tiles"].device.type):
        seen = learner.vision(pixels(views["tiles"]))
        return sum(losses(learner.heads, seen, learner.projector(seen), views).values())


def heard(b: Packed, each: Tensor, mean: dict[str, float]) -> None:
    """Running means of the loss of each task's answers, by the tokens that count."""
    sums: dict[str, list[float]] = {}
    for n, v, w in zip(b.owner, each.tolist(), b.weight.tolist()):
        if n >= 0 and w > 0.5:
            sums.setdefault(str(b.turns[n].task), []).append(v)
    for k, v in sums.items():
        now = sum(v) / len(v)
        mean[k] = mean[k] + 0.05 * (now - mean[k]) if k in mean else now


class Examiner:
    """Held-out questions, answered by teacher-forced argmax, which equals greedy where the whole answer is right."""

    def __init__(self, shards: Path, rounds: int, device: str):
        self.device = device
        packer = Packer(data.pictures(shards, 1, {"items": 0.75, "text": 0.25}, 2, "held-out"), 5, even=True)
        self.made: list[Packed] = []
        for _ in range(rounds):
            self.made += [packer.items("square", 20, 10, 3, 2), packer.items("tiles", 8, 10, 3, 2, 1),
                          packer.items("square", 8, 2, 0, 0, 3), packer.text(20, 1), packer.pair(12, 4)]

    @torch.no_grad()
    def __call__(self, learner: Learner) -> dict[str, float]:
        got: dict[str, list[float]] = {}
        for b in self.made:
            best = learner(b.to(self.device))[0].argmax(-1)
            for name, score in packed.scores(b, best):
                got.setdefault(str(name), []).append(score)
        return {k: round(100 * sum(v) / len(v), 1) for k, v in sorted(got.items())}


def fit_heads(learner: Learner, stream: Iterator[dict], steps: int = 300, views: int = 96) -> None:
    """New heads for a tower that has been trained: what is thrown away after a training is found again."""
    optim = torch.optim.AdamW(learner.heads.parameters(), 1e-2, betas=(0.9, 0.97), weight_decay=0.0)
    for i in range(steps):
        b = view_batch(stream, views, "cpu")
        with torch.no_grad(), kernels.autocast("cpu"):
            seen = learner.vision(pixels(b["tiles"]))
            rows = learner.projector(seen)
        seen, rows = seen.float(), rows.float()
        loss = sum(losses(learner.heads, seen, rows, b).values())
        loss.backward()
        for group in optim.param_groups:
            group["lr"] = 1e-2 * min(1.0, 2 * (1 - i / steps))
        optim.step()
        optim.zero_grad()
        if i % 50 == 49:
            print("heads", i + 1, f"{loss.item():.3f}", {k: round(v, 3) for k, v in shares_right(learner.heads, seen, rows, b).items()}, flush=True)


def start(a: argparse.Namespace) -> tuple[Learner, Both, Common]:
    torch.manual_seed(a.seed)
    learner = Learner()
    if not (a.state / "train.common").exists():
        if a.begin:
            learner.published[0].load_state_dict(load(a.begin).state_dict())
        else:
            parts = [p for m in (learner.vision, learner.projector, learner.heads) for p in m.parameters()]
            read_common(a.state / "warm.common", parts)
            init_language(learner.published[0], learner.heads.row_head)
        learner.language.from_model(learner.published[0].language)
        if a.begin:
            fit_heads(learner, data.pictures(a.shards, a.seed, {"items": 0.5, "text": 0.5}, 4))
    learner.to(a.device)
    named = list(learner.named_parameters())
    optim = Both(named, a.muon, a.adam, a.slow, a.turns, ("vision.", "projector."))
    load_state(a.state / f"train-{a.me}.pt", learner, optim)
    return learner, optim, Common(a.state / "train.common", [p for _, p in named], a.me)


def draw(packer: Packer, a: argparse.Namespace) -> list[Packed]:
    """A step's batches: pictures of one tile or of several, and at times one of another kind."""
    packer.longest = 10 if packer.rng.random() < 0.7 else 12
    wide = packer.rng.random() < a.wide
    made = [packer.items("tiles" if wide else "square", a.batch * 3 // 4 if wide else a.batch, a.short, a.boxes, 1)]
    if packer.rng.random() > a.both:
        return made
    names = list(a.shares)
    kind = packer.rng.choice(names, p=[v / sum(a.shares.values()) for v in a.shares.values()])
    if kind == "text":
        made.append(packer.text(a.batch))
    elif kind == "pair":
        made.append(packer.pair(a.batch))
    elif kind == "long":
        made.append(packer.items("tiles" if packer.rng.random() < a.wide else "square", a.batch // 2, 4, 0, 0, 2))
    elif kind == "sizes":
        made.append(packer.page(a.batch, 6, "square"))
    elif kind in ("page", "spot", "three"):
        made.append(getattr(packer, kind)(a.batch))
    return made


def run(a: argparse.Namespace) -> None:
    learner, optim, common = start(a)
    packer = Packer(data.pictures(a.shards, a.seed * 7919 + a.me * 131 + common.steps, {"items": 1 - a.text, "text": a.text, **a.more}, 4),
                    a.seed * 31 + a.me + common.steps * 2)
    examiner = Examiner(a.shards, a.rounds, a.device) if a.me == 0 else None
    words = data.pictures(a.shards, a.seed * 6007 + a.me * 17 + common.steps, {"text": 1.0}, 4)
    mine, mean, by_task, pictures, full = 0, 0.0, {}, 0, 4.0
    begin = saved = tested = time.time()
    log = csv.writer(file := open(a.state / "train.csv", "a", newline=""))
    while (part := common.steps / a.steps) < 1:
        packer.hard = min(1.0, 0.2 + part / a.ease)
        step_loss = torch.zeros((), device=a.device)
        for b in (p.to(a.device) for p in draw(packer, a)):
            logits, near = learner(b, a.patch * min(1.0, 2 * (1 - part)), part < a.apart)
            loss, each = mean_loss(logits, b)
            (loss * (1.0 if not step_loss else a.second) + near).backward()
            heard(b, each, by_task)
            step_loss = step_loss + loss.detach()
            pictures += int(b.views["is_global"].sum())
        if a.letters:
            by_task["letters"] = read_letters(learner, words, a, 2 * a.patch)
        mine += 1
        if not torch.isfinite(step_loss):
            print("skipped", mine, by_task, flush=True)
            optim.zero()
            continue
        scale = a.speed * min(1.0, mine / 40) * max(0.02, min(1.0, (1 - part) / a.fall))
        norm = optim.step(scale)
        full = balance(learner.language, 0.003 * min(1.0, scale) * (6 if full > 2.5 else 1))
        mean = 0.97 * mean + 0.03 * float(step_loss) if mine > 1 else float(step_loss)
        if common.step():
            plan = json.loads(p.read_text()) if (p := a.state / "plan.json").exists() else {}
            for k in LIVE:
                setattr(a, k, plan.get(k, getattr(a, k)))
        if mine % 50 == 0:
            took = time.time() - begin
            log.writerow([time.strftime("%H:%M:%S"), a.me, common.steps, pictures, round(mean, 4), round(full, 2)]), file.flush()
            print(time.strftime("%H:%M:%S"), common.steps, f"{pictures / took:.1f} pictures/s share {common.share():.2f} loss {mean:.3f} "
                  f"norm {norm:.2f} full {full:.1f} near {near.item():.3f}", {k: round(v, 2) for k, v in sorted(by_task.items())}, flush=True)
        if examiner and time.time() - tested > a.test_every * 60:
            common.merge()
            tested, scores = time.time(), examiner(learner)
            print("held-out", time.strftime("%H:%M:%S"), common.steps, scores, flush=True)
            with open(a.state / "scores.csv", "a") as out:
                out.writelines(f"{time.strftime('%H:%M:%S')},{common.steps},{k},{v}\n" for k, v in scores.items())
        if time.time() - saved > 120:
            saved = time.time()
            keep(learner, optim, a)
    common.merge()
    keep(learner, optim, a)


def read_letters(learner: Learner, words: Iterator[dict], a: argparse.Namespace, weight: float) -> float:
    """Views of words that the tower and projector alone learn from: many more than the language half has time for."""
    loss = weight * tower_loss(learner, view_batch(words, a.letters, a.device))
    loss.backward()
    return float(loss.detach())


def keep(learner: Learner, optim: Both, a: argparse.Namespace) -> None:
    save_state(a.state / f"train-{a.me}.pt", learner, optim)
    if a.export and a.me == 0:
        export(learner.whole(), a.export)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--state", type=Path, required=True)
    p.add_argument("--shards", type=Path, required=True)
    p.add_argument("--begin", type=Path, help="a checkpoint folder to start from, instead of a warmed tower")
    p.add_argument("--steps", type=int, default=4000, help="of all processes, earlier runs counted")
    p.add_argument("--batch", type=int, default=16, help="square pictures a step; fewer others beside them")
    p.add_argument("--short", type=int, default=10, help="short questions a picture")
    p.add_argument("--boxes", type=int, default=4, help="questions for one box a picture")
    p.add_argument("--muon", type=float, default=2e-3)
    p.add_argument("--turns", type=int, default=2, help="steps between two moves of a matrix by Muon, which takes long")
    p.add_argument("--adam", type=float, default=1.5e-3)
    p.add_argument("--slow", type=float, default=0.5, help="rate of the warmed vision tower over the others'")
    p.add_argument("--speed", type=float, default=1.0, help="multiplies all rates")
    p.add_argument("--text", type=float, default=0.2, help="share of pictures of words that are read from the shards")
    p.add_argument("--more", type=json.loads, default={}, help='further kinds of shards, as {"chart": 0.2, "pair": 0.1}')
    p.add_argument("--second", type=float, default=0.7, help="weight of a step's second batch")
    p.add_argument("--shares", type=json.loads, default=SHARES, help="of the kinds of second batches")
    p.add_argument("--wide", type=float, default=0.5, help="share of the steps whose pictures have several tiles")
    p.add_argument("--letters", type=int, default=0, help="views of words a step for the tower alone")
    p.add_argument("--both", type=float, default=0.5, help="share of the steps that have a second batch")
    p.add_argument("--patch", type=float, default=0.3, help="weight of the patches' losses")
    p.add_argument("--apart", type=float, default=0.1, help="share of the steps in which answers do not yet teach the tower")
    p.add_argument("--fall", type=float, default=0.35, help="the last share of the steps, in which the rate falls")
    p.add_argument("--ease", type=float, default=0.25, help="share of the steps in which absent things become hard to tell")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--me", type=int, default=0, help="number of this process, of several with the same state")
    p.add_argument("--rounds", type=int, default=3, help="of held-out batches")
    p.add_argument("--test-every", type=float, default=5, help="minutes between scores")
    p.add_argument("--device", default="cpu", help="cuda is meant to work, by the plain operations of fast.py")
    p.add_argument("--export", type=Path)
    run(p.parse_args())


if __name__ == "__main__":
    main()
