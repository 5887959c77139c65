"""Tokens, turns, and where the rows of a picture go."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache

from tokenizers import Tokenizer

from . import tokenizer
from .settings import GRID

SIDE_ROWS = -(-GRID // 2)

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
        return [self.table.token_to_id("\u0120" if c == " " else c) for c in text]


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
    knows: list[tuple[int, list[float]]] = field(default_factory=list)      # tokens that name a thing, and its box in steps of ten
