"""Throw-away readers of the tower's patches and of the projector's rows, and their losses.

They are linear, so what they learn to read lies in plain directions of the rows; the row heads' directions become the
first embeddings of the same words (training/init.py). All losses have fixed shapes, so that they compile once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .settings import GRID
from .vision import cells

PATCH_HEADS = {"color": 9, "shape": 9, "letter": 37, "order": 7, "sides": 4, "holds": 1, "place": 4}
WAVES = 21                              # functions that tell 100 steps of a coordinate apart
ROW_HEADS = {"color": 8, "shape": 8, "letter": 36, "holds": 4, "mid_color": 8, "mid_shape": 8, "mid_pair": 64,
             "box": 4 * WAVES, "spell": 6 * 63}
STEPS = 100


def number_waves(n: Tensor) -> Tensor:
    """[...] in 0 ... 1 to [...,WAVES]: smooth functions, so that near numbers have near rows."""
    speed = 2.0 ** (torch.arange(WAVES // 2, device=n.device) * 0.6 - 1)
    at = n[..., None] * speed * torch.pi
    return torch.cat([at.sin(), at.cos(), torch.ones_like(n)[..., None]], -1)


class Heads(nn.Module):
    def __init__(self, width: int, rows: int):
        super().__init__()
        self.patch_head = nn.ModuleDict({k: nn.Linear(width, n) for k, n in PATCH_HEADS.items()})
        self.row_head = nn.ModuleDict({k: nn.Linear(rows, n) for k, n in ROW_HEADS.items()})


def _mean(value: Tensor, mask: Tensor) -> Tensor:
    """The mean of value [...] where mask holds."""
    mask = mask.float()
    return (value * mask).sum() / (mask.sum() + 1)


def patch_losses(heads: Heads, x: Tensor, b: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each patch of the tower's output [N,G*G,Dv] says against the labels."""
    h, labels = heads.patch_head, b["labels"].long()
    owned = labels.amax(-1) > 0
    out = {k: F.cross_entropy(h[k](x).float().flatten(0, 1), labels[..., i].flatten())
           for i, k in enumerate(("color", "shape", "letter", "order"))}
    out["sides"] = _mean((h["sides"](x).float() - b["sides"].float()).abs().mean(-1), owned) * 2
    out["holds"] = F.binary_cross_entropy_with_logits(h["holds"](x)[..., 0].float(), b["holds"].float())
    whole = owned & b["is_global"][:, None]
    out["place"] = _mean((h["place"](x).float() - b["place"].float()).abs().mean(-1), whole) * 4
    return out


def steps_loss(waves: Tensor, box: Tensor) -> Tensor:
    """Cross-entropy [...] of the four sides [...,4] in steps, a normal curve around each, from [...,4,WAVES]."""
    steps = torch.arange(STEPS, device=waves.device)
    logits = waves @ number_waves(steps / STEPS).T
    near = torch.exp(-0.5 * ((steps - box[..., None]) / 1.2) ** 2)
    return -(near / (near.sum(-1, keepdim=True) + 1e-6) * logits.log_softmax(-1)).sum(-1).mean(-1)


def _box_loss(guess: Tensor, holds: Tensor, place: Tensor, seen: Tensor) -> Tensor:
    """Steps of the four sides of the thing whose middle lies in a row; a normal curve around the true step."""
    first = (holds * holds.new_tensor([4.0, 3.0, 2.0, 1.0])).argmax(-1)                     # [N,R]
    box = place.gather(2, first[..., None, None].expand(-1, -1, 1, 4))[:, :, 0] * STEPS
    return _mean(steps_loss(guess.float().view(*guess.shape[:2], 4, WAVES), box), (holds.sum(-1) > 0) & seen)


def _spell_loss(guess: Tensor, spell: Tensor, seen: Tensor) -> Tensor:
    """Which letter stands at each place of the word, 0 where that place lies elsewhere."""
    each = F.cross_entropy(guess.float().reshape(-1, 63), spell.long().flatten(), reduction="none").view(spell.shape)
    there = spell > 0
    return _mean(each, there) + 0.5 * _mean(each, ~there & seen[..., None])


