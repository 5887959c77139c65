"""Draws pictures ahead of training: views, what lies under each patch, and what the scene holds.

    python -m training.shards --out DIR --first 0 --count 100 --kind items
A shard is an .npz of 512 pictures, the same for the same arguments; pictures of one shard follow by seed.
"""

from __future__ import annotations

import argparse
import json
import os
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from . import preprocess
from .scenes import kinds, pairs, render, world
from .scenes.shapes import COLOR_NAMES, SHAPE_NAMES
from .settings import CANDIDATES, GRID, MEAN, PATCH, SIDE

PER_SHARD = 512
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
CASED = LETTERS + LETTERS[:26].upper()
ROWS = -(-GRID // 2)


def facts(scene: world.Scene) -> dict:
    """What questions need to know of a scene."""
    if scene.says:
        return {"size": [scene.width, scene.height], **scene.says}
    if scene.text:
        return {"size": [scene.width, scene.height], "text": scene.text.text, "number": scene.text.number}
    return {"size": [scene.width, scene.height],
            "items": [[i.color, i.shape, scene.box999(i)] for i in scene.items]}


def _thing_table(scene: world.Scene) -> tuple[np.ndarray, np.ndarray]:
    """Per thing [n,4] u8 (colour, shape, letter, place in the word; each 1.., 0 is none) and its box."""
    outlines, written = render.things(scene), render.characters(scene)
    table = np.zeros((len(outlines) + 1, 4), np.uint8)
    boxes = np.zeros((len(outlines) + 1, 4), np.float32)
    for i, points in enumerate(outlines):
        if written:
            table[i + 1, 2:] = 1 + LETTERS.index(written[i][0].lower()), min(1 + written[i][1], 6)
        elif scene.text:
            table[i + 1, 2:] = 1 + LETTERS.index(scene.text.text[i].lower()), 1 + i
        else:
            item = scene.items[i]
            table[i + 1, :2] = 1 + COLOR_NAMES.index(item.color), 1 + SHAPE_NAMES.index(item.shape)
        boxes[i + 1] = *points.min(0), *points.max(0)
    return table, boxes


def _fit(scene: world.Scene, target: tuple[int, int]) -> tuple[float, int, int]:
    """How pixels of the picture lie in the resized and padded one: scale and offset."""
    w, _, dx, dy = preprocess.contain((scene.width, scene.height), target)
    return w / scene.width, dx, dy


def _owners(scene: world.Scene, target: tuple[int, int], things: int) -> tuple[np.ndarray, tuple]:
    """Per patch of each view the thing that covers most of it ([views,G*G] u8), and the map onto the views."""
    scale, dx, dy = _fit(scene, target)
    owner = render.owner_map(scene, *target, scale, dx, dy)
    cells = owner.reshape(target[1] // PATCH, PATCH, target[0] // PATCH, PATCH).swapaxes(1, 2)
    cells = cells.reshape(target[1] // PATCH, target[0] // PATCH, -1)
    share = np.stack([(cells == k).sum(-1) for k in range(1, things)] or [np.zeros(cells.shape[:2], int)], -1)
    best = np.where(share.max(-1) > PATCH * PATCH * 0.2, share.argmax(-1) + 1, 0).astype(np.uint8)
    down, across = target[1] // SIDE, target[0] // SIDE
    grid = best.reshape(down, GRID, across, GRID).swapaxes(1, 2).reshape(-1, GRID * GRID)
    return grid, (scale, dx, dy)


def _sides(owner: np.ndarray, boxes: np.ndarray, fit: tuple, across: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the patch centre to the box's sides, over S ([views,G*G,4]), and which patch holds its centre."""
    scale, dx, dy = fit
    placed = boxes * scale + np.array([dx, dy, dx, dy], np.float32)
    view = np.arange(len(owner))
    corner = np.stack([view % across, view // across], -1) * SIDE
    at = (np.arange(GRID) + 0.5) * PATCH
    centre = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)[None] + corner[:, None]
    box = placed[owner]
    sides = (box - np.concatenate([centre, centre], -1)) / SIDE
    middle = (box[..., :2] + box[..., 2:]) / 2
    holds = (np.abs(middle - centre) <= PATCH / 2).all(-1) & (owner > 0)
    return sides.clip(-1.5, 1.5).astype(np.float16), holds.astype(np.uint8)


def _spelling(scene: world.Scene, boxes: np.ndarray, fit: tuple) -> np.ndarray:
    """Per row of the global view and place in the word the letter, 1.. in CASED, that a quarter of lies there."""
    out = np.zeros((ROWS, ROWS, 6), np.uint8)
    scale, dx, dy = fit
    edge = np.arange(ROWS) * 2 * PATCH
    for i, (x0, y0, x1, y1) in enumerate(boxes[1:] * scale + np.array([dx, dy, dx, dy])):
        across = (np.minimum(x1, edge + 2 * PATCH) - np.maximum(x0, edge)).clip(0) / max(x1 - x0, 1e-3)
        down = (np.minimum(y1, edge + 2 * PATCH) - np.maximum(y0, edge)).clip(0) / max(y1 - y0, 1e-3)
        out[down[:, None] * across[None] > 0.25, i] = 1 + CASED.index(scene.text.text[i])
    return out.reshape(ROWS * ROWS, 6)


def scene_of(seed: int, split: str, kind: str, **how) -> tuple[world.Scene, dict]:
    """A scene and its facts. Of kind `pair` two seeds that follow each other are two pictures that differ in one thing."""
    if kind == "pair":
        *both, change = pairs.sample(seed // 2, split, **how)
        return both[seed % 2], {**facts(both[seed % 2]), "change": change}
    scene = kinds.scene(seed, split, kind, **how)
    return scene, facts(scene)


def picture(seed: int, split: str, kind: str, **how) -> dict:
    """One training picture with its labels; a 1x1 picture has one view, which counts as both."""
    scene, known = scene_of(seed, split, kind, **how)
    seen = preprocess.views(render.draw(scene, seed), CANDIDATES, MEAN)
    table, boxes = _thing_table(scene)
    whole = (seen.across * SIDE, seen.down * SIDE)
    parts = [((SIDE, SIDE), 1)] + ([(whole, seen.across)] if len(seen.tiles) > 2 else [])
    owners, sides, holds = [], [], []
    for target, across in parts:
        owner, fit = _owners(scene, target, len(table))
        side, hold = _sides(owner, boxes, fit, across)
        owners.append(owner), sides.append(side), holds.append(hold)
    owner = np.concatenate(owners)
    spell = np.zeros((len(owner), ROWS * ROWS, 6), np.uint8)
    if scene.text:
        spell[0] = _spelling(scene, boxes, _fit(scene, (SIDE, SIDE)))
    place = boxes / np.array([scene.width, scene.height] * 2, np.float32)
    return {"tiles": seen.tiles[: len(owner)], "labels": table[owner], "sides": np.concatenate(sides),
            "holds": np.concatenate(holds), "spell": spell, "place": place[owner].astype(np.float16),
            "grid": (seen.across, seen.down), "facts": known}


def write_shard(path: Path, first_seed: int, split: str, kind: str, **how) -> None:
    made = [picture(first_seed + i, split, kind, **how) for i in range(PER_SHARD)]
    arrays = {k: np.concatenate([m[k] for m in made]) for k in ("tiles", "labels", "sides", "holds", "place", "spell")}
    arrays["views"] = np.array([len(m["tiles"]) for m in made], np.int32)
    arrays["grid"] = np.array([m["grid"] for m in made], np.int32)
    arrays["facts"] = np.frombuffer(json.dumps([m["facts"] for m in made]).encode(), np.uint8)
    part = path.with_suffix(".part")
    with open(part, "wb") as out:
        np.savez(out, **arrays)
    os.replace(part, path)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--first", type=int, default=0, help="number of the first shard")
    p.add_argument("--count", type=int, default=10)
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--split", default="train", choices=["train", "held-out"])
    p.add_argument("--kind", default="mix", choices=["mix", *kinds.KINDS, "pair"])
    p.add_argument("--biggest", type=int, default=260, help="longest side of a picture in pixels")
    p.add_argument("--square", type=float, default=0.7, help="share of square pictures")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    with Pool(a.workers) as pool:
        jobs = [(a.out, a.split, a.kind, k, a.square, a.biggest) for k in range(a.first, a.first + a.count)]
        for _ in pool.imap_unordered(_job, jobs):
            pass


def _job(job: tuple[Path, str, str, int, float, int]) -> None:
    out, split, kind, k, square, biggest = job
    if kind == "mix":
        kind = "text" if k % 10 in (1, 4, 8) else "items"
    path = out / f"{split}-{kind}-{k:05d}.npz"
    if not path.exists():
        write_shard(path, k * PER_SHARD, split, kind, square=square, biggest=biggest)


if __name__ == "__main__":
    main()
