"""Two pictures that differ in one thing, or in nothing."""

from __future__ import annotations

import copy
import math

import numpy as np

from . import world
from .shapes import COLOR_NAMES, COLORS, SHAPE_NAMES, polygon
from .world import Item, Scene, far

CHANGES = ["color", "shape", "gone", "new", "moved", "none"]


def _free(scene: Scene, points: np.ndarray, but: Item | None = None) -> bool:
    """Whether an outline lies in the picture, clear of all items but one."""
    low, high, gap = points.min(0), points.max(0), 0.02 * min(scene.width, scene.height)
    inside = (low >= 1).all() and (high <= [scene.width - 1, scene.height - 1]).all()
    return bool(inside) and not any(world.overlap(np.concatenate([low, high]), i.box, gap) for i in scene.items if i is not but)


def _anywhere(rng: np.random.Generator, scene: Scene, points: np.ndarray) -> np.ndarray:
    room = np.array([scene.width, scene.height]) - (points.max(0) - points.min(0)) - 2
    return points - points.min(0) + 1 + rng.random(2) * room.clip(0)


def _another(rng: np.random.Generator, scene: Scene) -> tuple[str, str]:
    """A kind that the picture has not, in a colour that stands out."""
    colors = [c for c in COLOR_NAMES if all(far(v, b) for v in COLORS[c] for b in scene.back)]
    have = {(i.color, i.shape) for i in scene.items}
    while True:
        kind = colors[rng.integers(len(colors))], SHAPE_NAMES[rng.integers(len(SHAPE_NAMES))]
        if kind not in have:
            return kind


def _change(rng: np.random.Generator, scene: Scene, how: str) -> list | None:
    """Changes one item of the scene; returns what it was and what it is: [how, colour, shape, colour, shape]."""
    alone = [i for i in scene.items if sum((i.color, i.shape) == (j.color, j.shape) for j in scene.items) == 1]
    if how == "none":
        return ["none", "", "", "", ""]
    if not alone:
        return None
    item, (color, shape) = alone[rng.integers(len(alone))], _another(rng, scene)
    was = [item.color, item.shape]
    if how == "color":
        if (color, item.shape) in {(i.color, i.shape) for i in scene.items}:
            return None
        item.color, item.rgb = color, COLORS[color][rng.integers(len(COLORS[color]))]
    elif how == "shape":
        if (item.color, shape) in {(i.color, i.shape) for i in scene.items}:
            return None
        low, high = item.points.min(0), item.points.max(0)
        points = polygon(shape, rng)
        span = points.max(0) - points.min(0)
        item.points = (points - points.min(0)) * min((high - low) / span) + low
        item.shape = shape
    elif how == "moved":
        points = _anywhere(rng, scene, item.points)
        if not _free(scene, points, item) or math.dist(points[0], item.points[0]) < 0.3 * min(scene.width, scene.height):
            return None
        item.points = points
    elif how == "gone":
        if len(scene.items) < 2:
            return None
        scene.items = [i for i in scene.items if i is not item]
    else:
        points = polygon(shape, rng)
        points = _anywhere(rng, scene, points * min(scene.width, scene.height) * rng.uniform(0.1, 0.16))
        if not _free(scene, points):
            return None
        shade = COLORS[color][rng.integers(len(COLORS[color]))]
        scene.items.append(Item(color, shape, shade, points, item.outline, item.line))
        return [how, color, shape, color, shape]
    return [how, *was, item.color, item.shape]


def sample(seed: int, split: str, square: float = 0.7, biggest: int = 260) -> tuple[Scene, Scene, list]:
    """Both pictures of a seed and how the second differs; neither has a layout of the other split."""
    rng = np.random.default_rng([28 + (split != "train"), seed])
    wanted = CHANGES[rng.integers(len(CHANGES))]           # first, so that all are as frequent however often they fit
    while True:
        first = world.new_scene(rng, square, biggest)
        world.add_items(rng, first, int(rng.integers(1, 5)))
        if not first.items or world.layout_held_out(first) != (split != "train"):
            continue
        for _ in range(60):
            second = copy.deepcopy(first)
            second.jpeg = int(rng.integers(40, 96)) if rng.random() < 0.3 else None
            how = _change(rng, second, wanted)
            if how and world.layout_held_out(second) == (split != "train"):
                return first, second, how
