"""Held-out pictures and questions: the narrow world, the same things drawn by other code, and the wide world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from .scenes import kinds, pairs, questions, render, wide
from .shards import facts

ITEMS = ["color", "shape", "total", "count", "count_color", "presence", "presence_shape", "presence_color", "relation",
         "ground", "ground_shape", "ground_all", "caption", "turns"]
TASKS = {"narrow": [*ITEMS, "text", "number", "which"], "other": [*ITEMS, "which"],
         "wide": [*wide.ITEMS, *wide.CHART, *wide.TABLE, *wide.RECEIPT, "sign", *wide.SETS]}
FIRST_SEED = {"narrow": 10_000_000, "other": 40_000_000, "wide": 30_000_000}      # far from training's own held-out pictures
Question = tuple[str, list[dict], str]                     # task, messages, the expected last answer


def language(task: str, left: int) -> str:
    """Every fourth question is Chinese."""
    return "zh" if left % 4 == 3 and task != "caption" else "en"


def _keep(image: Image.Image, folder: Path, seed: int | str, jpeg: int | None) -> str:
    name = f"{seed}.{'jpg' if jpeg else 'png'}"
    image.save(folder / name, **({"quality": jpeg} if jpeg else {"compress_level": 1}))
    return name


def _biggest(seed: int) -> int:
    return int(np.random.default_rng([5, seed]).choice([260, 600, 1500]))


def _scene(seed: int, kind: str, folder: Path) -> tuple[dict, str]:
    scene = kinds.scene(seed, "held-out", kind, square=0.5, biggest=_biggest(seed))
    return facts(scene), _keep(render.draw(scene, seed), folder, seed, scene.jpeg and 95)


def _other(seed: int, kind: str, folder: Path) -> tuple[dict, str]:
    from .scenes import other                              # here, as it needs matplotlib
    known, image, jpeg = other.sample(seed)
    return known, _keep(image, folder, seed, jpeg)


def _user(question: str, names: list[str]) -> dict:
    return {"role": "user", "content": "<image>\n" * len(names) + question, "images": names}


def _about(asker: questions.Asker, task: str, lang: str, name: str) -> tuple[list[dict], str] | None:
    """Messages and the expected last answer about one picture."""
    got = asker.ask({"turns": "color", "text": "read", "number": "read"}.get(task, task), lang)
    if got and task == "turns":
        first = asker.ask("total", lang)
        return [_user(first[2], [name]), {"role": "assistant", "content": first[3]}, {"role": "user", "content": got[2]}], got[3]
    return got and ([_user(got[2], [name])], got[3])


def _narrow(folder: Path, wanted: Counter, world: str) -> Iterator[Question]:
    """Each picture gets one question of every task that fits it."""
    seed, before, draw = FIRST_SEED[world], None, _other if world == "other" else _scene
    while any(wanted.values()):
        seed += 1
        rng = np.random.default_rng([6, seed])
        if any(wanted[t] for t in (*ITEMS, "which")):
            known, name = draw(seed, "items", folder)
            asker = questions.Asker(known, rng)
            for task in ITEMS:
                if wanted[task] and (got := _about(asker, task, language(task, wanted[task]), name)):
                    yield task, *got
            if before and wanted["which"] and (got := questions.which(rng, [before[0], known], language("which", wanted["which"]))):
                yield "which", [_user(got[0], [before[1], name])], got[1]
            before = known, name
        if wanted["text"] or wanted["number"]:
            known, name = _scene(seed + 5_000_000, "text", folder)
            task = "number" if known["number"] else "text"
            if wanted[task]:
                yield task, *_about(questions.Asker(known, rng), task, language(task, wanted[task]), name)


def _sets(seed: int, folder: Path, wanted: Counter, shown: list[tuple[dict, str]], rng: np.random.Generator) -> Iterator[Question]:
    """Questions about the last three pictures of items, and about a pair that differs."""
    if wanted["which_of"] and len(shown) == 3 and (got := wide.which_of(rng, [s[0] for s in shown], language("which_of", wanted["which_of"]))):
        yield "which_of", [_user(got[0], [s[1] for s in shown])], got[1]
    if wanted["differ"]:
        *both, change = pairs.sample(seed, "held-out", 0.5, _biggest(seed))
        names = [_keep(render.draw(s, 2 * seed + i), folder, f"{seed}-{'ab'[i]}", s.jpeg and 95) for i, s in enumerate(both)]
        asked, answer = wide.differ(rng, change, language("differ", wanted["differ"]))
        yield "differ", [_user(asked, names)], answer


def _wide(folder: Path, wanted: Counter) -> Iterator[Question]:
    seed, shown = FIRST_SEED["wide"], []
    while any(wanted.values()):
        seed += 1
        rng = np.random.default_rng([7, seed])
        for place, kind in enumerate(["wide", *kinds.PAGES]):
            asks = {"wide": [*wide.ITEMS, "which_of"], "chart": wide.CHART, "table": wide.TABLE, "receipt": wide.RECEIPT, "sign": ["sign"]}[kind]
            if not any(wanted[t] for t in asks):
                continue
            known, name = _scene(seed + place * 1_000_000, kind, folder)
            shown = [*shown, (known, name)][-3:] if kind == "wide" else shown
            asker = wide.WideAsker(known, rng)
            for task in wide.tasks_of(known):
                if wanted[task] and (got := asker.ask(task, language(task, wanted[task]))):
                    yield task, [_user(got[2], [name])], got[3]
        yield from _sets(seed, folder, wanted, shown, rng)


def ask(world: str, folder: Path, wanted: Counter) -> Iterator[Question]:
    """Questions until nothing is wanted; who takes one lowers what is wanted of its task."""
    return _wide(folder, wanted) if world == "wide" else _narrow(folder, wanted, world)
