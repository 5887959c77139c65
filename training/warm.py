"""The first stage: the vision tower and projector learn what lies under each patch.

    python -m training.warm --state DIR --shards DIR --minutes 20 [--device cuda]
Linear heads, thrown away afterwards, read colour, shape, letter, its place in the word and the box from
each patch; and from each projected row what its four patches hold. The row heads' directions become the
first embeddings of the same words (training/train.py).
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import data, kernels
from .config import Projector as ProjectorConfig
from .config import Vision as VisionConfig
from .merge import Common
from .optim import Both
from .heads import Heads, losses, shares_right
from .settings import PROJECTOR, VISION
from .state import load_state, save_state
from .vision import Projector, VisionTower

class Seer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vision = VisionTower(VisionConfig(**VISION))
        self.projector = Projector(ProjectorConfig(**PROJECTOR))
        self.heads = Heads(VISION["width"], PROJECTOR["n_embed"])
        init_vision(self.vision, self.projector)


def init_vision(vision: nn.Module, projector: nn.Module) -> None:
    for module in [*vision.modules(), *projector.modules()]:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, module.in_features**-0.5)
            nn.init.zeros_(module.bias)
    for block in vision.blocks:
        nn.init.normal_(block.attn.proj.weight, 0, 0.02)
        nn.init.normal_(block.mlp.fc2.weight, 0, 0.02)
    nn.init.normal_(vision.pos_embed, 0, 0.1)


def view_batch(stream, n: int, device: str) -> dict[str, Tensor]:
    """n views, tiles among them, with labels; is_global marks where `place` and `spell` hold."""
    got: list[dict] = []
    views = 0
    while views < n:
        got.append(next(stream))
        views += len(got[-1]["tiles"])
    out = {k: torch.from_numpy(np.concatenate([g[k] for g in got])[:n]).to(device)
           for k in ("tiles", "labels", "sides", "holds", "place", "spell")}
    out["is_global"] = torch.from_numpy(
        np.concatenate([np.arange(len(g["tiles"])) == 0 for g in got])[:n]).to(device)
    return out


def pixels(tiles: Tensor) -> Tensor:
    return tiles.permute(0, 3, 1, 2).float() / 127.5 - 1.0


class Lesson(nn.Module):
    """The losses of a batch as one vector, to be compiled whole."""

    def __init__(self, seer: Seer):
        super().__init__()
        self.seer = seer

    def names(self) -> list[str]:
        return self._names

    def forward(self, b: dict[str, Tensor]) -> Tensor:
        x = self.seer.vision(pixels(b["tiles"]))
        each = losses(self.seer.heads, x, self.seer.projector(x), b)
        self._names = list(each)
        return torch.stack(list(each.values()))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--state", type=Path, required=True)
    p.add_argument("--shards", type=Path, required=True)
    p.add_argument("--views", type=float, default=400e3, help="views in all, earlier runs and other processes counted")
    p.add_argument("--batch", type=int, default=112)
    p.add_argument("--muon", type=float, default=2e-3)
    p.add_argument("--adam", type=float, default=1.5e-3)
    p.add_argument("--text", type=float, default=0.25)
    p.add_argument("--fall", type=float, default=0.35, help="the last share of the views, in which the rate falls")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--me", type=int, default=0, help="number of this process, of several with the same state")
    p.add_argument("--device", default="cpu")
    a = p.parse_args()
    torch.manual_seed(a.seed)
    run(a)


def run(a: argparse.Namespace) -> None:
    a.state.mkdir(parents=True, exist_ok=True)
    seer = Seer().to(a.device)
    lesson, own = Lesson(seer), a.state / f"warm-{a.me}.pt"
    optim = Both(list(seer.named_parameters()), a.muon, a.adam)
    load_state(own, seer, optim)
    common = Common(a.state / "warm.common", [p for _, p in seer.named_parameters()], a.me)
    stream = data.pictures(a.shards, a.seed * 1000 + a.me * 77 + common.steps, {"items": 1 - a.text, "text": a.text}, pool=4)
    held = view_batch(data.pictures(a.shards, 1, {"items": 0.6, "text": 0.4}, 1, "held-out"), 400, a.device)
    saved, begin, mine, mean = time.time(), time.time(), 0, None
    with open(a.state / "warm.csv", "a", newline="") as file:
        log = csv.writer(file)
        while (part := common.steps * a.batch / a.views) < 1:
            b = view_batch(stream, a.batch, a.device)
            with kernels.autocast(a.device):
                each = lesson(b)
            each.sum().backward()
            mine += 1
            optim.step(min(1.0, (mine + 1) / 40) * max(0.03, min(1.0, (1 - part) / a.fall)))
            mean = each.detach() if mean is None else mean.lerp(each.detach(), 0.03)
            common.step()
            if mine % 60 == 0 and a.me == 0:
                got = seer_scores(lesson, held)
                log.writerow([common.steps * a.batch, *(round(v, 4) for v in mean.tolist()), *(round(v, 4) for v in got.values())])
                file.flush()
                print(time.strftime("%H:%M:%S"), common.steps * a.batch, f"{mine * a.batch / (time.time() - begin):.0f}/s share {common.share():.2f}",
                      dict(zip(lesson.names(), (round(v, 3) for v in mean.tolist()))), "right", {k: round(v, 3) for k, v in got.items()}, flush=True)
            if time.time() - saved > 120:
                saved = time.time()
                save_state(own, seer, optim)
    common.merge()
    save_state(own, seer, optim)
    save_state(a.state / f"warm.pt", seer, optim)


@torch.no_grad()
def seer_scores(lesson: Lesson, b: dict[str, Tensor]) -> dict[str, float]:
    """What is read rightly from held-out views."""
    seen = lesson.seer.vision(pixels(b["tiles"]))
    return shares_right(lesson.seer.heads, seen, lesson.seer.projector(seen), b)


if __name__ == "__main__":
    main()
