"""Pages with marks on them: charts, tables, receipts and signs.

A page knows what it says (`Scene.says`) and is drawn from plain marks: rectangles, lines and labels. Text is never lower
than a twelfth of the page's short side (and nine pixels), so a person reads it in any view of the whole page.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

import numpy as np

from . import words
from .shapes import COLORS
from .world import RGB, Scene, far, new_scene

SMALLEST = 1 / 12


@dataclass
class Label:
    text: str
    rgb: RGB
    font: int
    size: int
    at: tuple[float, float]
    anchor: str = "mm"                 # as Pillow's: l m r, and a m s d

    def width(self) -> float:
        return words.font(self.font, self.size).getlength(self.text)

    def box(self) -> tuple[float, float, float, float]:
        return words.font(self.font, self.size).getbbox(self.text, anchor=self.anchor)


@dataclass
class Bar:
    box: tuple[float, float, float, float]
    fill: RGB | None
    edge: RGB | None = None
    line: float = 0.0


@dataclass
class Stroke:
    points: list[tuple[float, float]]
    rgb: RGB
    line: float


def belongs(says: dict, split: str) -> bool:
    """One page in eight, by what is written on it and where, belongs to the held-out split alone."""
    return (zlib.crc32(json.dumps(says, sort_keys=True).encode()) % 8 == 0) == (split != "train")


def ink(rng: np.random.Generator, scene: Scene) -> RGB:
    """A colour for text and lines that stands out from the paper."""
    plain: RGB = (20, 20, 20) if min(sum(b) for b in scene.back) > 380 else (250, 250, 250)
    if rng.random() < 0.7:
        return plain
    pool = [c for shades in COLORS.values() for c in shades if all(abs(sum(c) - sum(b)) > 300 for b in scene.back)]
    return pool[rng.integers(len(pool))] if pool else plain


def hues(rng: np.random.Generator, scene: Scene, n: int) -> list[RGB]:
    """n colours of the world that stand out from the paper, all different where there are enough."""
    pool = [shades[rng.integers(len(shades))] for shades in COLORS.values() if all(far(v, b) for v in shades for b in scene.back)]
    order = rng.permutation(len(pool))
    return [pool[order[i % len(order)]] for i in range(n)]


def text_size(rng: np.random.Generator, scene: Scene, widest: float) -> int:
    """Between the smallest that is allowed and `widest` of the short side."""
    short = min(scene.width, scene.height)
    return max(9, round(short * rng.uniform(SMALLEST, max(SMALLEST, widest))))


def paper(rng: np.random.Generator, square: float, biggest: int, shape: tuple[float, float]) -> Scene:
    """An empty page, light or dark but never mid-grey, whose width over height lies in `shape`."""
    while True:
        scene = new_scene(rng, square, biggest)
        light = [sum(b) for b in scene.back]
        if shape[0] <= scene.width / scene.height <= shape[1] and (min(light) > 520 or max(light) < 230):
            break
    scene.noise = min(scene.noise, 10.0)
    scene.supersample = max(2, scene.supersample) if max(scene.width, scene.height) < 700 else 1
    return scene
