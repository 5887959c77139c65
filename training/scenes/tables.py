"""Small tables, receipts and signs."""

from __future__ import annotations

import numpy as np

from . import words
from .pages import Bar, Label, Stroke, ink, paper, text_size
from .world import Scene


def _different(rng: np.random.Generator, split: str, n: int, longest: int) -> list[str]:
    out: list[str] = []
    while len(out) < n:
        word = words.label(rng, split, longest)
        if word not in out:
            out.append(word)
    return out


def _face(rng: np.random.Generator) -> int:
    return int(rng.integers(len(words.more_font_files())))


def _cells(rng: np.random.Generator, split: str, rows: int, columns: int) -> list[list[str]]:
    """Each column holds numbers or words."""
    out: list[list[str]] = [[] for _ in range(rows)]
    for _ in range(columns):
        numbers, most = rng.random() < 0.65, int(rng.choice([10, 100, 1000]))
        for row in out:
            row.append(str(rng.integers(0, most)) if numbers else words.label(rng, split, 5))
    return out


def _rules(rng: np.random.Generator, scene: Scene, edges: tuple[list[float], list[float]], rgb: tuple) -> None:
    """Lines of a table: none but below the head, every row, or a grid; at times the head or every other row is shaded."""
    xs, ys = edges
    line, style = max(1.0, rng.uniform(0.004, 0.015) * min(scene.width, scene.height)), rng.integers(3)
    shade = tuple(int(0.85 * b + 0.15 * c) for b, c in zip(scene.back[0], rgb))
    shaded = [range(0), range(1), range(0, len(ys) - 1, 2)][rng.integers(3)]
    scene.marks += [Bar((xs[0], ys[i], xs[-1], ys[i + 1]), shade) for i in shaded]
    scene.marks += [Stroke([(xs[0], y), (xs[-1], y)], rgb, line) for y in ([ys[1]] if style == 0 else ys)]
    if style == 2:
        scene.marks += [Stroke([(x, ys[0]), (x, ys[-1])], rgb, line) for x in xs]


def table(rng: np.random.Generator, split: str, square: float, biggest: int) -> Scene | None:
    scene = paper(rng, square, biggest, (0.6, 3.2))
    rows, columns = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    says = {"columns": _different(rng, split, columns, 6), "rows": _different(rng, split, rows, 6), "cells": _cells(rng, split, rows, columns)}
    if set(says["columns"]) & set(says["rows"]):
        return None
    face, size, rgb = _face(rng), text_size(rng, scene, 0.11), ink(rng, scene)
    lines = [["", *says["columns"]], *([name, *cells] for name, cells in zip(says["rows"], says["cells"]))]
    made = [[Label(t, rgb, face, size, (0, 0)) for t in row] for row in lines]
    widths = [max(row[j].width() for row in made) + size * 0.7 for j in range(columns + 1)]
    spare_x, spare_y = scene.width * 0.96 - sum(widths), scene.height * 0.96 - size * 1.3 * len(lines)
    if spare_x < 0 or spare_y < 0:
        return None
    stretch = rng.uniform(0.2, 1.0)
    widths = [w + spare_x * stretch / len(widths) for w in widths]
    height = size * 1.3 + spare_y * stretch / len(lines)
    xs = list(np.cumsum([scene.width * 0.02 + rng.uniform(0, 1) * spare_x * (1 - stretch), *widths]))
    ys = list(np.cumsum([scene.height * 0.02 + rng.uniform(0, 1) * spare_y * (1 - stretch), *[height] * len(lines)]))
    _rules(rng, scene, (xs, ys), rgb)
    right = rng.random() < 0.4
    for i, row in enumerate(made):
        for j, label in enumerate(row):
            if label.text:
                label.anchor = "lm" if j == 0 else "rm" if right else "mm"
                x = xs[j] + size * 0.3 if j == 0 else xs[j + 1] - size * 0.3 if right else (xs[j] + xs[j + 1]) / 2
                label.at = (x, (ys[i] + ys[i + 1]) / 2)
                scene.marks.append(label)
    scene.says = {"table": says}
    return scene


def money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def receipt(rng: np.random.Generator, split: str, square: float, biggest: int) -> Scene | None:
    scene = paper(rng, square, biggest, (0.25, 1.1))
    n = int(rng.integers(1, 7))
    prices = [int(rng.integers(1, 40)) * 50 if rng.random() < 0.5 else int(rng.integers(20, 2000)) for _ in range(n)]
    says = {"names": _different(rng, split, n, 6), "prices": [money(p) for p in prices], "total": money(sum(prices)),
            "shop": words.long_word(rng, split, 4, 7).upper() if rng.random() < 0.6 else ""}
    face, size, rgb, unit = _face(rng), text_size(rng, scene, 0.1), ink(rng, scene), rng.choice(["", "", "$", "\u00a5"])
    gap = size * rng.uniform(1.25, 1.6)
    pairs = [*zip(says["names"], says["prices"]), ("TOTAL", says["total"])]
    rows = len(pairs) + (1.5 if says["shop"] else 0) + 0.6
    left, right = scene.width * rng.uniform(0.03, 0.1), scene.width * rng.uniform(0.9, 0.97)
    y = size + rng.uniform(0, 1) * (scene.height - rows * gap - size)
    made = [(Label(a, rgb, face, size, (left, 0), "lm"), Label(f"{unit}{b}", rgb, face, size, (right, 0), "rm")) for a, b in pairs]
    if rows * gap + size > scene.height or max(a.width() + b.width() for a, b in made) > (right - left) * 0.92:
        return None
    if says["shop"]:
        scene.marks.append(shop := Label(says["shop"], rgb, face, round(size * 1.2), (scene.width / 2, y)))
        y += 1.5 * gap
        if shop.width() > right - left:
            return None
    for i, pair in enumerate(made):
        if i == n:
            scene.marks.append(Stroke([(left, y - gap * 0.2), (right, y - gap * 0.2)], rgb, max(1.0, size * 0.07)))
            y += 0.4 * gap
        for label in pair:
            label.at = (label.at[0], y)
            scene.marks.append(label)
        y += gap
    scene.says = {"receipt": says}
    return scene


def sign(rng: np.random.Generator, split: str, square: float, biggest: int) -> Scene | None:
    """One to three words, one a line, up to ten letters each."""
    scene = paper(rng, square, biggest, (0.5, 4.0))
    n = int(rng.integers(1, 4))
    said = [words.long_word(rng, split) if rng.random() < 0.6 else words.sample(rng, False, split) for _ in range(n)]
    said = [w.upper() for w in said] if rng.random() < 0.5 else said
    face, rgb = _face(rng), ink(rng, scene)
    widest = max(words.font(face, 64).getlength(w) for w in said) / 64
    size = int(min(scene.width * rng.uniform(0.6, 0.94) / widest, scene.height * 0.8 / n / 1.2))
    if size < max(9, min(scene.width, scene.height) / 12):
        return None
    top = size * 0.7 + rng.uniform(0, 1) * (scene.height - 1.2 * n * size - size * 0.2)
    scene.marks += [Label(w, rgb, face, size, (scene.width / 2, top + 1.2 * i * size)) for i, w in enumerate(said)]
    scene.says = {"sign": " ".join(said)}
    return scene
