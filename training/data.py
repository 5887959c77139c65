"""Shards of drawn pictures, read back in a mixed order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np


class Shard:
    def __init__(self, path: Path):
        with np.load(path) as z:
            self.arrays = {k: z[k] for k in ("tiles", "labels", "sides", "holds", "place")}
            self.arrays["spell"] = z["spell"] if "spell" in z else np.zeros((len(self.arrays["tiles"]), 16, 6), np.uint8)
            self.grid = z["grid"]
            self.first = np.concatenate([[0], np.cumsum(z["views"])])
            self.facts = json.loads(z["facts"].tobytes())

    def __len__(self) -> int:
        return len(self.facts)

    def picture(self, i: int) -> dict:
        part = slice(self.first[i], self.first[i + 1])
        return {**{k: v[part] for k, v in self.arrays.items()}, "grid": tuple(self.grid[i]), "facts": self.facts[i]}


def pictures(folder: Path, seed: int, kinds: dict[str, float], pool: int = 6, split: str = "train") -> Iterator[dict]:
    """Endless pictures; kinds gives each kind's share, several shards of a kind are open at once; pairs stay together."""
    rng = np.random.default_rng([3, seed])
    paths = {k: sorted(folder.glob(f"{split}-{k}-*.npz")) for k in kinds}
    missing = [k for k in kinds if not paths[k]]
    if missing:
        raise FileNotFoundError(f"no shards of {missing} in {folder}: draw them with python -m training.shards")
    names, shares = list(kinds), np.array(list(kinds.values())) / sum(kinds.values())
    queues: dict[str, list[tuple[Shard, list[int]]]] = {k: [] for k in kinds}
    while True:
        kind = names[rng.choice(len(names), p=shares)]
        queue, step = queues[kind], 2 if kind == "pair" else 1
        while len(queue) < pool:
            shard = Shard(paths[kind][rng.integers(len(paths[kind]))])
            queue.append((shard, rng.permutation(len(shard) // step).tolist()))
        at = int(rng.integers(len(queue)))
        shard, order = queue[at]
        first = step * order.pop()
        for i in range(first, first + step):
            yield shard.picture(i)
        if not order:
            queue.pop(at)
