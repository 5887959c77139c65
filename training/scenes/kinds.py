"""Every kind of picture by its name."""

from __future__ import annotations

import numpy as np

from . import charts, tables, world
from .pages import belongs

PAGES = {"chart": (charts.sample, 20), "table": (tables.table, 22), "receipt": (tables.receipt, 24), "sign": (tables.sign, 26)}
KINDS = ["items", "text", "wide", *PAGES]


def page(seed: int, split: str, kind: str, square: float, biggest: int) -> world.Scene:
    sample, number = PAGES[kind]
    rng = np.random.default_rng([number + (split != "train"), seed])
    while True:
        scene = sample(rng, split, square, biggest)
        if scene and belongs(scene.says, split):
            return scene


def scene(seed: int, split: str = "train", kind: str = "items", square: float = 0.7, biggest: int = 260) -> world.Scene:
    """The scene of a seed. Same arguments, same scene."""
    if kind in PAGES:
        return page(seed, split, kind, square, biggest)
    return world.sample(seed, split, kind, square=square, biggest=biggest)
