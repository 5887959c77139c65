"""The example pictures of models/demo: held-out scenes with questions that the checkpoint answers rightly.

    python -m training.examples make DIR                then `vl2 batch` on DIR/questions.jsonl to DIR/answers.jsonl
    python -m training.examples pick DIR models/demo    copies what was answered rightly, writes examples.json
Where DIR has several answers*.jsonl (float32, quantized weights), an example is right in all of them: it must not hang on rounding.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from .grade import boxes, iou, mean_iou, names, right
from .scenes import questions, render, world
from .shards import facts

FIRST_SEED = 20_000_000
# task, language: in the order in which they are shown
WANTED = [("ground", "en"), ("color", "en"), ("text", "en"), ("which", "en"), ("total", "zh"), ("ground_all", "en"), ("caption", "en"),
          ("relation", "en"), ("number", "en"), ("presence", "en"), ("shape", "en"), ("count", "en"), ("color", "zh"),
          ("presence_shape", "zh"), ("ground_shape", "en"), ("ground", "zh"), ("relation", "zh"), ("shape", "zh"), ("text", "zh")]
TEXT_SEEDS = 500_000                       # how far from its neighbour's things a picture of a word is
TITLES = {"ground": "Finding a thing", "ground_shape": "Finding a shape", "ground_all": "Finding all of a kind",
          "caption": "Describing with boxes", "color": "A colour", "shape": "A shape", "total": "How many things",
          "count": "How many of a kind", "presence": "Is it there", "presence_shape": "Is such a shape there",
          "which": "Comparing two pictures", "relation": "Left, right, above, below", "text": "Reading a word", "number": "Reading a number"}
LANGUAGE = {"en": "English", "zh": "Chinese"}


def _draw(folder: Path, seed: int, kind: str, **how) -> world.Scene:
    scene = world.sample(seed, "held-out", kind, square=0.8, biggest=400, **how)
    render.draw(scene, seed).save(folder / f"{seed}.png")
    return scene


def make(folder: Path, scenes: int = 60) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    before = None
    with open(folder / "questions.jsonl", "w") as ask, open(folder / "expected.jsonl", "w") as know:
        for seed in range(FIRST_SEED, FIRST_SEED + scenes):
            scene = _draw(folder, seed, "items", n=2 + seed % 3)
            written = _draw(folder, seed + TEXT_SEEDS, "text")
            rng, known = np.random.default_rng(seed), facts(scene)
            for task, lang in WANTED:
                images = [f"{seed}.png"]
                if task in ("text", "number"):
                    images = [f"{seed + TEXT_SEEDS}.png"]
                    got = written.text.number == (task == "number") and questions.Asker(facts(written), rng).ask("read", lang)
                    got = got and (task, *got[1:])
                elif task == "which":
                    got = before and questions.which(rng, [before, known], lang)
                    got = got and (task, lang, *got)
                    images.insert(0, f"{seed - 1}.png")
                else:
                    got = questions.Asker(known, rng).ask(task, lang)
                if not got or got[3] in (*questions.NONE.values(), "0") or (task.startswith("presence") and got[3] in ("No", "没有")):
                    continue
                key = f"{seed}-{task}-{lang}"
                message = {"role": "user", "content": "<image>\n" * len(images) + got[2], "images": images}
                ask.write(json.dumps({"id": key, "messages": [message]}, ensure_ascii=False) + "\n")
                know.write(json.dumps({"id": key, "task": task, "lang": lang, "prompt": got[2], "answer": got[3],
                                       "images": images, "items": len(scene.items)}, ensure_ascii=False) + "\n")
            before = known


def _in_order(said: str, want: str) -> bool:
    """Whether the same things are named, and their boxes lie, in the same order."""
    return names(said) == names(want) and all(iou(a, b) > 0.5 for a, b in zip(boxes(said), boxes(want)))


def pick(folder: Path, out: Path) -> None:
    """One example of each wanted kind that was answered rightly; boxes must overlap well, pictures differ."""
    sets = [{a["id"]: a.get("text") or "" for a in map(json.loads, path.open())}
            for path in sorted(folder.glob("answers*.jsonl"))]
    known = [json.loads(line) for line in (folder / "expected.jsonl").open()]
    good = [k for k in known if all(right(k["task"], said.get(k["id"], ""), k["answer"])
                                    and (mean_iou(said[k["id"]], k["answer"]) or 1) > 0.65
                                    and _in_order(said[k["id"]], k["answer"]) for said in sets)]
    good = [k for k in good if k["task"] != "ground_all" or "], [" in k["answer"]]      # "all" is more than one
    good.sort(key=lambda k: -len(k["answer"]) if k["task"] in ("text", "number") else -k["items"])
    shutil.rmtree(out / "examples", ignore_errors=True)
    (out / "examples").mkdir(parents=True)
    listed, used = [], set()
    for task, lang in WANTED:
        k = next((k for k in good if (k["task"], k["lang"]) == (task, lang) and not used & set(k["images"])), None)
        if k is None:
            continue
        used |= set(k["images"])
        for name in k["images"]:
            shutil.copy(folder / name, out / "examples" / name)
        listed.append({"title": f"{TITLES[task]} ({LANGUAGE[lang]})", "images": [f"examples/{n}" for n in k["images"]],
                       "prompt": k["prompt"], "shows": k["answer"]})
    (out / "examples.json").write_text(json.dumps(listed, ensure_ascii=False, indent=1) + "\n")
    print(f"{len(good)} of {len(known)} right, {len(listed)} kept")


if __name__ == "__main__":
    make(Path(sys.argv[2])) if sys.argv[1] == "make" else pick(Path(sys.argv[2]), Path(sys.argv[3]))
