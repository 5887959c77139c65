"""Words and numbers to read, split into train and held-out by a hash of the word."""

from __future__ import annotations

import glob
import zlib
from functools import lru_cache

import numpy as np
from PIL import ImageFont

COMMON = """cat dog sun moon tree fish bird book door star home road milk rice cup hat map key pen box car bus
train ship boat apple lemon bread water table chair house light green river stone paper music phone clock open
stop exit sale shop hotel cafe taxi park bank post north south east west left right up down start end menu total
price cash name date time day week month year hello world yes no red blue gold salt tea coffee sugar king queen
fire wind snow rain leaf rose bear lion wolf frog duck horse sheep goat spoon fork knife plate glass lamp sofa
radio video photo zero one two three four five six seven eight nine ten code test data model image word text"""
FONT_ROOTS = ["/usr/share/fonts"]
MORE_FONTS = ["opentype/noto/NotoSerifCJK-*.ttc", "truetype/freefont/*.ttf", "truetype/lato/*.ttf", "truetype/open-sans/*.ttf",
              "opentype/roboto/slab/*.otf", "opentype/comic-neue/*.otf"]
CONSONANTS = "bcdfghjklmnpqrstvwxyz"
VOWELS = "aeiou"


def held_out(word: str) -> bool:
    """One word in eight is never trained on; case does not matter."""
    return zlib.crc32(word.lower().encode()) % 8 == 0


def _draw_word(rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.25:
        common = [w for w in COMMON.split() if 2 <= len(w) <= 6]
        word = common[rng.integers(len(common))]
    else:
        n = int(rng.integers(2, 7))
        letters = CONSONANTS + VOWELS
        if kind < 0.6:
            word = "".join((CONSONANTS, VOWELS)[(i + n) % 2][rng.integers((21, 5)[(i + n) % 2])]
                           for i in range(n))
        else:
            word = "".join(letters[i] for i in rng.integers(0, 26, n))
    case = rng.random()
    return word.upper() if case < 0.6 else word if case < 0.9 else word.capitalize()


def _draw_number(rng: np.random.Generator) -> str:
    n = int(rng.integers(2, 7))
    return "".join(str(d) for d in [rng.integers(1, 10), *rng.integers(0, 10, n - 1)])


def sample(rng: np.random.Generator, number: bool, split: str) -> str:
    """A word or a number of 2 to 6 characters that belongs to the split."""
    while True:
        text = _draw_number(rng) if number else _draw_word(rng)
        if held_out(text) == (split != "train"):
            return text


def long_word(rng: np.random.Generator, split: str, low: int = 7, high: int = 10) -> str:
    """A word of low to high letters that belongs to the split, spoken rather than random."""
    while True:
        n = int(rng.integers(low, high + 1))
        first = int(rng.integers(2))
        word = "".join((CONSONANTS, VOWELS)[(i + first) % 2][rng.integers((21, 5)[(i + first) % 2])] for i in range(n))
        if held_out(word) == (split != "train"):
            return word


def label(rng: np.random.Generator, split: str, longest: int) -> str:
    """A short name for a bar, a row or an article, capitalised."""
    while True:
        word = sample(rng, False, split).capitalize()
        if 3 <= len(word) <= longest:
            return word


@lru_cache(1)
def font_files() -> list[str]:
    """Latin fonts that draw letters plainly."""
    found = sorted(glob.glob("/usr/share/fonts/truetype/dejavu/*.ttf"))
    found += sorted(glob.glob("/usr/share/fonts/truetype/liberation*/*.ttf"))
    found += sorted(glob.glob("/usr/share/fonts/opentype/noto/NotoSansCJK-*.ttc"))[:2]
    return [f for f in found if "MathTeX" not in f and "ExtraLight" not in f]


@lru_cache(1)
def more_font_files() -> list[str]:
    """font_files() and what Debian has beyond it: serif CJK, fonts-freefont-ttf, -lato, -open-sans, -roboto-slab, -comic-neue.

    Which are installed decides what a seed's page looks like (never what it says), so install all or none.
    """
    thin = ("Hairline", "Thin", "Light", "CondLight")
    more = [f for pattern in MORE_FONTS for root in FONT_ROOTS for f in sorted(glob.glob(f"{root}/{pattern}"))]
    return font_files() + [f for f in more if not any(t in f for t in thin)]


@lru_cache(512)
def font(index: int, size: int) -> ImageFont.FreeTypeFont:
    """A font by its place in more_font_files(), which font_files() begin."""
    return ImageFont.truetype(more_font_files()[index], size)
