"""Processes that train the same model apart and merge now and then, by a file that they map.

The file holds the common weights. Every some seconds a process adds its own change since its last visit, weighted by its
share of the steps that all have done lately, and goes on from the common weights. A process that is slowed or
stopped holds up no other, which gradients that are averaged at every step would.
"""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

MOST = 8                                # processes
FORGET = 45.0                           # seconds in which a process's steps fade from its share


class Common:
    """Header: per process its faded steps, when they were counted, and steps in all; then the weights."""

    def __init__(self, path: Path, params: list[Tensor], me: int, seconds: float = 15.0):
        self.params, self.me, self.seconds = params, me, seconds
        self.lock = open(path.with_suffix(".lock"), "w")
        size = 3 * MOST + 1 + sum(p.numel() for p in params)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        fresh = not path.exists() or path.stat().st_size != 8 * (3 * MOST + 1) + 4 * (size - 3 * MOST - 1)
        if fresh:
            with open(path, "wb") as f:
                f.truncate(8 * (3 * MOST + 1) + 4 * (size - 3 * MOST - 1))
        self.head = np.memmap(path, np.float64, "r+", 0, (3 * MOST + 1,))
        self.weights = torch.from_numpy(np.memmap(path, np.float32, "r+", 8 * (3 * MOST + 1), (size - 3 * MOST - 1,)))
        if fresh:
            self.weights.copy_(self._flat())
        self.base = self.weights.clone()
        self._take()
        fcntl.flock(self.lock, fcntl.LOCK_UN)
        self.rows = self.head[1:].reshape(3, MOST)
        self.last, self.since = time.time(), 0

    def _flat(self) -> Tensor:
        return torch.cat([p.detach().flatten().float() for p in self.params])

    @torch.no_grad()
    def _take(self) -> None:
        for p, part in zip(self.params, self.base.split([p.numel() for p in self.params])):
            p.copy_(part.view_as(p))

    @property
    def steps(self) -> int:
        """Steps of all processes."""
        return int(self.rows[2].sum()) + self.since

    def share(self) -> float:
        now = time.time()
        faded = self.rows[0] * np.exp((self.rows[1] - now) / FORGET)
        return float(faded[self.me] / faded.sum())

    def step(self) -> bool:
        """Counts a step; merges when it is time. True after a merge."""
        self.since += 1
        if time.time() - self.last < self.seconds:
            return False
        self.merge()
        return True

    def merge(self) -> None:
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        now, (faded, when, all_steps) = time.time(), self.rows
        faded[self.me] = faded[self.me] * np.exp((when[self.me] - now) / FORGET) + self.since
        when[self.me] = now
        all_steps[self.me] += self.since
        self.weights.add_(self._flat() - self.base, alpha=self.share())
        self.base.copy_(self.weights)
        self._take()
        fcntl.flock(self.lock, fcntl.LOCK_UN)
        self.last, self.since = time.time(), 0


@torch.no_grad()
def read_common(path: Path, params: list[Tensor]) -> None:
    """Copies the common weights of other processes into params, which are in the order of theirs."""
    weights = torch.from_numpy(np.memmap(path, np.float32, "r", 8 * (3 * MOST + 1)).copy())
    for p, part in zip(params, weights.split([p.numel() for p in params])):
        p.copy_(part.view_as(p))
