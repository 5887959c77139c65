"""The same things drawn by other code: matplotlib's paths and antialiasing, other outlines, shades, layouts and backgrounds.

For evaluation alone: nothing here is shared with what the checkpoint learnt from but the names of colours and shapes.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.transforms import Affine2D
from PIL import Image

from .shapes import COLOR_NAMES, SHAPE_NAMES

SHADES = {"red": ["tab:red", "firebrick", "#e6194b", "xkcd:red"], "green": ["tab:green", "limegreen", "seagreen", "xkcd:green"],
          "blue": ["tab:blue", "royalblue", "mediumblue", "xkcd:blue"], "yellow": ["gold", "#ffe119", "xkcd:yellow"],
          "orange": ["tab:orange", "darkorange", "#f58231"], "purple": ["tab:purple", "darkviolet", "#911eb4", "xkcd:purple"],
          "black": ["#111111", "#222222", "black"], "white": ["#fafafa", "white", "ivory"]}
PAPERS = ["whitesmoke", "lightgray", "beige", "aliceblue", "mistyrose", "honeydew", "thistle", "wheat", "dimgray", "slategray",
          "darkslategray", "#303030", "#1c2333", "rosybrown", "#a9b7a0"]
HEART = Path([(0, 0.9), (-0.35, 0.5), (-1, 0.2), (-1, -0.3), (-1, -0.75), (-0.3, -1.0), (0, -0.4),
              (0.3, -1.0), (1, -0.75), (1, -0.3), (1, 0.2), (0.35, 0.5), (0, 0.9)], [Path.MOVETO] + [Path.CURVE4] * 12)


def _outline(shape: str, rng: np.random.Generator) -> Path:
    """A path of about unit radius, y downwards."""
    if shape == "circle":
        return Path.unit_circle().transformed(Affine2D().scale(rng.uniform(0.95, 1.0), 1.0))
    if shape == "square":
        return Path.unit_rectangle().transformed(Affine2D().translate(-0.5, -0.5).scale(1.6))
    if shape == "triangle":
        return Path.unit_regular_polygon(3).transformed(Affine2D().scale(rng.uniform(0.8, 1.2), -1))
    if shape == "star":
        return Path.unit_regular_star(5, rng.uniform(0.38, 0.47)).transformed(Affine2D().scale(1, -1))
    if shape == "diamond":
        return Path.unit_regular_polygon(4).transformed(Affine2D().scale(rng.uniform(0.6, 0.9), 1.1))
    if shape == "hexagon":
        return Path.unit_regular_polygon(6).transformed(Affine2D().rotate_deg(rng.choice([0, 30])))
    if shape == "heart":
        return HEART
    return MarkerStyle("P").get_path().transformed(Affine2D().scale(1.8))


def _size(rng: np.random.Generator) -> tuple[int, int]:
    long = round(math.exp(rng.uniform(math.log(100), math.log(1500))))
    short = long if rng.random() < 0.5 else max(60, round(long / rng.uniform(1.1, 4.0 if long > 300 else 1.6)))
    return (long, short) if rng.random() < 0.6 else (short, long)


def _ground(rng: np.random.Generator, w: int, h: int) -> np.ndarray:
    """[h,w,3] in 0 ... 1: plain, a radial glow, or speckled."""
    base = np.array(to_rgb(PAPERS[rng.integers(len(PAPERS))]), np.float32)
    out = np.broadcast_to(base, (h, w, 3)).copy()
    kind = rng.random()
    if kind < 0.3:
        y, x = np.mgrid[0:h, 0:w]
        far = np.hypot((x - w * rng.random()) / w, (y - h * rng.random()) / h)[..., None]
        out += (far * rng.uniform(-0.25, 0.25)).astype(np.float32)
    elif kind < 0.5:
        out[rng.random((h, w)) < rng.uniform(0.02, 0.1)] += rng.uniform(-0.2, 0.2)
    return out.clip(0, 1)


def _seats(rng: np.random.Generator, w: int, h: int, n: int) -> list[tuple[float, float, float]]:
    """Middles and radii of n things, in cells of a grid over the picture."""
    down = max(1, round(math.sqrt(n * h / w)))
    across = math.ceil(n / down)
    cw, ch = w / across, h / down
    out = []
    for cell in rng.permutation(across * down)[:n]:
        most = 0.44 * min(cw, ch)
        radius = max(min(most, 0.1 * min(w, h)), most * rng.uniform(0.45, 1.0))
        free_x, free_y = cw / 2 - 1.1 * radius, ch / 2 - 1.1 * radius
        out.append((cw * (cell % across + 0.5) + rng.uniform(-1, 1) * free_x, ch * (cell // across + 0.5) + rng.uniform(-1, 1) * free_y, radius))
    return out


def sample(seed: int, things: bool = True) -> tuple[dict, Image.Image, int | None]:
    """Facts as shards.facts has them, the picture (things: with its things), and the quality to save it with as JPEG."""
    rng = np.random.default_rng([40, seed])
    w, h = _size(rng)
    ground = _ground(rng, w, h)
    tone = ground.mean((0, 1))
    figure = Figure(figsize=(w / 100, h / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, w), ylim=(h, 0))
    axes.axis("off")
    axes.imshow(ground, extent=(0, w, h, 0), aspect="auto", interpolation="nearest")
    line = rng.uniform(0.5, 0.015 * min(w, h) + 0.5) if rng.random() < 0.3 else 0.0
    items, pool = [], [(c, s) for c in COLOR_NAMES for s in SHADES[c] if np.abs(np.array(to_rgb(s)) - tone).sum() > 0.75]
    for x, y, radius in _seats(rng, w, h, int(rng.integers(1, 6))):
        shape = SHAPE_NAMES[rng.integers(len(SHAPE_NAMES))] if not items or rng.random() > 0.3 else items[-1][1]
        color, shade = pool[rng.integers(len(pool))]
        turn = Affine2D().rotate_deg(rng.uniform(-12, 12) if rng.random() < 0.5 else 0).scale(radius - line).translate(x, y)
        path = _outline(shape, rng).transformed(turn)
        edge = "black" if tone.mean() > 0.5 else "white"
        axes.add_patch(PathPatch(path, facecolor=shade, linewidth=line * 0.72, edgecolor=edge if line else "none", joinstyle="round", visible=things))
        box = path.get_extents().padded(line / 2).get_points().ravel() / [w, h, w, h]
        items.append([color, shape, [int(min(990, max(0, 10 * round(99.9 * v)))) for v in box]])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[:h, :w, :3].copy())
    return {"size": [w, h], "items": items}, image, int(rng.integers(50, 91)) if rng.random() < 0.3 else None
