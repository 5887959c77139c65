"""Muon for matrices, AdamW for the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import kernels


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix with equal singular values, about, by Newton-Schulz steps; [..., rows, columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    g = g.to(kernels.dtype_on(g.device.type))
    x = g / (g.flatten(-2).norm(dim=-1)[..., None, None] + 1e-7)
    flip = g.shape[-2] > g.shape[-1]
    x = x.mT if flip else x
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * (s @ s)) @ x
    return x.mT if flip else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; the step scaled to AdamW's size."""

    def __init__(self, params: list[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.02,
                 turns: int = 1):
        """turns: every so many calls a matrix is moved; its gradient is summed meanwhile, as a step costs much."""
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.turns, self.calls = turns, 0

    @torch.no_grad()
    def step(self, closure=None) -> None:
        alike: dict[tuple, list] = {}
        self.calls += 1
        for k, group in enumerate(self.param_groups):
            for p in group["params"]:
                if p.grad is None or (k + self.calls) % self.turns:
                    continue
                state = self.state[p]
                if not state:
                    state["m"] = torch.zeros_like(p)
                state["m"].lerp_(p.grad, 1 - group["momentum"])
                g = p.grad.lerp(state["m"], group["momentum"])
                alike.setdefault(p.shape, []).append((p, g.flatten(1) if g.ndim == 4 else g, group))
        for members in alike.values():
            updates = orthogonal(torch.stack([g for _, g, _ in members]))
            for (p, g, group), update in zip(members, updates):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view_as(p).to(p.dtype), alpha=-group["lr"] * 0.2 * max(g.shape[-2:])**0.5)
                p.grad = None


class Both:
    """Muon and AdamW as one optimizer; matrices by Muon, unless their name says embedding or head."""

    def __init__(self, named: list[tuple[str, nn.Parameter]], muon: float, adam: float, slow: float = 1.0,
                 turns: int = 1, only: tuple[str, ...] = ("",)):
        """slow: what the warmed vision tower's rate is multiplied with; only: beginnings of names that Muon takes."""

        def seen(name: str) -> bool:
            return any(k in name for k in ("vision.", "projector.", "heads."))

        plain = ("embed", "head", "gate", "newline", "seperator")

        def is_matrix(name: str, p: nn.Parameter) -> bool:
            return p.ndim >= 2 and muon > 0 and name.startswith(only) and ("patch_embed" in name or not any(k in name.split(".")[-1] or
                                                 k in name.split(".")[0:-1] for k in plain) and "heads." not in name)

        matrix = [(n, p) for n, p in named if is_matrix(n, p)]
        taken = {id(p) for _, p in matrix}
        rest = [(p, adam * (slow if seen(n) else 1.0)) for n, p in named if id(p) not in taken]
        self.parts: list[torch.optim.Optimizer] = []
        if matrix:
            self.parts.append(Muon([{"params": [p], "lr": muon * (slow if seen(n) else 1.0)} for n, p in matrix], muon,
                                   turns=turns))
        groups = [{"params": [p for p, r in rest if r == rate], "lr": rate} for rate in sorted({r for _, r in rest})]
        self.parts.append(torch.optim.AdamW(groups, adam, betas=(0.9, 0.97), weight_decay=0.01, fused=True))
        self.base = [g["lr"] for o in self.parts for g in o.param_groups]
        self.params = [p for _, p in named]
        self.own = [p for g in self.parts[-1].param_groups for p in g["params"]]

    def step(self, scale: float, clip: float = 1.0) -> Tensor:
        norm = torch.nn.utils.clip_grad_norm_(self.own, clip)
        groups = [g for o in self.parts for g in o.param_groups]
        for group, base in zip(groups, self.base):
            group["lr"] = base * scale
        for part in self.parts:
            part.step()
        for p in self.own:                      # Muon keeps the gradients of matrices whose turn has not come
            p.grad = None
        return norm

    def zero(self) -> None:
        for p in self.params:
            p.grad = None

    def state_dict(self) -> list[dict]:
        return [o.state_dict() for o in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        for part, state in zip(self.parts, states):
            part.load_state_dict(state)
