"""Muon for matrices, AdamW for the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix with equal singular values, about, by Newton-Schulz steps; [..., rows, columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / (g.flatten(-2).norm(dim=-1)[..., None, None] + 1e-7)
    flip = g.shape[-2] > g.shape[-1]
    x = x.mT if flip else x
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * (s @ s)) @ x
    return x.mT if flip else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; the step scaled to AdamW's size."""

    def __init__(self, params: list[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.02):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["m"] = torch.zeros_like(p)
                state["m"].lerp_(p.grad, 1 - group["momentum"])
                g = p.grad.lerp(state["m"], group["momentum"])
                update = orthogonal(g.flatten(1) if g.ndim == 4 else g).view_as(p)
                size = max(p.shape[-2:]) if p.ndim < 4 else max(p.shape[0], p[0].numel())
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * size**0.5)


class Both:
    """Muon and AdamW as one optimizer; matrices by Muon, unless their name says embedding or head."""

    def __init__(self, named: list[tuple[str, nn.Parameter]], muon: float, adam: float, slow: float = 1.0):
        """slow: what the warmed vision tower's rate is multiplied with."""

        def seen(name: str) -> bool:
            return any(k in name for k in ("vision.", "projector.", "heads."))

        plain = ("embed", "lm_head", "head.", "gate.weight", "newline", "seperator")
        matrix = [(n, p) for n, p in named if p.ndim >= 2 and muon > 0 and not any(k in n for k in plain)]
        taken = {id(p) for _, p in matrix}
        rest = [(p, adam * (slow if seen(n) else 1.0)) for n, p in named if id(p) not in taken]
        self.parts: list[torch.optim.Optimizer] = []
        if matrix:
            self.parts.append(Muon([{"params": [p], "lr": muon * (slow if seen(n) else 1.0)} for n, p in matrix], muon))
        groups = [{"params": [p for p, r in rest if r == rate], "lr": rate} for rate in sorted({r for _, r in rest})]
        self.parts.append(torch.optim.AdamW(groups, adam, betas=(0.9, 0.97), weight_decay=0.01, fused=True))
        self.base = [g["lr"] for o in self.parts for g in o.param_groups]
        self.params = [p for _, p in named]

    def step(self, scale: float, clip: float = 1.0) -> float:
        norm = torch.nn.utils.clip_grad_norm_(self.params, clip)
        groups = [g for o in self.parts for g in o.param_groups]
        for group, base in zip(groups, self.base):
            group["lr"] = base * scale
        for part in self.parts:
            part.step()
            part.zero_grad(set_to_none=True)
        return float(norm)

    def state_dict(self) -> list[dict]:
        return [o.state_dict() for o in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        for part, state in zip(self.parts, states):
            part.load_state_dict(state)
