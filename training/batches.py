"""Pictures and questions to tensors: many turns share one picture, and each sees only it and itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from . import tokenizer
from .grade import right
from .language import Layout
from .scenes import questions
from .settings import GRID

SIDE_ROWS = -(-GRID // 2)
EVERY = ["color", "shape", "total", "count", "count_color", "presence", "presence_shape", "relation", "ground",
         "ground_shape", "ground_all", "caption"]
SHARE = [3.0, 3.0, 1.2, 1.5, 0.6, 2.4, 0.8, 0.7, 1.4, 0.4, 0.2, 0.03]


class Tokens:
    """The demo tokenizer, with what is asked of it again and again."""

    def __init__(self) -> None:
        self.table = Tokenizer.from_str(json.dumps(tokenizer.build()))
        self.image, self.bos, self.eos = (self.table.token_to_id(t) for t in ("<image>", tokenizer.BOS, tokenizer.EOS))
        self.vocab = -(-self.table.get_vocab_size() // 64) * 64
        self.encode = lru_cache(100_000)(self._encode)

    def _encode(self, text: str) -> list[int]:
        return self.table.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self.table.decode([i for i in ids if i != self.eos], skip_special_tokens=False)

    def letters(self, text: str) -> list[int]:
        """A read text is answered letter by letter: words that were never seen are spelt as the others."""
        return [self.table.token_to_id(c) for c in text]


TOKENS = Tokens()


def image_slots(across: int, down: int, first: int, single: bool, ends: tuple[int, int]) -> list[int]:
    """For each image token of a picture, the row that goes there (docs/MODEL.md §6); ends: newline, separator."""
    g, newline = SIDE_ROWS, ends[0]
    out = []
    for r in range(g):
        out += [first + r * g + c for c in range(g)] + [newline]
    out.append(ends[1])
    for r in range(down * g):
        for c in range(across * g):
            view = 0 if single else 1 + (r // g) * across + c // g
            out.append(first + view * g * g + (r % g) * g + c % g)
        out.append(newline)
    return out


@dataclass
class Turn:
    task: str
    lang: str
    ids: list[int]                     # what is read
    target: list[int]                  # what follows each of them, -1 where nothing is asked
    answer: str


@dataclass
class Batch:
    views: dict[str, Tensor]
    ids: Tensor                        # [M]
    image_at: Tensor                   # places in the flat list, and the rows that go there
    image_from: Tensor
    layout: Layout
    keep: Tensor                       # places of the answers' predictions
    target: Tensor
    owner: list[int]                   # per kept place its turn
    turns: list[Turn]


def move(b: Batch, device: str) -> Batch:
    """The batch on a device."""
    if device == "cpu":
        return b
    there = {k: v.to(device, non_blocking=True) for k, v in vars(b).items() if isinstance(v, Tensor)}
    views = {k: v.to(device, non_blocking=True) for k, v in b.views.items()}
    layout = Layout(*(t.to(device) for t in (b.layout.position, b.layout.prefix, b.layout.turns)))
    return replace(b, views=views, layout=layout, **there)


class Maker:
    def __init__(self, stream, seed: int, device: str, turns: int = 10, even: bool = False, pairs: float = 0.0,
                 short: bool = False):
        self.stream, self.rng, self.device = stream, np.random.default_rng([4, seed]), device
        self.count, self.even, self.pairs = turns, even, pairs
        self.share = np.array([1.0 if even else s for s in SHARE])
        if short:
            self.share[[i for i, t in enumerate(EVERY) if t.startswith(("ground", "caption", "relation"))]] = 0
        self.share /= self.share.sum()

    def _turn(self, asked: tuple[str, str, str, str]) -> Turn:
        task, lang, question, answer = asked
        ids = TOKENS.encode(question + "\n\n<|Assistant|>:")
        said = TOKENS.letters(answer) if task == "read" else TOKENS.encode(answer)
        target = [-1] * (len(ids) - 1) + said + [TOKENS.eos]
        return Turn(task, lang, ids + said, target, answer)

    def _follow(self, a: Turn, b: Turn) -> Turn:
        """Two turns of one conversation."""
        gap = [TOKENS.eos, *TOKENS.encode("<|User|>: ".rstrip()), *TOKENS.encode(" ")]
        return Turn(b.task, b.lang, a.ids + gap + b.ids, a.target + [-1] * len(gap) + b.target, b.answer)

    def _turns(self, facts: dict) -> list[Turn]:
        asker = questions.Asker(facts, self.rng)
        if "text" in facts:
            return [self._turn(asker.ask("read")) for _ in range(2)]
        turns = []
        for _ in range(4 * self.count):
            asked = asker.ask(EVERY[self.rng.choice(len(EVERY), p=self.share)])
            if asked:
                turns.append(self._turn(asked))
            if len(turns) == self.count:
                break
        return turns

    def _join(self, turns: list[Turn]) -> list[Turn]:
        if len(turns) > 3 and self.rng.random() < 0.12 and not self.even:
            return [self._follow(turns[0], turns[1]), *turns[2:]]
        return turns

    def _pair(self, first: dict) -> tuple[list[dict], list[Turn]]:
        second = next(p for p in self.stream if "items" in p["facts"])
        facts, turns = [first["facts"], second["facts"]], []
        for _ in range(12):
            lang = "zh" if self.rng.random() < 0.3 else "en"
            asked = questions.which(self.rng, facts, lang)
            if asked:
                turns.append(self._turn(("which", lang, *asked)))
        return [first, second], turns[: self.count]

    def make(self, pictures: int) -> Batch:
        ids: list[int] = []
        where: list[int] = []
        prefixes, rows, turns, shown, slots = [], [], [], [], []
        used = 0
        while used < pictures:
            first = next(self.stream)
            pair = "items" in first["facts"] and self.rng.random() < self.pairs
            pics, asked = self._pair(first) if pair else ([first], self._join(self._turns(first["facts"])))
            used += len(pics)
            start = len(ids)
            ids += [TOKENS.bos, *TOKENS.encode("<|User|>:"), *TOKENS.encode(" ")]
            for pic in pics:
                slots.append((pic, len(ids), sum(len(s["tiles"]) for s in shown)))
                shown.append(pic)
                ids += [TOKENS.image] * len(image_slots(*pic["grid"], 0, False, (0, 0))) + TOKENS.encode("\n")
            length = len(ids) - start
            where += range(length)
            prefixes.append(range(start, len(ids)))
            row = []
            for turn in asked:
                row.append((range(len(ids), len(ids) + len(turn.ids)), turn))
                ids += turn.ids
                where += range(length, length + len(turn.ids))
            rows.append(row)
        return self._tensors(ids, where, prefixes, rows, shown, slots)

    def _tensors(self, ids, where, prefixes, rows, shown, slots) -> Batch:
        to = self.device
        views = {k: torch.from_numpy(np.concatenate([p[k] for p in shown])).to(to)
                 for k in ("tiles", "labels", "sides", "holds", "place")}
        views["is_global"] = torch.tensor([i == 0 for p in shown for i in range(len(p["tiles"]))], device=to)
        rows_in_all = len(views["tiles"]) * SIDE_ROWS**2
        image_at, image_from = [], []
        for pic, at, view in slots:
            got = image_slots(*pic["grid"], view * SIDE_ROWS**2, len(pic["tiles"]) == 1, (rows_in_all, rows_in_all + 1))
            image_at += range(at, at + len(got))
            image_from += got
        prefix = np.full((len(prefixes), max(map(len, prefixes))), -1)
        for i, p in enumerate(prefixes):
            prefix[i, : len(p)] = p
        flat = [(i, j, at, turn) for i, row in enumerate(rows) for j, (at, turn) in enumerate(row)]
        grid = np.full((len(rows), max(map(len, rows)), max(len(at) for _, _, at, _ in flat)), -1)
        keep, target, owner = [], [], []
        for n, (i, j, at, turn) in enumerate(flat):
            grid[i, j, : len(at)] = at
            for place, t in zip(at, turn.target):
                if t >= 0:
                    keep.append(place), target.append(t), owner.append(n)
        t = lambda x: torch.tensor(x, device=to)  # noqa: E731
        layout = Layout(t(where), torch.from_numpy(prefix).to(to), torch.from_numpy(grid).to(to), 0)
        return Batch(views, t(ids), t(image_at), t(image_from), layout, t(keep), t(target), owner,
                     [turn for *_, turn in flat])


def by_task(b: Batch, each: Tensor, mean: dict[str, float]) -> None:
    """Running means of the loss of each task."""
    sums: dict[str, list[float]] = {}
    for n, v in zip(b.owner, each.tolist()):
        sums.setdefault(b.turns[n].task, []).append(v)
    for k, v in sums.items():
        mean[k] = 0.95 * mean.get(k, sum(v) / len(v)) + 0.05 * sum(v) / len(v)


def scores(b: Batch, best: Tensor) -> list[tuple[str, float]]:
    said: dict[int, list[int]] = {}
    for n, v in zip(b.owner, best.tolist()):
        said.setdefault(n, []).append(v)
    out = []
    for n, ids in said.items():
        turn = b.turns[n]
        score = right(turn.task, TOKENS.decode(ids), turn.answer)
        out.append((turn.task, score))
        out.append(("all-" + turn.lang, score))
    return out
