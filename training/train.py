"""The second stage: everything learns to answer, from where training/warm.py ended.

    python -m training.train --state DIR --shards DIR --minutes 60 [--device cuda] [--compile]
Run again with the same state to go on. --export FOLDER writes the checkpoint, --eval scores it on held-out shards.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from . import batches, config, data, workers
from .export import export
from .init import init_language
from .model import Model
from .optim import Both
from .settings import CANDIDATES, LANGUAGE, PROJECTOR, VISION
from .state import load_state, save_state
from .warm import Heads, patch_losses, row_losses


class Learner(torch.nn.Module):
    """The model with the throw-away heads of the warm-up."""

    def __init__(self, vocab: int):
        super().__init__()
        self.model = Model(config.Config(
            config.Vision(**VISION), config.Projector(**PROJECTOR),
            config.Language(vocab_size=vocab, **LANGUAGE), CANDIDATES))
        self.heads = Heads(VISION["width"], PROJECTOR["n_embed"])

    def forward(self, b: batches.Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits at the answers, and the losses of the patches."""
        seen = self.model.vision(self.model.normalize(b.views["tiles"]))
        rows = self.model.projector(seen)
        near = {**patch_losses(self.heads, seen, b.views), **row_losses(self.heads, rows, b.views)}
        parts = [rows.reshape(-1, rows.shape[-1]), self.model.image_newline[None], self.model.view_seperator[None]]
        x = self.model.language.model.embed_tokens(b.ids)
        x = x.index_copy(0, b.image_at, torch.cat(parts)[b.image_from])
        return self.model.language(x, b.layout, b.keep), near


def balance(model: Model, step: float) -> float:
    """Moves the routers' biases towards even loads; returns the fullest expert's share of the mean."""
    worst = 0.0
    for layer in model.language.model.layers[1:]:
        load = layer.mlp.load.float()
        layer.mlp.gate.e_score_correction_bias.data += step * (load.mean() - load).sign()
        worst = max(worst, float(load.max() / load.mean()))
    return worst


def start(a: argparse.Namespace) -> tuple[Learner, Both, dict]:
    torch.manual_seed(a.seed)
    learner = Learner(batches.TOKENS.vocab)
    if not (a.state / "train.pt").exists():
        warm = torch.load(a.state / "warm.pt", map_location="cpu", weights_only=True)["model"]
        learner.heads.load_state_dict({k[6:]: v for k, v in warm.items() if k.startswith("heads.")})
        learner.model.vision.load_state_dict({k[7:]: v for k, v in warm.items() if k.startswith("vision.")})
        learner.model.projector.load_state_dict({k[10:]: v for k, v in warm.items() if k.startswith("projector.")})
        init_language(learner.model, learner.heads.row_head)
    learner = learner.to(a.device)
    optim = Both([(n, p) for n, p in learner.named_parameters() if p.requires_grad], a.muon, a.adam, a.slow)
    return learner, optim, load_state(a.state / "train.pt", learner, optim)


@torch.no_grad()
def evaluate(learner: Learner, a: argparse.Namespace, rounds: int) -> dict[str, float]:
    """Teacher-forced shares of wholly right answers by task; boxes by IoU > 0.5."""
    stream = data.pictures(a.shards, 1, {"items": 0.8, "text": 0.2}, 2, "held-out")
    maker = batches.Maker(stream, 1, a.device, turns=10, even=True)
    got: dict[str, list[float]] = {}
    for _ in range(rounds):
        b = maker.make(24)
        logits, _ = learner(b)
        for name, score in batches.scores(b, logits.argmax(-1)):
            got.setdefault(name, []).append(score)
    return {k: round(100 * sum(v) / len(v), 1) for k, v in sorted(got.items())}


def run(a: argparse.Namespace) -> None:
    learner, optim, done = start(a)
    step, before = done.get("step", 0), done.get("seconds", 0.0)
    if a.eval:
        print(evaluate(learner, a, a.eval))
    source = workers.start(a, a.seed + step)
    begin = saved = tested = time.time()
    file = open(a.state / "train.csv", "a", newline="")
    log, mean, by_task = csv.writer(file), 0.0, {}
    while (spent := before + time.time() - begin) < min(a.minutes, a.until) * 60:
        left = 1 - spent / (a.minutes * 60)
        b = batches.move(next(source), a.device)
        with torch.autocast(a.device, torch.bfloat16, enabled=a.bf16):
            logits, near = learner(b)
        logits = logits.float()
        each = F.cross_entropy(logits, b.target, reduction="none")
        (each.mean() + a.patch * sum(near.values())).backward()
        step += 1
        scale = min(1.0, step / 25) * max(0.02, min(1.0, left / a.fall))
        optim.step(scale)
        full = balance(learner.model, 0.004 * scale)
        mean = 0.97 * mean + 0.03 * each.mean().item() if mean else each.mean().item()
        batches.by_task(b, each.detach(), by_task)
        if step % 10 == 0:
            print(step, f"{spent:.0f}s loss {mean:.3f} full {full:.1f} patch {sum(v.item() for v in near.values()):.3f}",
                  {k: round(v, 2) for k, v in sorted(by_task.items())}, flush=True)
            log.writerow([step, round(spent), round(mean, 4), round(full, 2)]), file.flush()
        if time.time() - tested > a.test_every * 60:
            tested = time.time()
            scores = evaluate(learner, a, 8)
            print("held-out", step, scores, flush=True)
            with open(a.state / "scores.csv", "a") as out:
                out.writelines(f"{step},{spent:.0f},{k},{v}\n" for k, v in scores.items())
        if time.time() - saved > 120:
            saved = time.time()
            save_state(a.state / "train.pt", learner, optim, step=step, seconds=spent)
            if a.export:
                export(learner.model, a.export)
    save_state(a.state / "train.pt", learner, optim, step=step, seconds=spent)
    if a.export:
        export(learner.model, a.export)
    if a.until > a.minutes:
        print("held-out", step, evaluate(learner, a, 16), flush=True)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--state", type=Path, required=True)
    p.add_argument("--shards", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=60, help="of training in all, earlier runs counted")
    p.add_argument("--until", type=float, default=1e9, help="stop earlier than --minutes, which gives the falling rate")
    p.add_argument("--batch", type=int, default=24, help="pictures")
    p.add_argument("--turns", type=int, default=10, help="questions a picture")
    p.add_argument("--muon", type=float, default=1.5e-3)
    p.add_argument("--adam", type=float, default=1.5e-3)
    p.add_argument("--slow", type=float, default=0.3, help="rate of the warmed vision tower over the others'")
    p.add_argument("--text", type=float, default=0.15, help="share of pictures of words")
    p.add_argument("--pairs", type=float, default=0.0, help="share of conversations with two pictures")
    p.add_argument("--patch", type=float, default=0.15, help="weight of the patches' losses")
    p.add_argument("--fall", type=float, default=0.4, help="the last share of the time, in which the rate falls")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--easy", type=int, default=0, help="only square pictures of at most so many items, short answers")
    p.add_argument("--eval", type=int, default=0)
    p.add_argument("--test-every", type=float, default=6, help="minutes between scores")
    p.add_argument("--export", type=Path)
    p.add_argument("--workers", type=int, default=0, help="processes that make batches")
    p.add_argument("--bf16", action="store_true", help="matrix products in bfloat16, for a GPU")
    p.add_argument("--device", default="cpu")
    run(p.parse_args())


if __name__ == "__main__":
    main()
