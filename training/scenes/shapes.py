"""The things of the world: colours, shapes and their outlines as polygons."""

from __future__ import annotations

import math

import numpy as np

COLORS: dict[str, list[tuple[int, int, int]]] = {
    "red": [(255, 0, 0), (220, 20, 60), (200, 30, 30), (230, 50, 40)],
    "green": [(0, 128, 0), (0, 200, 0), (34, 139, 34), (50, 180, 80), (0, 240, 0)],
    "blue": [(0, 0, 255), (30, 80, 220), (60, 110, 235), (20, 40, 160)],
    "yellow": [(255, 255, 0), (250, 220, 40), (240, 225, 60)],
    "orange": [(255, 165, 0), (255, 140, 0), (240, 120, 30)],
    "purple": [(128, 0, 128), (150, 50, 200), (110, 40, 150)],
    "black": [(0, 0, 0), (20, 20, 20), (35, 35, 35)],
    "white": [(255, 255, 255), (245, 245, 245)],
}
COLOR_NAMES = list(COLORS)
COLOR_ZH = dict(zip(COLOR_NAMES, "红 绿 蓝 黄 橙 紫 黑 白".split()))
SHAPE_NAMES = "circle square triangle star diamond hexagon heart cross".split()
SHAPE_ZH = dict(zip(SHAPE_NAMES, "圆形 正方形 三角形 星形 菱形 六边形 心形 十字形".split()))
PLURAL = {s: {"cross": "crosses"}.get(s, s + "s") for s in SHAPE_NAMES}


def _regular(n: int, phase: float = 0.0) -> np.ndarray:
    a = phase + 2 * math.pi * np.arange(n) / n
    return np.stack([np.sin(a), -np.cos(a)], 1)


def _star(inner: float) -> np.ndarray:
    p = _regular(10)
    p[1::2] *= inner
    return p


def _heart() -> np.ndarray:
    t = 2 * math.pi * np.arange(48) / 48
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x / 17, (y - 2.5) / 15], 1)


def _cross(arm: float) -> np.ndarray:
    a = arm
    return np.array([(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a),
                     (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)], float)


def polygon(shape: str, rng: np.random.Generator) -> np.ndarray:
    """[n,2] points of the shape in about [-1,1]^2, slightly turned and stretched."""
    tilt = rng.uniform(-0.2, 0.2) if rng.random() < 0.5 else 0.0
    if shape == "circle":
        p, tilt = _regular(48), 0.0
    elif shape == "square":
        p = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float) * 0.9
        tilt *= 0.7
    elif shape == "triangle":
        p = np.array([(0, -1), (1, 0.85), (-1, 0.85)]) if rng.random() < 0.6 else _regular(3)
        if rng.random() < 0.1:
            p = p * [1, -1]
    elif shape == "star":
        p = _star(rng.uniform(0.36, 0.5))
    elif shape == "diamond":
        p = np.array([(0, -1), (rng.uniform(0.65, 1.0), 0), (0, 1), (-1, 0)])
        p[3, 0] = -p[1, 0]
        tilt *= 0.5
    elif shape == "hexagon":
        p = _regular(6, 0.0 if rng.random() < 0.5 else math.pi / 6)
    elif shape == "heart":
        p = _heart()
    else:
        p = _cross(rng.uniform(0.24, 0.42))
    c, s = math.cos(tilt), math.sin(tilt)
    p = p @ np.array([[c, s], [-s, c]])
    if shape in ("triangle", "star", "heart", "hexagon", "cross"):
        p = p * [rng.uniform(0.9, 1.1), 1.0]
    return p
