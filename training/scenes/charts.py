"""Bar and line charts with labels: values can be read from a number beside them or from lines at every step."""

from __future__ import annotations

import numpy as np

from . import words
from .pages import Bar, Label, Stroke, hues, ink, paper, text_size
from .world import Scene


def _names(rng: np.random.Generator, split: str, n: int) -> list[str]:
    if rng.random() < 0.5:
        return [chr(ord("A") + i) for i in range(n)]
    out: list[str] = []
    while len(out) < n:
        name = words.label(rng, split, 5)
        if name not in out:
            out.append(name)
    return out


def _values(rng: np.random.Generator, n: int) -> tuple[list[int], int, int, bool]:
    """Different values, the axis's step and top, and whether numbers stand beside the values."""
    written = bool(rng.random() < 0.6)
    step = int(rng.choice([1, 2, 5, 10, 20]))
    top = int(rng.integers(max(n, 4), max(n, 4) + 3))
    if not written:
        return [step * int(k) for k in 1 + rng.permutation(top)[:n]], step, step * top, False
    least = max(1, step * top // 20)                   # so that the highest is seen to be the highest
    while True:
        out = [int(v) for v in rng.integers(max(1, step * top // 10), step * top + 1, n)]
        if n == 1 or np.diff(sorted(out)).min() >= least:
            return out, step, step * top, True


def _frame(scene: Scene, size: int, ticks: list[Label], title: bool) -> tuple[float, float, float, float]:
    """Where the bars are."""
    left = max((t.width() for t in ticks), default=0) + size * 0.5
    return left, size * (2.6 if title else 1.4), scene.width - size * 0.5, scene.height - size * 1.5


def _axis(rng: np.random.Generator, scene: Scene, says: dict, look: dict, step: int, top: int, written: bool) -> tuple:
    ticks = [] if written else [Label(str(v), look["rgb"], look["font"], look["size"], (0, 0), "rm") for v in range(0, top + 1, step)]
    left, high, right, low = box = _frame(scene, look["size"], ticks, says["title"] != "")
    if low - high < (1.1 * look["size"] * len(ticks) if ticks else 3 * look["size"]):
        return None, box
    line = max(1.0, look["line"] / 2)
    for k, tick in enumerate(ticks):
        y = low - (low - high) * k / (len(ticks) - 1)
        tick.at = (left - look["size"] * 0.25, y)
        scene.marks.append(Stroke([(left, y), (right, y)], look["faint"], line))
    scene.marks += [Stroke([(left, high), (left, low), (right, low)], look["rgb"], look["line"]), *ticks]
    return True, box


def _look(rng: np.random.Generator, scene: Scene) -> dict:
    rgb = ink(rng, scene)
    faint = tuple(int(0.75 * b + 0.25 * c) for b, c in zip(scene.back[0], rgb))
    return {"rgb": rgb, "faint": faint, "font": int(rng.integers(len(words.more_font_files()))),
            "size": text_size(rng, scene, 0.11), "line": rng.uniform(0.004, 0.02) * min(scene.width, scene.height)}


def _draw(rng: np.random.Generator, scene: Scene, says: dict, top: int, step: int, written: bool) -> bool:
    """Puts the chart's marks on the page; False where it does not fit."""
    look, names, values = _look(rng, scene), says["names"], says["values"]
    there, (left, high, right, low) = _axis(rng, scene, says, look, step, top, written)
    slot = (right - left) / len(names)
    labels = [Label(n, look["rgb"], look["font"], look["size"], (left + (i + 0.5) * slot, low + look["size"] * 0.75))
              for i, n in enumerate(names)]
    numbers = [Label(str(v), look["rgb"], look["font"], look["size"], (0, 0)) for v in values]
    if not there or slot < 1.1 * max(t.width() for t in [*labels, *(numbers if written else [])]) + 2:
        return False
    tips = [(left + (i + 0.5) * slot, low - (low - high) * v / top) for i, v in enumerate(values)]
    if says["kind"] == "bar":
        fills = hues(rng, scene, len(names)) if rng.random() < 0.5 else hues(rng, scene, 1) * len(names)
        half, edge = slot * rng.uniform(0.25, 0.42), look["rgb"] if rng.random() < 0.3 else None
        scene.marks += [Bar((x - half, y, x + half, low), fill, edge, look["line"] / 2) for (x, y), fill in zip(tips, fills)]
    else:
        hue, dot = hues(rng, scene, 1)[0], max(2.0, look["line"] * 1.8)
        scene.marks.append(Stroke(tips, hue, max(1.5, look["line"])))
        scene.marks += [Bar((x - dot, y - dot, x + dot, y + dot), hue) for x, y in tips]
    for number, (x, y) in zip(numbers, tips):
        number.at = (x, y - look["size"] * 0.7)
    scene.marks += labels + (numbers if written else [])
    if says["title"]:
        title = Label(says["title"], look["rgb"], look["font"], round(look["size"] * 1.1), (scene.width / 2, look["size"] * 0.8))
        scene.marks.append(title)
        return title.width() < scene.width * 0.96
    return True


def sample(rng: np.random.Generator, split: str, square: float, biggest: int) -> Scene | None:
    """A chart, or None where what was drawn by lot does not fit."""
    scene = paper(rng, square, biggest, (0.6, 3.2))
    n = int(rng.integers(2, 7))
    values, step, top, written = _values(rng, n)
    says = {"kind": "bar" if rng.random() < 0.65 else "line", "names": _names(rng, split, n), "values": values,
            "title": words.long_word(rng, split, 4, 8).capitalize() if rng.random() < 0.3 else ""}
    scene.says = {"chart": says}
    return scene if _draw(rng, scene, says, top, step, written) else None
