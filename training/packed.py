"""Pictures and questions as the segments that training/fast.py takes: many turns share one picture.

A turn sees its picture and itself only, its positions follow the picture's: it is a conversation of its own. Pictures of
one batch have the same tiling, turns of one group are filled to one length from the left, so nothing else is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from .fast import Group, Plan
from .grade import right
from .scenes import questions, wide
from .turns import SIDE_ROWS, TOKENS, Turn, image_slots

SHORT = {"color": 0.9, "shape": 1.4, "total": 1.5, "count": 2.2, "count_color": 1.4, "presence": 2.2, "presence_shape": 0.7,
         "presence_color": 0.4}
BOXES = {"ground": 3.0, "ground_shape": 1.0}
SPELT = {"read", "text", "number", "sign"}      # and names elsewhere, see turn_of
LONG = {"ground_all": 2.0, "caption": 1.0, "turns": 3.0}


@dataclass
class Packed:
    views: dict[str, Tensor]
    source: Tensor                     # [M] row of the table (projected rows, newline, separator, embeddings)
    plan: Plan
    target: Tensor                     # per place that predicts, -1 for none
    weight: Tensor
    owner: list[int]                   # per place its turn, -1 for none
    told: Tensor                       # [K] places whose hidden state is to know a box, of all M
    boxes: Tensor                      # [K,4] its sides in steps of ten
    asked: Tensor                      # [K'] the last places of questions with a word for an answer, of all M
    words: Tensor                      # [K'] that word
    turns: list[Turn] = field(default_factory=list)

    def to(self, device: str) -> Packed:
        groups = [replace(g, first=g.first.to(device)) for g in self.plan.groups]
        plan = replace(self.plan, position=self.plan.position.to(device), groups=groups)
        return replace(self, plan=plan, views={k: v.to(device) for k, v in self.views.items()},
                       source=self.source.to(device), target=self.target.to(device), weight=self.weight.to(device),
                       told=self.told.to(device), boxes=self.boxes.to(device), asked=self.asked.to(device), words=self.words.to(device))


def turn_of(task: str, lang: str, question: str, answer: str) -> Turn:
    ids = TOKENS.encode(question + "\n\n<|Assistant|>:")
    named = task in ("highest", "lowest", "cell") and answer.isascii() and answer.isalpha()
    said = TOKENS.letters(answer) if task in SPELT or named else TOKENS.encode(answer)
    return Turn(task, lang, ids + said, [-1] * (len(ids) - 1) + said + [TOKENS.eos], answer)


def follow(a: Turn, b: Turn) -> Turn:
    """Two turns of one conversation; only the second one's answer is asked."""
    gap = [TOKENS.eos, *TOKENS.encode("<|User|>: ".rstrip()), *TOKENS.encode(" ")]
    return Turn("turns", b.lang, a.ids + gap + b.ids, [-1] * len(a.ids + gap) + b.target, b.answer)


REF_END, OPEN, DET_END = (TOKENS.encode(t)[0] for t in ("<|/ref|>", "[[", "<|/det|>"))
NUMBER = {TOKENS.encode(str(n))[0]: n for n in range(1000)}


def box_places(turn: Turn) -> list[tuple[int, list[float]]]:
    """Tokens that come after what is named and before its box, or after one of several boxes and before the next: they can know it already."""
    out, at = [], 0
    while REF_END in turn.ids[at:] and OPEN in turn.ids[at:]:
        a, opened = turn.ids.index(REF_END, at), turn.ids.index(OPEN, at)
        at = turn.ids.index(DET_END, opened)
        numbers = [i for i in range(opened, at) if turn.ids[i] in NUMBER]
        for k in range(0, len(numbers) - 3, 4):
            box = [NUMBER[turn.ids[i]] / 10 for i in numbers[k:k + 4]]
            out += [(i, box) for i in range(numbers[k - 1] if k else a, numbers[k])]
    return out


def named_places(question: str, lang: str, items: list) -> list[tuple[int, list[float]]]:
    """The token that ends each name of a thing in a question, and the next one, with that thing's box: where it is can be known there."""
    out = []
    for color, shape, box in items:
        name = questions.thing(lang, color, shape)
        if question.count(name) == 1:
            end = len(TOKENS.encode(question[:question.index(name) + len(name)]))
            out += [(i, [v / 10 for v in box]) for i in (end - 1, end)]
    return out


def word_places(turn: Turn) -> list[tuple[int, int]]:
    """The last three tokens of a question whose answer is one word, and that word; of a text each letter where it follows."""
    if turn.task in SPELT:
        return [(i, v) for i, v in enumerate(turn.target) if v >= 0]
    if turn.task not in (*SHORT, "relation", "turns"):
        return []
    last = next(i for i, v in enumerate(turn.target) if v >= 0)
    return [(i, turn.target[last]) for i in range(last - 2, last + 1)]


