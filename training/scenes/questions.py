"""Questions about a scene with their answers, in English and Chinese.

In the wordings below `|` marks where Chinese words end; it is taken out. {s} is a shape, {p} its plural,
{c} a colour, {r} a colour and a shape, {q} another one.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from .shapes import COLOR_NAMES, COLOR_ZH, PLURAL, SHAPE_NAMES, SHAPE_ZH

EN: dict[str, list[str]] = {
    "color": ["What color is the {s}?", "What is the color of the {s}?", "Which color is the {s}?",
              "What colour is the {s}?", "Tell me the color of the {s}.", "The {s} is what color?"],
    "shape": ["What shape is {c}?", "What shape is the {c} object?", "Which shape is {c}?",
              "What is the shape of the {c} object?", "What is the {c} shape?", "Tell me the shape of the {c} object."],
    "total": ["How many objects are there?", "How many shapes are there?", "How many objects are in the image?",
              "Count the objects.", "How many shapes are in the picture?", "What is the number of objects?"],
    "count": ["How many {p} are there?", "How many {p} are in the image?", "Count the {p}.",
              "How many {p} do you see?", "What is the number of {p}?"],
    "count_color": ["How many {c} objects are there?", "How many {c} shapes are in the image?",
                    "How many objects are {c}?"],
    "presence": ["Is there a {r}?", "Is there a {r} in the image?", "Do you see a {r}?",
                 "Does the picture contain a {r}?", "Can you see a {r}?"],
    "presence_shape": ["Is there a {s}?", "Is there a {s} in the image?", "Do you see a {s}?"],
    "presence_color": ["Is there a {c} object?", "Is there a {c} shape in the image?", "Do you see a {c} object?"],
    "left": ["Is the {r} left of the {q}?", "Is the {r} to the left of the {q}?"],
    "right": ["Is the {r} right of the {q}?", "Is the {r} to the right of the {q}?"],
    "above": ["Is the {r} above the {q}?"],
    "below": ["Is the {r} below the {q}?"],
    "ground": ["<|ref|>the {r}<|/ref|>", "<|ref|>The {r}.<|/ref|>.", "<|ref|>the {r}<|/ref|>.",
               "Locate <|ref|>the {r}<|/ref|> in the given image.", "<|ref|>{r}<|/ref|>"],
    "ground_shape": ["<|ref|>the {s}<|/ref|>", "Locate <|ref|>the {s}<|/ref|> in the given image."],
    "ground_all": ["<|ref|>all the {p}<|/ref|>", "<|ref|>all {p}<|/ref|>",
                   "Locate <|ref|>all the {p}<|/ref|> in the given image."],
    "caption": ["<|grounding|>Describe the image.", "<|grounding|>Describe the picture.",
                "<|grounding|>What is in the image?"],
    "text": ["What does the text say?", "Read the text.", "What is written in the image?", "What is the text?",
             "What text is in the picture?", "What word is shown?"],
    "number": ["What number is shown?", "Read the number.", "What is the number?", "What does the text say?"],
    "which": ["Which image contains a {r}?", "Which image contains the {r}?", "Which picture has a {r}?"],
    "which_shape": ["Which image contains a {s}?", "Which picture has a {s}?"],
}
ZH: dict[str, list[str]] = {
    "color": ["{s}|是|什么|颜色|?", "{s}|的|颜色|是|什么|?", "图|中|的|{s}|是|什么|颜色|?"],
    "shape": ["{c}色|的|是|什么|形状|?", "什么|形状|是|{c}色|的|?", "{c}色|的|物体|是|什么|形状|?"],
    "total": ["图|中|有|几个|物体|?", "这|张|图|里|有|几个|物体|?", "一共|有|几个|物体|?"],
    "count": ["这|张|图|里|有|几个|{s}|?", "图|中|有|几个|{s}|?", "有|几个|{s}|?", "有|多少|个|{s}|?"],
    "count_color": ["图|中|有|几个|{c}色|的|物体|?"],
    "presence": ["图|中|有|{r}|吗|?", "有|{r}|吗|?", "这|张|图|里|有|{r}|吗|?", "有|没有|{r}|?"],
    "presence_shape": ["图|中|有|{s}|吗|?", "有|{s}|吗|?"],
    "presence_color": ["图|中|有|{c}色|的|物体|吗|?", "有|{c}色|的|物体|吗|?"],
    "left": ["{r}|在|{q}|的|左边|吗|?"], "right": ["{r}|在|{q}|的|右边|吗|?"],
    "above": ["{r}|在|{q}|的|上面|吗|?"], "below": ["{r}|在|{q}|的|下面|吗|?"],
    "ground": ["<|ref|>{r}<|/ref|>", "找出|<|ref|>{r}<|/ref|>"],
    "ground_shape": ["<|ref|>{s}<|/ref|>"],
    "ground_all": ["<|ref|>所有|的|{s}<|/ref|>"],
    "text": ["图|中|写|了|什么|?", "图|中|的|文字|是|什么|?", "写|的|是|什么|?"],
    "number": ["图|中|的|数字|是|什么|?", "图|中|写|了|什么|?", "数字|是|多少|?"],
    "which": ["哪|张|图|里|有|{r}|?", "哪|一|张|图|有|{r}|?"], "which_shape": ["哪|张|图|里|有|{s}|?"],
}
NONE = {"en": "There is none.", "zh": "没有"}
YES = {"en": ("Yes", "No"), "zh": ("是", "不是")}
THERE = {"en": ("Yes", "No"), "zh": ("有", "没有")}
IMAGE = {"en": ("The first image", "The second image"), "zh": ("第一张", "第二张")}


def thing(lang: str, color: str, shape: str) -> str:
    return f"{color} {shape}" if lang == "en" else f"{COLOR_ZH[color]}色{SHAPE_ZH[shape]}"


def word(rng: np.random.Generator, task: str, lang: str, color: str = "red", shape: str = "star",
         other: tuple[str, str] = ("red", "star")) -> str:
    """One wording of a task about a thing."""
    forms = (EN if lang == "en" else ZH)[task]
    form = forms[0] if rng.random() < 0.3 else forms[rng.integers(len(forms))]
    text = form if lang == "en" else re.sub(r"(?<!<)\|(?!>)", "", form)
    text = text.format(s=shape if lang == "en" else SHAPE_ZH[shape], p=PLURAL[shape],
                       c=color if lang == "en" else COLOR_ZH[color], r=thing(lang, color, shape), q=thing(lang, *other))
    return text.replace("?", "\uff1f") if lang == "zh" and rng.random() < 0.5 else text


def boxes_text(label: str, boxes: list[list[int]]) -> str:
    inner = ", ".join("[" + ", ".join(str(v) for v in b) + "]" for b in boxes)
    return f"<|ref|>{label}<|/ref|><|det|>[{inner}]<|/det|>"


class Asker:
    """Draws questions about one scene's facts."""

    def __init__(self, facts: dict, rng: np.random.Generator, zh: float = 0.3, hard: float = 1.0):
        """hard: 0 asks for absent things whose colour and shape are both absent where it can, 1 mixes."""
        self.hard = hard
        self.items, self.facts, self.rng, self.zh = facts.get("items", []), facts, rng, zh
        self.shapes = Counter(i[1] for i in self.items)
        self.colors = Counter(i[0] for i in self.items)
        self.kinds = Counter((i[0], i[1]) for i in self.items)

    def ask(self, task: str, lang: str | None = None) -> tuple[str, str, str, str] | None:
        """(task, language, question, answer), or None where the scene has no such question."""
        lang = lang or ("zh" if self.rng.random() < self.zh else "en")
        if task in EN and task not in ZH:
            lang = "en"                                    # captions
        got = getattr(self, "_" + task)(lang)
        return got and (task, lang, *got)

    def _one(self, pool: list):
        return pool[self.rng.integers(len(pool))] if pool else None

    def _color(self, lang: str):
        item = self._one([i for i in self.items if self.shapes[i[1]] == 1])
        return item and (word(self.rng, "color", lang, shape=item[1]), item[0] if lang == "en" else COLOR_ZH[item[0]] + "色")

    def _shape(self, lang: str):
        item = self._one([i for i in self.items if self.colors[i[0]] == 1])
        return item and (word(self.rng, "shape", lang, color=item[0]), item[1] if lang == "en" else SHAPE_ZH[item[1]])

    def _total(self, lang: str):
        return word(self.rng, "total", lang), str(len(self.items))

    def _count(self, lang: str):
        have = list(self.shapes)
        many = [s for s in have if self.shapes[s] > 1]
        u = self.rng.random()
        shape = self._one(many if u < 0.5 and many else have if u < 0.75 else SHAPE_NAMES)
        return word(self.rng, "count", lang, shape=shape), str(self.shapes[shape])

    def _count_color(self, lang: str):
        have = list(self.colors)
        many = [c for c in have if self.colors[c] > 1]
        u = self.rng.random()
        color = self._one(many if u < 0.5 and many else have if u < 0.75 else COLOR_NAMES)
        return word(self.rng, "count_color", lang, color=color), str(self.colors[color])

    def _absent(self) -> tuple[str, str]:
        """A kind that is not there: often with one of the colours or shapes that are."""
        while True:
            u = self.rng.random()
            if self.rng.random() >= self.hard:
                color, shape = (self._one([v for v in names if v not in have] or names) for names, have in
                                ((COLOR_NAMES, self.colors), (SHAPE_NAMES, self.shapes)))
                return color, shape
            color = self._one(list(self.colors)) if u < 0.35 else self._one(COLOR_NAMES)
            shape = self._one(list(self.shapes)) if 0.25 < u < 0.6 else self._one(SHAPE_NAMES)
            if (color, shape) not in self.kinds:
                return color, shape

    def _presence(self, lang: str):
        yes = self.rng.random() < 0.5
        color, shape = self._one(list(self.kinds)) if yes else self._absent()
        return word(self.rng, "presence", lang, color, shape), THERE[lang][0 if yes else 1]

    def _presence_shape(self, lang: str):
        yes = self.rng.random() < 0.5
        shape = self._one(list(self.shapes) if yes else [s for s in SHAPE_NAMES if s not in self.shapes])
        return word(self.rng, "presence_shape", lang, shape=shape), THERE[lang][0 if yes else 1]

    def _presence_color(self, lang: str):
        yes = self.rng.random() < 0.5
        color = self._one(list(self.colors) if yes else [c for c in COLOR_NAMES if c not in self.colors])
        return word(self.rng, "presence_color", lang, color), THERE[lang][0 if yes else 1]

    def _relation(self, lang: str):
        single = [i for i in self.items if self.kinds[i[0], i[1]] == 1]
        if len(single) < 2:
            return None
        a, b = (single[k] for k in self.rng.permutation(len(single))[:2])
        axis = int(self.rng.integers(2))
        gap = (a[2][axis] + a[2][axis + 2] - b[2][axis] - b[2][axis + 2]) / 2
        if abs(gap) < 100:
            return None
        side = int(self.rng.integers(2))
        task = (("left", "right"), ("above", "below"))[axis][side]
        return word(self.rng, task, lang, a[0], a[1], (b[0], b[1])), YES[lang][0 if (gap < 0) == (side == 0) else 1]

    def _ground(self, lang: str):
        if self.rng.random() < 0.08:
            return word(self.rng, "ground", lang, *self._absent()), NONE[lang]
        item = self._one([i for i in self.items if self.kinds[i[0], i[1]] == 1])
        if item is None:
            return None
        question = word(self.rng, "ground", lang, item[0], item[1])
        return question, boxes_text(label(question), [item[2]])

    def _ground_shape(self, lang: str):
        item = self._one([i for i in self.items if self.shapes[i[1]] == 1])
        if item is None:
            return None
        question = word(self.rng, "ground_shape", lang, shape=item[1])
        return question, boxes_text(label(question), [item[2]])

    def _ground_all(self, lang: str):
        many = [s for s in self.shapes if self.shapes[s] > 1]
        shape = self._one(many or list(self.shapes))
        question = word(self.rng, "ground_all", lang, shape=shape)
        return question, boxes_text(label(question), sorted(i[2] for i in self.items if i[1] == shape))

    def _caption(self, lang: str):
        if len(self.items) > 3:
            return None
        parts = ["a " + boxes_text(f"{i[0]} {i[1]}", [i[2]]) for i in sorted(self.items, key=lambda i: i[2])]
        text = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
        return word(self.rng, "caption", lang), "A" + text[1:] + "."

    def _read(self, lang: str):
        return word(self.rng, "number" if self.facts["number"] else "text", lang), self.facts["text"]


def label(question: str) -> str:
    return re.search(r"<\|ref\|>(.*?)<\|/ref\|>", question).group(1)


def which(rng: np.random.Generator, facts: list[dict], lang: str) -> tuple[str, str] | None:
    """A thing that only one of two pictures has."""
    at = int(rng.integers(2))
    here, there = ({(i[0], i[1]) for i in f["items"]} for f in (facts[at], facts[1 - at]))
    if rng.random() < 0.5:
        pool = sorted({s for _, s in here} - {s for _, s in there})
        return (word(rng, "which_shape", lang, shape=pool[rng.integers(len(pool))]), IMAGE[lang][at]) if pool else None
    pool = sorted(here - there)
    return (word(rng, "which", lang, *pool[rng.integers(len(pool))]), IMAGE[lang][at]) if pool else None
