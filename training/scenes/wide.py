"""Questions beyond the narrow world: sizes, absent things, charts, tables, receipts, signs, sets of pictures.

Answers are short and in the question's language, as in questions.py. {r} and {q} are things, {s} is a shape, {p} its
plural, {c} a colour, {n} and {m} are names in the picture.
"""

from __future__ import annotations

import numpy as np

from . import questions, words
from .questions import IMAGE, NONE, YES, boxes_text, thing
from .shapes import COLOR_NAMES, COLOR_ZH, SHAPE_NAMES

FORMS: dict[str, dict[str, list[str]]] = {
    "size": {"en": ["Is the {r} small or large?", "What size is the {r}?", "How large is the {r}?"],
             "zh": ["{r}是大的还是小的?", "{r}有多大?"]},
    "larger": {"en": ["Which is larger, the {r} or the {q}?", "Which one is bigger, the {r} or the {q}?"],
               "zh": ["{r}和{q}哪个更大?", "{r}和{q}哪一个大?"]},
    "largest": {"en": ["What is the largest object?", "Which object is the largest?", "What is the biggest shape?"],
                "zh": ["最大的物体是什么?", "图中最大的是什么?"]},
    "smallest": {"en": ["What is the smallest object?", "Which object is the smallest?"], "zh": ["最小的物体是什么?"]},
    "bar_highest": {"en": ["Which bar is the highest?", "What is the highest bar?", "Which bar is the tallest?"],
                    "zh": ["哪个柱子最高?", "最高的柱子是哪个?"]},
    "bar_lowest": {"en": ["Which bar is the lowest?", "What is the lowest bar?"], "zh": ["哪个柱子最低?"]},
    "line_highest": {"en": ["Which point is the highest?", "Where is the line the highest?"], "zh": ["哪个点最高?"]},
    "line_lowest": {"en": ["Which point is the lowest?", "Where is the line the lowest?"], "zh": ["哪个点最低?"]},
    "value": {"en": ["What is the value of {n}?", "What value does {n} have?", "How much is {n}?"],
              "zh": ["{n}的值是多少?", "{n}是多少?"]},
    "higher": {"en": ["Is {n} higher than {m}?"], "zh": ["{n}比{m}高吗?"]},
    "bars": {"en": ["How many bars are there?", "How many bars does the chart have?"], "zh": ["有几个柱子?", "图中有几个柱子?"]},
    "cell": {"en": ["What is the {m} of {n}?", "What is in the row {n} and the column {m}?", "What is the value of {m} for {n}?"],
             "zh": ["{n}的{m}是什么?", "{n}这一行,{m}这一列是什么?"]},
    "receipt_total": {"en": ["What is the total?", "How much is it in all?", "What is the total of the receipt?"],
                     "zh": ["一共多少钱?", "总数是多少?"]},
    "price": {"en": ["How much is {n}?", "What is the price of {n}?", "What does {n} cost?"], "zh": ["{n}多少钱?", "{n}的价格是多少?"]},
    "which_of": {"en": ["Which image contains a {r}?", "Which picture has a {r}?"], "zh": ["哪张图里有{r}?", "哪一张图有{r}?"]},
    "differ": {"en": ["What is different between the two images?", "What is the difference between the two images?",
                      "What has changed?"],
               "zh": ["两张图有什么不同?", "第二张图有什么变化?"]},
}
SIZES = {"en": ("small", "large"), "zh": ("小", "大")}
IMAGES = {"en": [*IMAGE["en"], "The third image"], "zh": [*IMAGE["zh"], "第三张"]}
DIFFERENT = {
    "en": {"color": "The {a} is now {c}.", "shape": "The {a} is now a {s}.", "gone": "The {a} is gone.",
           "new": "There is a new {a}.", "moved": "The {a} moved.", "none": "They are the same."},
    "zh": {"color": "{a}变成了{c}。", "shape": "{a}变成了{s}。", "gone": "少了{a}。", "new": "多了{a}。", "moved": "{a}移动了。",
           "none": "没有不同。"}}
