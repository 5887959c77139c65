"""What is in a picture: items or a text, their places, the background; sampled from a seed."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field

import numpy as np

from . import words
from .shapes import COLOR_NAMES, COLORS, SHAPE_NAMES, polygon

RGB = tuple[int, int, int]
BACKDROPS: list[RGB] = [(255, 255, 255), (255, 255, 255), (240, 240, 240), (215, 215, 215), (150, 150, 150),
                        (90, 90, 90), (45, 45, 50), (10, 10, 10), (245, 235, 215), (200, 220, 240),
                        (205, 230, 205), (240, 210, 215), (180, 200, 160), (120, 100, 80), (60, 80, 100)]


@dataclass
class Item:
    color: str
    shape: str
    rgb: RGB
    points: np.ndarray                 # [n,2] in pixels of the picture
    outline: RGB | None = None
    line: float = 0.0
    hollow: bool = False               # the outline alone, as wide as line, inside the points

    @property
    def box(self) -> tuple[float, float, float, float]:
        (x0, y0), (x1, y1) = self.points.min(0), self.points.max(0)
        return float(x0), float(y0), float(x1), float(y1)


@dataclass
class Text:
    text: str
    number: bool
    rgb: RGB
    font: int
    size: int
    center: tuple[float, float]
    angle: float                       # degrees, counter-clockwise


@dataclass
class Scene:
    width: int
    height: int
    back: list[RGB]                    # one colour, or two for a gradient
    angle: float
    noise: float
    grain: int                         # side of a speck of noise in pixels
    items: list[Item] = field(default_factory=list)
    text: Text | None = None
    supersample: int = 2
    jpeg: int | None = None
    texture: str = ""                  # of the background: stripes, checks, clouds
    marks: list = field(default_factory=list)       # what a page is drawn from (pages.py)
    says: dict = field(default_factory=dict)        # what a page says

    def box999(self, item: Item) -> list[int]:
        """The item's box, 0 ... 999 over the picture, rounded to tens (a pixel of a view is about ten)."""
        x0, y0, x1, y1 = item.box
        over = ((x0, self.width), (y0, self.height), (x1, self.width), (y1, self.height))
        return [min(990, max(0, int(v / s * 99.9 + 0.5) * 10)) for v, s in over]


def far(a: RGB, b: RGB) -> bool:
    """Whether two colours are told apart at once."""
    return math.dist(a, b) > 120


def _shade(rng: np.random.Generator, rgb: RGB, by: int) -> RGB:
    return tuple(int(min(255, max(0, c + rng.integers(-by, by + 1)))) for c in rgb)  # type: ignore[return-value]


def _size(rng: np.random.Generator, square: float, biggest: int) -> tuple[int, int]:
    long = int(math.exp(rng.uniform(math.log(98), math.log(biggest))))
    if rng.random() < square:
        return long, long
    aspect = rng.uniform(1.0, 1.9) if rng.random() < 0.7 else rng.uniform(1.9, 4.2)
    short = max(56, int(long / aspect))
    if aspect > 2:
        long, short = int(short * aspect), short
    return (long, short) if rng.random() < 0.6 else (short, long)


def _background(rng: np.random.Generator) -> dict:
    first = _shade(rng, BACKDROPS[rng.integers(len(BACKDROPS))], 12)
    back, kind = [first], rng.random()
    if kind < 0.3:
        back.append(_shade(rng, first, 60))
    noise = rng.uniform(4, 30) if rng.random() < 0.3 else 0.0
    return {"back": back, "angle": rng.uniform(0, 2 * math.pi), "noise": noise, "grain": int(rng.integers(1, 4))}


def overlap(a: np.ndarray, b: tuple, gap: float) -> bool:
    return bool(a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap)


def _place(rng: np.random.Generator, scene: Scene, shape: str, n: int) -> np.ndarray | None:
    short = min(scene.width, scene.height)
    room = math.sqrt(scene.width * scene.height)
    top = {1: 0.8, 2: 0.55, 3: 0.45}.get(n, 0.36) * min(room, short * 1.3)
    for _ in range(12):
        d = min(rng.uniform(0.17 * short, max(top, 0.2 * short)), 0.92 * short)
        points = polygon(shape, rng) * (d / 2)
        low, high = points.min(0), points.max(0)
        span = np.array([scene.width, scene.height]) - (high - low) - 2
        if (span < 0).any():
            continue
        points = points - low + 1 + rng.random(2) * span
        box = np.concatenate([points.min(0), points.max(0)])
        gap = short * (0.02 if rng.random() < 0.9 else -0.05)
        if not any(overlap(box, other.box, gap) for other in scene.items):
            return points
    return None


def _pick_kind(rng: np.random.Generator, scene: Scene, colors: list[str]) -> tuple[str, str]:
    color = colors[rng.integers(len(colors))]
    shape = SHAPE_NAMES[rng.integers(len(SHAPE_NAMES))]
    if scene.items and rng.random() < 0.35:
        shape = scene.items[rng.integers(len(scene.items))].shape
    elif scene.items and rng.random() < 0.15:
        color = scene.items[rng.integers(len(scene.items))].color
    return color, shape