class Packer:
    """Draws batches of a kind: 'square' (one tile), 'tiles', 'text', 'pair', and of the wide world 'sizes', 'page', 'spot', 'three'."""

    def __init__(self, stream: Iterator[dict], seed: int, zh: float = 0.3, even: bool = False):
        self.stream, self.rng, self.zh, self.even = stream, np.random.default_rng([4, seed]), zh, even
        self.hard, self.longest, self.waiting = 1.0, 12, {}

    def pictures(self, kind: str, count: int) -> list[dict]:
        """Pictures of one kind and tiling."""
        while True:
            for (k, grid), line in self.waiting.items():
                if k == kind and len(line) >= min(count, max(4, 2 * count // (1 + grid[0] * grid[1]))) and \
                        (k != "text" or grid == (1, 1) or self.rng.random() < 0.5):
                    take = min(count, len(line))
                    take -= take % 2 if k == "spot" else 0
                    self.waiting[k, grid] = line[take:]
                    return line[:take]
            p = next(self.stream)
            grid = tuple(int(v) for v in p["grid"])
            k = "text" if "text" in p["facts"] else "spot" if "change" in p["facts"] else "page" if "items" not in p["facts"] \
                else "square" if grid == (1, 1) else "tiles"
            line = self.waiting.setdefault((k, grid), [])
            line.append(p)
            if len(line) > max(100, 2 * count):
                del line[: 20]

    def _asked(self, asker: questions.Asker, share: dict[str, float], n: int, most: int) -> list[Turn]:
        names, p = list(share), np.array([1.0 if self.even else v for v in share.values()])
        out: list[Turn] = []
        for task in self.rng.choice(names, 6 * n + 6, p=p / p.sum()):
            turn = self._two(asker) if task == "turns" else self._one(asker, task)
            if turn and len(turn.ids) <= most:
                out.append(turn)
            if len(out) == n:
                break
        return out

    def _one(self, asker: questions.Asker, task: str) -> Turn | None:
        if not (got := asker.ask(task)):
            return None
        turn = turn_of(*got)
        if task == "relation":
            turn.knows = named_places(got[2], got[1], [i for i in asker.items if asker.kinds[i[0], i[1]] == 1])
        return turn

    def _two(self, asker: questions.Asker) -> Turn | None:
        first, second = (self._one(asker, self.rng.choice(list(SHORT))) for _ in range(2))
        return follow(first, second) if first and second else None

    def items(self, kind: str, count: int, short: int = 10, boxes: int = 2, relations: int = 1, long: int = 0) -> Packed:
        pics = self.pictures(kind, count)
        askers = [questions.Asker(p["facts"], self.rng, self.zh, self.hard) for p in pics]
        wanted = [(SHORT, short, self.longest), ({"relation": 1.0}, relations, 15), (BOXES, boxes, self.longest + 17 if self.rng.random() < 0.75 else 34), (LONG, long, 72)]
        groups = [[self._asked(a, share, n, most) for a in askers] for share, n, most in wanted if n]
        return self._pack([[p] for p in pics], groups)

    def text(self, count: int, turns: int = 2) -> Packed:
        pics = self.pictures("text", count)
        groups = [[[turn for _ in range(turns) if (turn := self._one(questions.Asker(p["facts"], self.rng, self.zh), "read"))]
                   for p in pics]]
        return self._pack([[p] for p in pics], groups)

    def _sets(self, count: int, n: int) -> list[list[dict]]:
        """Sets of n pictures of things; the first ones of all sets have the same tiling, so do the second ones, and so on."""
        kinds = [("square", "tiles")[self.rng.integers(2)] for _ in range(n)]
        return [list(s) for s in zip(*(self.pictures(k, count // n) for k in kinds))]

    def _about_sets(self, count: int, n: int, turns: int, task: str, ask: Callable) -> Packed:
        """Up to `turns` questions about each of some sets of n pictures, of which some set has one."""
        rows: list[list[Turn]] = []
        while not any(rows):
            sets = self._sets(count, n)
            langs = [["zh" if self.rng.random() < self.zh else "en" for _ in range(2 * turns)] for _ in sets]
            got = [[(lang, ask(self.rng, [p["facts"] for p in s], lang)) for lang in some] for s, some in zip(sets, langs)]
            rows = [[turn_of(task, lang, *g) for lang, g in row if g][:turns] for row in got]
        return self._pack(sets, [rows])

    def pair(self, count: int, turns: int = 8) -> Packed:
        return self._about_sets(count, 2, turns, "which", questions.which)

    def page(self, count: int, turns: int = 4, kind: str = "page") -> Packed:
        """Charts, tables, receipts and signs; kind `square` or `tiles`: sizes and absent things."""
        pics, rows = self.pictures(kind, count), []
        for p in pics:
            asker, names = wide.WideAsker(p["facts"], self.rng, self.zh), wide.tasks_of(p["facts"])
            got = (asker.ask(names[self.rng.integers(len(names))]) for _ in range(4 * turns))
            rows.append([turn_of(*g) for g in got if g][:turns])
        return self._pack([[p] for p in pics], [rows])

    def spot(self, count: int) -> Packed:
        """Pairs that differ in one thing, asked in both languages."""
        pics = self.pictures("spot", count // 2 * 2)
        sets = [pics[i:i + 2] for i in range(0, len(pics), 2)]
        return self._pack(sets, [[[turn_of("differ", lang, *wide.differ(self.rng, s[0]["facts"]["change"], lang))
                                   for lang in ("en", "zh")] for s in sets]])

    def three(self, count: int, turns: int = 6) -> Packed:
        return self._about_sets(count, 3, turns, "which_of", wide.which_of)

    def _prefix(self, pics: list[dict], first_view: list[int], ends: tuple[int, int]) -> list[int]:
        """Where each token of a prefix is taken from in the table."""
        words = ends[1] + 1
        out = [words + i for i in [TOKENS.bos, *TOKENS.encode("<|User|>:"), *TOKENS.encode(" ")]]
        for p, view in zip(pics, first_view):
            out += image_slots(*p["grid"], view * SIDE_ROWS**2, len(p["tiles"]) == 1, ends)
            out += [words + i for i in TOKENS.encode("\n")]
        return out

    def _pack(self, sets: list[list[dict]], groups: list[list[list[Turn]]]) -> Packed:
        shown, groups = [p for s in sets for p in s], [g for g in groups if any(g)]
        views = {k: torch.from_numpy(np.concatenate([p[k] for p in shown]))
                 for k in ("tiles", "labels", "sides", "holds", "place", "spell")}
        views["is_global"] = torch.tensor([i == 0 for p in shown for i in range(len(p["tiles"]))])
        rows = len(views["tiles"]) * SIDE_ROWS**2
        words, at, prefixes = rows + 2, 0, []
        for s in sets:
            first = []
            for p in s:
                first.append(at)
                at += len(p["tiles"])
            prefixes.append(self._prefix(s, first, (rows, rows + 1)))
        length = len(prefixes[0])
        source, position = [np.array(prefixes).ravel()], [np.tile(np.arange(length), len(sets))]
        made, target, owner, turns, told, boxes, asked, said = [], [], [], [], [], [], [], []
        for group in groups:
            n, most = max(map(len, group)), max(len(t.ids) for row in group for t in row)
            answers = max(sum(v >= 0 for v in t.target) for row in group for t in row)
            ids = np.full((len(sets), n, most), TOKENS.eos)
            where = np.zeros((len(sets), n, most), np.int64)
            first = np.full((len(sets), n), most, np.int32)
            want = np.full((len(sets), n, answers), -1)
            whose = np.full((len(sets), n, answers), -1)
            for i, row in enumerate(group):
                for j, t in enumerate(row):
                    k = len(t.ids)
                    ids[i, j, most - k:], where[i, j, most - k:], first[i, j] = t.ids, np.arange(length, length + k), most - k
                    want[i, j] = ([-1] * answers + t.target)[-answers:]
                    whose[i, j] = np.where(want[i, j] >= 0, len(turns), -1)
                    turns.append(t)
            start = sum(map(len, source))
            for i, row in enumerate(group):
                for j, t in enumerate(row):
                    at_turn = start + (i * n + j) * most + most - len(t.ids)
                    for k, box in box_places(t) + t.knows:
                        told.append(at_turn + k), boxes.append(box)
                    for k, word in word_places(t):
                        asked.append(at_turn + k), said.append(word)
            source.append(ids.ravel() + words), position.append(where.ravel())
            target.append(want.ravel()), owner.append(whose.ravel())
            made.append(Group(n, most, answers, torch.from_numpy(first)))
        want = np.concatenate(target)
        plan = Plan(len(sets), length, torch.from_numpy(np.concatenate(position)), made)
        return Packed(views, torch.from_numpy(np.concatenate(source)), plan, torch.from_numpy(want),
                      torch.from_numpy(WEIGHT[want]), np.concatenate(owner).tolist(),
                      torch.tensor(told, dtype=torch.long), torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
                      torch.tensor(asked, dtype=torch.long), torch.tensor(said, dtype=torch.long), turns)


def _weights() -> np.ndarray:
    """What a token of an answer counts: what any answer of its form has counts little."""
    out = np.ones(TOKENS.vocab + 1, np.float32)
    plain = [TOKENS.eos] + [i for t in ("<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "[[", "]]", ",", " ", "],", "[", " and", "A", ".")
                            for i in TOKENS.encode(t)]
    out[plain] = 0.15
    out[-1] = 0
    return out


WEIGHT = _weights()


def scores(b: Packed, best: Tensor) -> list[tuple[str, float]]:
    """Of each turn (its task, 1 or 0), and the same by language."""
    said: dict[int, list[int]] = {}
    for n, v in zip(b.owner, best.tolist()):
        if n < 0:
            continue
        said.setdefault(n, []).append(v)
    out = []
    for n, ids in said.items():
        turn = b.turns[n]
        score = right(turn.task, TOKENS.decode(ids), turn.answer)
        out.append((turn.task, score))
        out.append(("all-" + turn.lang, score))
    return out
