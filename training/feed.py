"""Processes that draw pictures and pack batches without end, for a trainer that is faster than they are: a GPU.

Each process keeps a pool of what it drew and asks about each picture several times, always other questions. A batch goes to the
trainer as bytes in a shared block (anonymous memory, inherited by fork: no files, no /dev/shm), and to the device in one copy.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .fast import Group, Plan
from .packed import BOXES, LONG, SHORT, Packed, Packer
from .scenes import wide
from .shards import picture
from .turns import Turn
from .warm import view_batch

TASKS = [*SHORT, *BOXES, *LONG, "relation", "read", "which", *wide.ITEMS, *wide.CHART, *wide.TABLE, *wide.RECEIPT, "sign", *wide.SETS]
BLOCK = 40 << 20                        # bytes; a batch that would need more is drawn again
FRESH = 60_000_000                      # first seed, far from those of shards
POOL, FIRST = 600, 60                   # pictures of a kind in memory, and before the first is used
SIZES = ((0.6, 300), (0.3, 500), (0.1, 900))         # (share, longest side in pixels)
SOURCES = {"square": ("items", 1.0), "tiles": ("items", 0.0), "text": ("text", 0.5), "square wide": ("wide", 1.0), "tiles wide": ("wide", 0.0),
           "chart": ("chart", 0.5), "table": ("table", 0.5), "receipt": ("receipt", 0.5), "sign": ("sign", 0.5), "pair": ("pair", 0.5)}
PAGES = ("chart", "table", "receipt", "sign")
# of the batches, and how many pictures each holds: things, then text, then several pictures, then the wide world
MENU: dict[str, tuple[float, int]] = {
    "square": (0.17, 384), "tiles": (0.26, 288), "long square": (0.07, 288), "long tiles": (0.07, 192), "text": (0.13, 384), "letters": (0.09, 700),
    "which": (0.06, 288), "sizes square": (0.015, 288), "sizes tiles": (0.015, 192), "chart": (0.03, 192), "table": (0.025, 192), "receipt": (0.02, 192),
    "sign": (0.03, 192), "spot": (0.015, 192), "three": (0.01, 288)}
HELD_OUT = ("square", "tiles", "long square", "long tiles", "text", "text", "which", "sizes square", "chart", "table", "receipt", "sign", "spot", "three")


def drawn(source: str, seed: int, again: int, split: str = "train") -> Iterator[dict]:
    """Endless pictures of a source, each drawn one used about `again` times; the two of a pair follow each other."""
    kind, square = SOURCES[source]
    rng, pool, n = np.random.default_rng([8, seed]), [], 2 * seed
    together = 2 if kind == "pair" else 1
    while True:
        for _ in range(max(FIRST - len(pool), int(rng.random() < 1 / again))):
            biggest = int(rng.choice([b for _, b in SIZES], p=[p for p, _ in SIZES]))
            unit = [picture(n + i, split, kind, square=square, biggest=biggest) for i in range(together)]
            n += 2
            if len(pool) < POOL:
                pool.append(unit)
            else:
                pool[rng.integers(POOL)] = unit
        yield from pool[rng.integers(len(pool))]


class Maker:
    """Draws batches of the kinds of MENU."""

    def __init__(self, seed: int, again: int, split: str = "train", zh: float = 0.3):
        self.packer, self.waiting = Packer(iter(()), seed, zh, split != "train"), {}
        self.sources = {k: drawn(k, FRESH + seed * 10_000_000 + 1_000_000 * i, again, split) for i, k in enumerate(SOURCES)}

    def _things(self) -> Iterator[dict]:
        while True:
            yield next(self.sources["square" if self.packer.rng.random() < 0.5 else "tiles"])

    def make(self, kind: str, count: int) -> Packed | dict[str, Tensor]:
        """A batch of `count` pictures (views of `letters`), fewer where they have several tiles."""
        packer, last = self.packer, kind.split()[-1]
        source = "text" if kind == "letters" else "pair" if kind == "spot" else last + " wide" if kind.startswith("sizes") else last
        packer.stream = self._things() if kind in ("which", "three") else self.sources[source]
        packer.waiting = self.waiting.setdefault("sets" if kind in ("which", "three") else source, {})
        packer.longest = 10 if packer.rng.random() < 0.7 else 12
        if kind == "letters":
            return view_batch(packer.stream, count, "cpu")
        if kind.startswith("sizes") or kind in PAGES:
            return packer.page(count, 6, last if kind.startswith("sizes") else "page")
        if kind.startswith("long"):
            return packer.items(last, count, 3, 2, 3, 3)
        make = {"square": lambda: packer.items("square", count, 8, 4, 2), "tiles": lambda: packer.items("tiles", count, 8, 4, 2),
                "text": lambda: packer.text(count), "which": lambda: packer.pair(count), "spot": lambda: packer.spot(count),
                "three": lambda: packer.three(count)}
        return make[kind]()


def parts(b: Packed | dict[str, Tensor]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A batch as named arrays, and what is not an array; turns stay behind, but for the number of each place's task."""
    if isinstance(b, dict):
        return {"views." + k: v.numpy() for k, v in b.items()}, {"pictures": int(b["is_global"].sum())}
    arrays = {"views." + k: v.numpy() for k, v in b.views.items()}
    arrays |= {k: getattr(b, k).numpy() for k in ("source", "target", "weight", "told", "boxes", "asked", "words")}
    arrays |= {"position": b.plan.position.numpy(), **{f"first.{i}": g.first.numpy() for i, g in enumerate(b.plan.groups)}}
    number = np.array([TASKS.index(t.task) for t in b.turns] + [-1])
    arrays["task"] = number[np.array(b.owner)]
    return arrays, {"pictures": int(b.views["is_global"].sum()), "sets": b.plan.pictures, "prefix": b.plan.prefix,
                    "groups": [(g.n, g.length, g.answers) for g in b.plan.groups]}


