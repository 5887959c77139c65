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
import torch.nn.functional as F
from torch import Tensor, nn

from . import data
from .config import Projector as ProjectorConfig
from .config import Vision as VisionConfig
from .optim import Both
from .settings import GRID, PROJECTOR, VISION
from .state import load_state, save_state
from .vision import Projector, VisionTower, cells

PATCH_HEADS = {"color": 9, "shape": 9, "letter": 37, "order": 7, "sides": 4, "holds": 1, "place": 4}
ROW_HEADS = {"color": 8, "shape": 8, "letter": 36, "holds": 4, "place": 16, "order": 6}


class Heads(nn.Module):
    """Throw-away readers of the tower's patches and of the projector's rows."""

    def __init__(self, width: int, rows: int):
        super().__init__()
        self.patch_head = nn.ModuleDict({k: nn.Linear(width, n) for k, n in PATCH_HEADS.items()})
        self.row_head = nn.ModuleDict({k: nn.Linear(rows, n) for k, n in ROW_HEADS.items()})


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
    """n or a few more views, tiles among them, with labels; is_global marks where `place` holds."""
    got: list[dict] = []
    views = 0
    while views < n:
        got.append(next(stream))
        views += len(got[-1]["tiles"])
    out = {k: torch.from_numpy(np.concatenate([g[k] for g in got])).to(device)
           for k in ("tiles", "labels", "sides", "holds", "place")}
    out["is_global"] = torch.from_numpy(
        np.concatenate([np.arange(len(g["tiles"])) == 0 for g in got])).to(device)
    return out


def pixels(tiles: Tensor) -> Tensor:
    return tiles.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def patch_losses(heads: Heads, x: Tensor, b: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each patch of the tower's output [N,G*G,Dv] says against the labels."""
    h, labels = heads.patch_head, b["labels"].long()
    owned = labels.amax(-1) > 0
    out = {k: F.cross_entropy(h[k](x).flatten(0, 1), labels[..., i].flatten())
           for i, k in enumerate(("color", "shape", "letter", "order"))}
    out["sides"] = (h["sides"](x) - b["sides"].float()).abs()[owned].mean() * 2
    out["holds"] = F.binary_cross_entropy_with_logits(h["holds"](x)[..., 0], b["holds"].float())
    whole = owned & b["is_global"][:, None]
    out["place"] = (h["place"](x) - b["place"].float()).abs()[whole].mean() * 4
    return out


def row_losses(heads: Heads, rows: Tensor, b: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each projected row [N,g*g,D] says about the four patches it was made of."""
    h, labels = heads.row_head, b["labels"]
    n = len(labels)
    block = cells(labels.view(n, GRID, GRID, 4).float(), 2).view(n, -1, 4, 4).long()      # [N,g*g,label,patch]
    out = {}
    for i, k in enumerate(("color", "shape", "letter", "order")):
        there = F.one_hot(block[:, :, i], ROW_HEADS[k] + 1)[..., 1:].amax(2).float()
        weight = 1.0 if k in ("color", "shape") else 0.5
        out["row_" + k] = F.binary_cross_entropy_with_logits(h[k](rows), there) * ROW_HEADS[k] * 0.25 * weight
    holds = cells(b["holds"].view(n, GRID, GRID, 1).float(), 2)
    out["row_holds"] = F.binary_cross_entropy_with_logits(h["holds"](rows), holds)
    owned = block.amax(2) > 0
    place = cells(b["place"].view(n, GRID, GRID, 4).float(), 2).view(n, -1, 4, 4).transpose(2, 3)
    guess = h["place"](rows).view(n, -1, 4, 4)
    out["row_place"] = (guess - place).abs()[owned & b["is_global"][:, None, None]].mean() * 4
    return out


@torch.no_grad()
def patch_scores(seer: Seer, b: dict[str, Tensor]) -> dict[str, float]:
    """Shares right among patches that lie on something."""
    x = seer.vision(pixels(b["tiles"]))
    labels = b["labels"].long()
    out = {}
    for i, k in enumerate(("color", "shape", "letter", "order")):
        on = labels[..., i] > 0
        out[k] = (seer.heads.patch_head[k](x).argmax(-1) == labels[..., i])[on].float().mean().item()
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--state", type=Path, required=True)
    p.add_argument("--shards", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=20)
    p.add_argument("--batch", type=int, default=96)
    p.add_argument("--muon", type=float, default=2e-3)
    p.add_argument("--adam", type=float, default=1e-3)
    p.add_argument("--text", type=float, default=0.35)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--device", default="cpu")
    a = p.parse_args()
    torch.manual_seed(a.seed)
    run(a)


def run(a: argparse.Namespace) -> None:
    a.state.mkdir(parents=True, exist_ok=True)
    seer = Seer().to(a.device)
    optim = Both(list(seer.named_parameters()), a.muon, a.adam)
    done = load_state(a.state / "warm.pt", seer, optim)
    step, before = done.get("step", 0), done.get("seconds", 0.0)
    stream = data.pictures(a.shards, a.seed + step, {"items": 1 - a.text, "text": a.text})
    start = saved = time.time()
    means: dict[str, float] = {}
    with open(a.state / "warm.csv", "a", newline="") as file:
        log = csv.writer(file)
        while (left := before + time.time() - start) < a.minutes * 60:
            b = view_batch(stream, a.batch, a.device)
            x = seer.vision(pixels(b["tiles"]))
            losses = {**patch_losses(seer.heads, x, b), **row_losses(seer.heads, seer.projector(x), b)}
            sum(losses.values()).backward()
            step += 1
            fade = min(1.0, 4 * max(0.0, 1 - left / (a.minutes * 60)))
            optim.step(min(1.0, step / 50) * max(0.1, fade))
            for k, v in losses.items():
                means[k] = 0.95 * means.get(k, v.item()) + 0.05 * v.item()
            if step % 50 == 0:
                row = [step, round(left), *(round(v, 4) for v in means.values())]
                log.writerow(row), file.flush()
                got = patch_scores(seer, view_batch(stream, 128, a.device))
                print(step, f"{left:.0f}s", {k: round(v, 3) for k, v in means.items()},
                      "right", {k: round(v, 3) for k, v in got.items()}, flush=True)
            if time.time() - saved > 60:
                saved = time.time()
                save_state(a.state / "warm.pt", seer, optim, step=step, seconds=left)
    save_state(a.state / "warm.pt", seer, optim, step=step, seconds=left)


if __name__ == "__main__":
    main()