def add_items(rng: np.random.Generator, scene: Scene, n: int) -> None:
    """Up to n items of colours that stand out from the background."""
    colors = [c for c in COLOR_NAMES if all(far(v, b) for v in COLORS[c] for b in scene.back)]
    line = rng.uniform(0.01, 0.03) * min(scene.width, scene.height) if rng.random() < 0.25 else 0.0
    edge = (0, 0, 0) if math.dist(scene.back[0], (0, 0, 0)) > 120 else (255, 255, 255)
    for _ in range(n):
        color, shape = _pick_kind(rng, scene, colors)
        points = _place(rng, scene, shape, n)
        if points is None:
            continue
        shades = COLORS[color]
        rgb = _shade(rng, shades[rng.integers(len(shades))], 14)
        scene.items.append(Item(color, shape, rgb, points, edge if line else None, line))


def add_text(rng: np.random.Generator, scene: Scene, split: str) -> None:
    number = bool(rng.random() < 0.5)
    text = words.sample(rng, number, split)
    face = int(rng.integers(len(words.font_files())))
    angle = rng.uniform(-8, 8) if rng.random() < 0.4 else 0.0
    width = words.font(face, 64).getlength(text) / 64
    fill = rng.uniform(0.55, 0.92) * scene.width
    size = int(max(9, min(fill / width, 0.6 * scene.height)))
    half_w, half_h = width * size / 2 + 2, size * 0.62
    half_h += abs(math.sin(math.radians(angle))) * half_w
    slack_x, slack_y = max(0, scene.width / 2 - half_w), max(0, scene.height / 2 - half_h)
    center = (scene.width / 2 + rng.uniform(-1, 1) * slack_x, scene.height / 2 + rng.uniform(-1, 1) * slack_y)
    while True:
        rgb: RGB = tuple(int(c) for c in rng.integers(0, 256, 3))  # type: ignore[assignment]
        if rng.random() < 0.5:
            rgb = (0, 0, 0) if sum(scene.back[0]) > 380 else (255, 255, 255)
        if all(abs(sum(rgb) - sum(b)) > 230 for b in scene.back):
            break
    scene.text = Text(text, number, rgb, face, size, center, angle)


def layout_held_out(scene: Scene) -> bool:
    """One coarse layout in eight belongs to the held-out split alone."""
    cells = sorted((i.shape, *(int(v / 125) for v in scene.box999(i))) for i in scene.items)
    return zlib.crc32(repr(cells).encode()) % 8 == 0


def new_scene(rng: np.random.Generator, square: float, biggest: int) -> Scene:
    """An empty picture."""
    width, height = _size(rng, square, biggest)
    scene = Scene(width, height, **_background(rng))
    scene.supersample = int(rng.choice([1, 2, 2, 3])) if max(width, height) < 500 else int(rng.integers(1, 3))
    scene.jpeg = int(rng.integers(40, 96)) if rng.random() < 0.3 else None
    return scene


def vary(scene: Scene, seed: int, split: str) -> None:
    """Other looks of the same things: hollow shapes, wide outlines, textured backgrounds, coarse JPEG."""
    rng = np.random.default_rng([10 if split == "train" else 11, seed])
    short, edge = min(scene.width, scene.height), scene.items[0].outline
    edge = edge or ((0, 0, 0) if math.dist(scene.back[0], (0, 0, 0)) > 120 else (255, 255, 255))
    scene.texture = str(rng.choice(["", "", "stripes", "checks", "clouds"]))
    scene.jpeg = int(rng.integers(15, 96)) if rng.random() < 0.5 else None
    for item in scene.items:
        size = float(min(item.points.max(0) - item.points.min(0)))
        style = rng.random()
        if style < 0.35 and size > max(24, 0.2 * short):
            item.hollow, item.line = True, rng.uniform(0.13, 0.22) * size
        elif style < 0.6:
            item.outline, item.line = edge, min(rng.uniform(0.005, 0.04) * short, 0.1 * size)


def sample(seed: int, split: str = "train", kind: str = "items", n: int | None = None,
           square: float = 0.7, biggest: int = 260) -> Scene:
    """The scene of a seed. kind: items, text, or wide (items of more looks). Same arguments, same scene."""
    rng = np.random.default_rng([0 if split == "train" else 1, seed])
    count = n or int(rng.integers(1, 6))
    while True:
        scene = new_scene(rng, square, biggest)
        if kind == "text":
            if scene.height > 1.3 * scene.width:
                continue
            add_text(rng, scene, split)
            return scene
        add_items(rng, scene, count)
        if scene.items and layout_held_out(scene) == (split != "train"):
            if kind == "wide":
                vary(scene, seed, split)
            return scene