def write(block: memoryview | mmap.mmap, arrays: dict[str, np.ndarray]) -> tuple[list[tuple], int] | None:
    """Copies arrays into a block; (name, type, shape, offset) of each and the bytes used, or None where they do not fit."""
    where, at = [], 0
    for name, a in arrays.items():
        if at + a.nbytes > len(block):
            return None
        where.append((name, str(a.dtype), a.shape, at))
        np.frombuffer(block, np.uint8, a.nbytes, at)[:] = np.ascontiguousarray(a).reshape(-1).view(np.uint8)
        at += -(-a.nbytes // 16) * 16
    return where, at


def read(data: Tensor, where: list[tuple]) -> dict[str, Tensor]:
    """The arrays of write(), as views of the bytes `data` on any device."""
    out = {}
    for name, dtype, shape, at in where:
        kind = getattr(torch, dtype)
        size = int(np.prod(shape)) * kind.itemsize
        out[name] = data[at:at + size].view(kind).view(shape)
    return out


@dataclass
class Batch:
    kind: str
    pictures: int
    views: dict[str, Tensor]
    packed: Packed | None              # none of `letters`
    task: Tensor | None                # [places that predict] number in TASKS, -1 where nothing is asked


def restore(kind: str, t: dict[str, Tensor], about: dict[str, Any], turns: list[Turn] | None = None, owner: list[int] | None = None) -> Batch:
    views = {k.removeprefix("views."): v for k, v in t.items() if k.startswith("views.")}
    if "prefix" not in about:
        return Batch(kind, about["pictures"], views, None, None)
    groups = [Group(*g, t[f"first.{i}"]) for i, g in enumerate(about["groups"])]
    plan = Plan(about["sets"], about["prefix"], t["position"], groups)
    packed = Packed(views, t["source"], plan, t["target"], t["weight"], owner or [], t["told"], t["boxes"], t["asked"], t["words"], turns or [])
    return Batch(kind, about["pictures"], views, packed, t["task"])


def _work(me: int, seed: int, again: int, size: float, zh: float, shares: Any, blocks: list[mmap.mmap], free: Any, full: Any, exams: Any) -> None:
    torch.set_num_threads(1)
    trainer = os.getppid()
    exams.cancel_join_thread()                             # who dies is not to wait for the trainer to read it
    if me < len(HELD_OUT):
        b = Maker(seed + 100 + me, 1, "held-out").make(HELD_OUT[me], 40)
        exams.put((HELD_OUT[me], *parts(b), b.turns, b.owner))
    maker, rng, names = Maker(seed + 1 + me, again, zh=zh), np.random.default_rng([9, seed, me]), list(MENU)
    while True:
        share = np.array(shares)
        kind = names[rng.choice(len(names), p=share / share.sum())]
        arrays, about = parts(maker.make(kind, max(6, round(size * MENU[kind][1]))))
        while (block := _within(free, 5)) is None:
            if os.getppid() != trainer:
                return                                     # it was killed
        if (written := write(blocks[block], arrays)) is None:
            free.put(block)
            continue
        full.put((block, kind, *written, about))


def _within(line: Any, seconds: float) -> int | None:
    try:
        return line.get(timeout=seconds)
    except queue.Empty:
        return None


class Feed:
    """Starts the processes; call it before the device is touched, as they are forked. take() gives batches on the device."""

    def __init__(self, workers: int, seed: int, again: int, more: dict[str, float], size: float = 1.0, zh: float = 0.3, ahead: int = 6):
        """again: how often a drawn picture is asked about; more: see share(); size: multiplies the pictures of a batch; zh: share of Chinese."""
        fork = multiprocessing.get_context("fork")
        self.shares = fork.Array("d", len(MENU), lock=False)
        self.share(more)
        self.blocks = [mmap.mmap(-1, BLOCK) for _ in range(2 * workers + 2)]
        self.free, self.full, self.exams = fork.Queue(), fork.Queue(), fork.Queue()
        for i in range(len(self.blocks)):
            self.free.put(i)
        self.workers = [fork.Process(target=_work, args=(i, seed, again, size, zh, self.shares, self.blocks, self.free, self.full, self.exams), daemon=True)
                        for i in range(workers)]
        for w in self.workers:
            w.start()
        self.ready: queue.Queue[Batch] = queue.Queue(ahead)
        self.waited, self.failed = 0, None

    def share(self, more: dict[str, float]) -> None:
        """From now on each kind comes as often as MENU says times what `more` says of it."""
        self.shares[:] = [share * more.get(kind, 1.0) for kind, (share, _) in MENU.items()]

    def load(self, device: str) -> None:
        """Begins to copy batches to the device, on a thread and a stream of its own."""
        threading.Thread(target=self._load, args=(device,), daemon=True).start()

    def _load(self, device: str) -> None:
        try:
            self._copy(device)
        except Exception as error:                         # told by the trainer's thread
            self.failed = error

    def _copy(self, device: str) -> None:
        stream = torch.cuda.Stream() if device != "cpu" else None
        while True:
            block, kind, where, used, about = self.full.get()
            data = torch.frombuffer(self.blocks[block], dtype=torch.uint8, count=used)
            if stream:
                with torch.cuda.stream(stream):
                    data = data.to(device)
                stream.synchronize()
                data.record_stream(torch.cuda.default_stream())
            else:
                data = data.clone()
            self.free.put(block)
            self.ready.put(restore(kind, read(data, where), about))

    def take(self) -> Batch:
        self.waited += self.ready.empty()
        return self._next(self.ready)

    def _next(self, line: Any) -> Any:
        """What comes next out of a queue; an error where it will not come any more."""
        while True:
            if self.failed:
                raise RuntimeError("batches cannot be copied to the device") from self.failed
            if not all(w.is_alive() for w in self.workers):
                raise RuntimeError("a process that draws has ended")
            try:
                return line.get(timeout=10)
            except queue.Empty:
                pass

    def exam(self, device: str) -> list[Batch]:
        """The held-out batches, with their turns; one of each process that makes one."""
        out = []
        for _ in range(min(len(self.workers), len(HELD_OUT))):
            kind, arrays, about, turns, owner = self._next(self.exams)
            out.append(restore(kind, {k: torch.from_numpy(v).to(device) for k, v in arrays.items()}, about, turns, owner))
        return out

    def stop(self) -> None:
        for w in self.workers:
            w.terminate()