ITEMS = ["size", "larger", "largest", "smallest", "color_or_none", "ground_or_none", "all_or_none"]
CHART, TABLE, RECEIPT = ["highest", "lowest", "value", "higher", "bars"], ["cell"], ["receipt_total", "price"]
SETS = ["which_of", "differ"]


def word(rng: np.random.Generator, form: str, lang: str, **names: str) -> str:
    """One wording, with a full-width mark in half of the Chinese ones."""
    forms = FORMS[form][lang]
    text = forms[rng.integers(len(forms))].format(**names)
    if lang == "en":
        return text
    wide = rng.random() < 0.5
    return text.replace(",", "\uff0c").replace("?", "\uff1f") if wide else text


def tasks_of(facts: dict) -> list[str]:
    """What can be asked about a picture of these facts."""
    return ITEMS if "items" in facts else CHART if "chart" in facts else TABLE if "table" in facts \
        else RECEIPT if "receipt" in facts else ["sign"] if "sign" in facts else []


class WideAsker:
    """Draws questions about one picture's facts; ask() has the form of questions.Asker's."""

    def __init__(self, facts: dict, rng: np.random.Generator, zh: float = 0.3):
        self.facts, self.rng, self.zh = facts, rng, zh
        self.narrow = questions.Asker(facts, rng, zh)

    def ask(self, task: str, lang: str | None = None) -> tuple[str, str, str, str] | None:
        lang = lang or ("zh" if self.rng.random() < self.zh else "en")
        got = getattr(self, "_" + task)(lang)
        return got and (task, lang, *got)

    def _pick(self, pool: list):
        return pool[self.rng.integers(len(pool))] if pool else None

    # things, by size

    def _side(self, item: list) -> float:
        """The longer side in pixels."""
        (w, h), (x0, y0, x1, y1) = self.facts["size"], item[2]
        return max((x1 - x0) * w, (y1 - y0) * h) / 1000

    def _single(self) -> list:
        return [i for i in self.narrow.items if self.narrow.kinds[i[0], i[1]] == 1]

    def _size(self, lang: str):
        short = min(self.facts["size"])
        sure = [(i, s > 0.42 * short) for i in self._single() if (s := self._side(i)) < 0.24 * short or s > 0.42 * short]
        got = self._pick(sure)
        return got and (word(self.rng, "size", lang, r=thing(lang, *got[0][:2])), SIZES[lang][got[1]])

    def _larger(self, lang: str):
        pairs = [(a, b) for a in self._single() for b in self._single() if self._side(a) > 1.4 * self._side(b)]
        got = self._pick(pairs)
        if got is None:
            return None
        one, two = (thing(lang, *i[:2]) for i in (got if self.rng.random() < 0.5 else got[::-1]))
        return word(self.rng, "larger", lang, r=one, q=two), thing(lang, *got[0][:2])

    def _largest(self, lang: str, sign: int = -1, form: str = "largest"):
        order = sorted(self.narrow.items, key=lambda i: sign * self._side(i))
        clear = len(order) > 1 and max(a := self._side(order[0]), b := self._side(order[1])) > 1.25 * min(a, b)
        return (word(self.rng, form, lang), thing(lang, *order[0][:2])) if clear else None

    def _smallest(self, lang: str):
        return self._largest(lang, 1, "smallest")

    # things that may be absent: half of them are

    def _color_or_none(self, lang: str):
        if self.rng.random() < 0.5:
            got = self.narrow.ask("color", lang)
            return got and got[2:]
        shape = self._pick([s for s in SHAPE_NAMES if s not in self.narrow.shapes])
        return questions.word(self.rng, "color", lang, shape=shape), NONE[lang]

    def _ground_or_none(self, lang: str):
        if self.rng.random() < 0.5:
            got = self._pick(self._single())
            question = got and questions.word(self.rng, "ground", lang, *got[:2])
            return got and (question, boxes_text(questions.label(question), [got[2]]))
        while True:
            color, shape = self._pick(COLOR_NAMES), self._pick(SHAPE_NAMES)
            if (color, shape) not in self.narrow.kinds:
                return questions.word(self.rng, "ground", lang, color, shape), NONE[lang]

    def _all_or_none(self, lang: str):
        if self.rng.random() < 0.5:
            got = self.narrow.ask("ground_all", lang)
            return got and got[2:]
        shape = self._pick([s for s in SHAPE_NAMES if s not in self.narrow.shapes])
        return questions.word(self.rng, "ground_all", lang, shape=shape), NONE[lang]

    # charts

    def _extreme(self, lang: str, best, form: str):
        chart = self.facts["chart"]
        return word(self.rng, f"{chart['kind']}_{form}", lang), chart["names"][chart["values"].index(best(chart["values"]))]

    def _highest(self, lang: str):
        return self._extreme(lang, max, "highest")

    def _lowest(self, lang: str):
        return self._extreme(lang, min, "lowest")

    def _value(self, lang: str):
        name, value = self._pick(list(zip(self.facts["chart"]["names"], self.facts["chart"]["values"])))
        return word(self.rng, "value", lang, n=name), str(value)

    def _higher(self, lang: str):
        chart = self.facts["chart"]
        a, b = self.rng.permutation(len(chart["names"]))[:2]
        asked = word(self.rng, "higher", lang, n=chart["names"][a], m=chart["names"][b])
        return asked, YES[lang][0 if chart["values"][a] > chart["values"][b] else 1]

    def _bars(self, lang: str):
        chart = self.facts["chart"]
        return (word(self.rng, "bars", lang), str(len(chart["names"]))) if chart["kind"] == "bar" else None

    # tables, receipts, signs: one name in eight is not there

    def _absent(self, names: list[str], others: list[str]) -> str | None:
        """A name that is not on the page, made of one that is; or None most of the time."""
        if self.rng.random() >= 0.125:
            return None
        name = self._pick(names)
        made = name[::-1].capitalize()
        fits = made not in names + others and words.held_out(made) == words.held_out(name)
        return made if fits else None

    def _cell(self, lang: str):
        t = self.facts["table"]
        i, j = int(self.rng.integers(len(t["rows"]))), int(self.rng.integers(len(t["columns"])))
        absent = self._absent(t["rows"], t["columns"])
        asked = word(self.rng, "cell", lang, n=absent or t["rows"][i], m=t["columns"][j])
        return asked, NONE[lang] if absent else t["cells"][i][j]

    def _receipt_total(self, lang: str):
        return word(self.rng, "receipt_total", lang), self.facts["receipt"]["total"]

    def _price(self, lang: str):
        r = self.facts["receipt"]
        i = int(self.rng.integers(len(r["names"])))
        absent = self._absent(r["names"], [])
        return word(self.rng, "price", lang, n=absent or r["names"][i]), NONE[lang] if absent else r["prices"][i]

    def _sign(self, lang: str):
        return questions.word(self.rng, "text", lang), self.facts["sign"]


