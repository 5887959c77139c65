"""The example pictures of models/demo: held-out scenes with questions that the checkpoint answers rightly.

    python -m training.examples make DIR                then `vl2 batch` on DIR/questions.jsonl to DIR/answers.jsonl
    python -m training.examples pick DIR models/demo    copies what was answered rightly, writes examples.json
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from .grade import right
from .scenes import questions, render, world
from .shards import facts

FIRST_SEED = 20_000_000
WANTED = {"color": 8}          # what the committed weights do well; widen it with them
TITLES = {"ground": "Finding a thing", "color": "A colour", "shape": "A shape", "total": "How many things",
          "count": "How many of a kind", "presence": "Is it there", "presence_shape": "Is such a shape there"}
LANGUAGE = {"en": "English", "zh": "Chinese"}


def make(folder: Path, scenes: int = 60) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "questions.jsonl", "w") as ask, open(folder / "expected.jsonl", "w") as know:
        for seed in range(FIRST_SEED, FIRST_SEED + scenes):
            scene = world.sample(seed, "held-out", "items", n=1 + seed % 3, square=1.0, biggest=400)
            render.draw(scene, seed).save(folder / f"{seed}.png")
            rng = np.random.default_rng(seed)
            for task in WANTED:
                for lang in LANGUAGE:
                    got = questions.Asker(facts(scene), rng).ask(task, lang)
                    if not got or got[3] in questions.NONE.values() or (task.startswith("presence") and got[3] in ("No", "没有")):
                        continue
                    key = f"{seed}-{task}-{lang}"
                    message = {"role": "user", "content": "<image>\n" + got[2], "images": [f"{seed}.png"]}
                    ask.write(json.dumps({"id": key, "messages": [message]}, ensure_ascii=False) + "\n")
                    know.write(json.dumps({"id": key, "task": task, "lang": got[1], "prompt": got[2], "answer": got[3],
                                           "image": f"{seed}.png", "items": len(scene.items)}, ensure_ascii=False) + "\n")


def pick(folder: Path, out: Path) -> None:
    said = {a["id"]: a.get("text") or "" for a in map(json.loads, (folder / "answers.jsonl").open())}
    known = [json.loads(line) for line in (folder / "expected.jsonl").open()]
    good = [k for k in known if right(k["task"], said.get(k["id"], ""), k["answer"])]
    good.sort(key=lambda k: -k["items"])
    chosen, left, used = [], dict(WANTED), set()
    for lang in ("en", "zh"):
        for task in WANTED:
            for k in good:
                if k["task"] == task and k["lang"] == lang and left[task] and k["answer"] not in used:
                    chosen.append(k)
                    used.add(k["answer"])
                    left[task] -= 1
                    if left[task] <= WANTED[task] // 2 or lang == "zh" and not left[task]:
                        break
    (out / "examples").mkdir(parents=True, exist_ok=True)
    listed = []
    for k in chosen:
        shutil.copy(folder / k["image"], out / "examples" / k["image"])
        listed.append({"title": f"{TITLES[k['task']]} ({LANGUAGE[k['lang']]})", "images": [f"examples/{k['image']}"],
                       "prompt": k["prompt"], "shows": k["answer"]})
    (out / "examples.json").write_text(json.dumps(listed, ensure_ascii=False, indent=1) + "\n")
    print(f"{len(good)} of {len(known)} right, {len(listed)} kept")


if __name__ == "__main__":
    make(Path(sys.argv[2])) if sys.argv[1] == "make" else pick(Path(sys.argv[2]), Path(sys.argv[3]))
