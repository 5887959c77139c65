"""Batches made by several processes ahead of the one that trains."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.multiprocessing as mp

from . import batches, data


def easy(stream: Iterator[dict], most: int) -> Iterator[dict]:
    """Square pictures of few items, for a first, cheap lesson."""
    return (p for p in stream if tuple(p["grid"]) == (1, 1) and len(p["facts"].get("items", [])) <= most)


def stream(a: argparse.Namespace, seed: int) -> Iterator[batches.Batch]:
    """Endless batches on the CPU, from the run's options."""
    pictures = data.pictures(Path(a.shards), seed, {"items": 1 - a.text, "text": a.text} if a.text else {"items": 1.0})
    if a.easy:
        pictures = easy(pictures, a.easy)
    maker = batches.Maker(pictures, seed, "cpu", a.turns, pairs=a.pairs, short=bool(a.easy))
    while True:
        yield maker.make(a.batch)


def _work(a: argparse.Namespace, seed: int, queue: mp.Queue) -> None:
    torch.set_num_threads(1)
    for b in stream(a, seed):
        queue.put(b)


def start(a: argparse.Namespace, seed: int) -> Iterator[batches.Batch]:
    """Batches in this process, or from a.workers others, which end with it."""
    if not a.workers:
        yield from stream(a, seed)
        return
    spawn = mp.get_context("spawn")
    mp.set_sharing_strategy("file_system")
    queue = spawn.Queue(4 * a.workers)
    for k in range(a.workers):
        spawn.Process(target=_work, args=(a, seed * 1000 + k, queue), daemon=True).start()
    while True:
        yield queue.get()
