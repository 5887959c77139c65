"""Pictures to views, as docs/MODEL.md §4 says, by Pillow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps


@dataclass(frozen=True)
class Views:
    """What the vision tower sees of one picture, and how its pixels map onto the views."""

    tiles: np.ndarray            # [1+tw*th, S, S, 3] u8, the global view first
    across: int
    down: int
    whole: np.ndarray            # the local picture [down*S, across*S, 3] u8


def best_resolution(size: tuple[int, int], candidates: list[list[int]]) -> tuple[int, int]:
    """The candidate that keeps most pixels, then wastes least."""
    width, height = size
    best, best_effective, best_wasted = tuple(candidates[0]), 0, float("inf")
    for w, h in candidates:
        scale = min(w / width, h / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        wasted = w * h - effective
        if effective > best_effective or (effective == best_effective and wasted < best_wasted):
            best, best_effective, best_wasted = (w, h), effective, wasted
    return best  # type: ignore[return-value]


def contain(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """Width and height of the picture inside the target, and where it is pasted."""
    (width, height), (w, h) = size, target
    if width / height > w / h:
        h = round(height / width * target[0])
    elif width / height < w / h:
        w = round(width / height * target[1])
    return w, h, round((target[0] - w) * 0.5), round((target[1] - h) * 0.5)


def pad(image: Image.Image, target: tuple[int, int], mean: list[float]) -> np.ndarray:
    w, h, x, y = contain(image.size, target)
    color = tuple(int(255 * m) for m in mean)
    if min(w, h) < 1:
        return np.full((target[1], target[0], 3), color, np.uint8)
    out = ImageOps.pad(image, target, color=color)
    return np.asarray(out)


def views(image: Image.Image, candidates: list[list[int]], mean: list[float], crop: bool = True) -> Views:
    side = candidates[0][0]
    image = image.convert("RGB")
    w, h = best_resolution(image.size, candidates) if crop else (side, side)
    whole = pad(image, (w, h), mean)
    across, down = w // side, h // side
    grid = whole.reshape(down, side, across, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    globe = pad(image, (side, side), mean)
    return Views(np.concatenate([globe[None], grid]), across, down, whole)