def which_of(rng: np.random.Generator, facts: list[dict], lang: str) -> tuple[str, str] | None:
    """A thing that exactly one of several pictures has, or, one time in six, none."""
    have = [{(i[0], i[1]) for i in f["items"]} for f in facts]
    if rng.random() < 1 / 6:
        pool = [(c, s) for c in COLOR_NAMES for s in SHAPE_NAMES if not any((c, s) in h for h in have)]
        return word(rng, "which_of", lang, r=thing(lang, *pool[rng.integers(len(pool))])), NONE[lang]
    at = int(rng.integers(len(facts)))
    pool = sorted(have[at] - set().union(*(h for k, h in enumerate(have) if k != at)))
    return (word(rng, "which_of", lang, r=thing(lang, *pool[rng.integers(len(pool))])), IMAGES[lang][at]) if pool else None


def differ(rng: np.random.Generator, change: list, lang: str) -> tuple[str, str]:
    """What changed from the first picture to the second (pairs.py's list)."""
    how, *names = change
    shown = {} if how == "none" else {
        "a": thing(lang, *names[:2]), "c": names[2] if lang == "en" else COLOR_ZH[names[2]] + "色",
        "s": names[3] if lang == "en" else questions.SHAPE_ZH[names[3]]}
    return word(rng, "differ", lang), DIFFERENT[lang][how].format(**shown)