def row_losses(heads: Heads, rows: Tensor, b: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each projected row [N,g*g,D] says about the four patches it was made of."""
    h, labels = heads.row_head, b["labels"]
    n = len(labels)

    def bits(logits: Tensor, there: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits.float(), there) * there.shape[-1] * 0.25

    block = cells(labels.view(n, GRID, GRID, 4).float(), 2).view(n, -1, 4, 4).long()      # [N,g*g,label,patch]
    holds = cells(b["holds"].view(n, GRID, GRID, 1).float(), 2)
    place = cells(b["place"].view(n, GRID, GRID, 4).float(), 2).view(n, -1, 4, 4).transpose(2, 3)
    mid = [F.one_hot(block[:, :, i] * holds.long(), 9)[..., 1:].float() for i in (0, 1)]  # [N,g*g,patch,8]
    seen = b["is_global"][:, None].expand(n, block.shape[1])
    out = {}
    for i, (k, weight) in enumerate((("color", 1.0), ("shape", 1.5), ("letter", 0.5))):
        size = ROW_HEADS[k]
        out["row_" + k] = bits(h[k](rows), F.one_hot(block[:, :, i], size + 1)[..., 1:].amax(2).float()) * weight
    out["row_holds"] = bits(h["holds"](rows), holds)
    out["row_mid_color"] = bits(h["mid_color"](rows), mid[0].amax(2))
    out["row_mid_shape"] = bits(h["mid_shape"](rows), mid[1].amax(2)) * 1.5
    pair = (mid[0][..., :, None] * mid[1][..., None, :]).flatten(-2).amax(2)
    out["row_mid_pair"] = bits(h["mid_pair"](rows), pair)
    out["row_box"] = _box_loss(h["box"](rows), holds, place, seen) * 0.3
    out["row_spell"] = _spell_loss(h["spell"](rows), b["spell"], seen) * 0.5
    return out


def losses(heads: Heads, seen: Tensor, rows: Tensor, b: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of the tower's patches [N,G*G,Dv] and of the projector's rows [N,g*g,D]."""
    return {**patch_losses(heads, seen, b), **row_losses(heads, rows, b)}


@torch.no_grad()
def shares_right(heads: Heads, seen: Tensor, rows: Tensor, b: dict[str, Tensor]) -> dict[str, float]:
    """Shares right among patches that lie on something, and of letters and box sides among rows."""
    labels, out = b["labels"].long(), {}
    for i, k in enumerate(("color", "shape", "letter")):
        on = labels[..., i] > 0
        out[k] = (heads.patch_head[k](seen).argmax(-1) == labels[..., i])[on].float().mean().item()
    there = b["spell"] > 0
    said = heads.row_head["spell"](rows).view(*rows.shape[:2], 6, 63).argmax(-1)
    out["spell"] = (said == b["spell"])[there].float().mean().item()
    holds = cells(b["holds"].view(len(labels), GRID, GRID, 1).float(), 2)
    place = cells(b["place"].view(len(labels), GRID, GRID, 4).float(), 2).view(len(labels), -1, 4, 4).transpose(2, 3)
    one = (holds.sum(-1) == 1) & b["is_global"][:, None]
    box = (place * holds[..., None]).sum(2)[one] * STEPS
    guess = heads.row_head["box"](rows)[one].view(-1, 4, WAVES) @ number_waves(torch.arange(STEPS, device=rows.device) / STEPS).T
    out["box_off"] = (guess.argmax(-1) - box).abs().mean().item()
    mid = F.one_hot(cells(b["labels"].view(len(labels), GRID, GRID, 4).float(), 2).view(
        len(labels), -1, 4, 4)[:, :, 1].long() * holds.long(), 9)[..., 1:].amax(2)
    out["mid_shape"] = ((heads.row_head["mid_shape"](rows) > 0) == mid)[mid.amax(-1) > 0].all(-1).float().mean().item()
    return out
