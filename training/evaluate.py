"""Held-out questions for `vl2 batch`, and the scores of its answers.

    python -m training.evaluate make DIR [--count 1000]     DIR/questions.jsonl, DIR/expected.jsonl, pictures
    vl2 batch -m models/demo DIR/questions.jsonl -o DIR/answers.jsonl
    python -m training.evaluate score DIR                   a table, and DIR/scores.json
    python -m training.evaluate run DIR CHECKPOINT          the same answers by the PyTorch model
Beside each score stands what one fixed answer would have got.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from .grade import mean_iou, right
from .scenes import questions, render, world
from .shards import facts

ITEMS = ["color", "shape", "total", "count", "count_color", "presence", "presence_shape", "presence_color", "relation",
         "ground", "ground_shape", "ground_all", "caption", "turns"]
TASKS = [*ITEMS, "text", "number", "which"]
FIRST_SEED = 10_000_000                # far from the shards of training/train.py's own held-out pictures


def _scene(seed: int, kind: str, folder: Path) -> tuple[dict, str]:
    rng = np.random.default_rng([5, seed])
    scene = world.sample(seed, "held-out", kind, square=0.5, biggest=int(rng.choice([260, 600, 1500])))
    name = f"{seed}.{'jpg' if scene.jpeg else 'png'}"
    image = render.draw(scene, seed)
    image.save(folder / name, **({"quality": 95} if scene.jpeg else {"compress_level": 1}))
    return facts(scene), name


def _about(asker: questions.Asker, task: str, lang: str, name: str) -> tuple[list[dict], str] | None:
    """Messages and the expected last answer about one picture."""
    got = asker.ask({"turns": "color", "text": "read", "number": "read"}.get(task, task), lang)
    if got and task == "turns":
        first = asker.ask("total", lang)
        return [{"role": "user", "content": "<image>\n" + first[2], "images": [name]},
                {"role": "assistant", "content": first[3]}, {"role": "user", "content": got[2]}], got[3]
    return got and ([{"role": "user", "content": "<image>\n" + got[2], "images": [name]}], got[3])


def _asked(folder: Path, wanted: Counter):
    """(task, messages, answer) until nothing is wanted; each picture gets one question of every task that fits it."""
    seed, before = FIRST_SEED, None
    while any(wanted.values()):
        seed += 1
        rng = np.random.default_rng([6, seed])

        def lang(task: str) -> str:
            return "zh" if wanted[task] % 4 == 3 and task != "caption" else "en"

        if any(wanted[t] for t in (*ITEMS, "which")):
            known, name = _scene(seed, "items", folder)
            asker = questions.Asker(known, rng)
            for task in ITEMS:
                if wanted[task] and (got := _about(asker, task, lang(task), name)):
                    yield task, *got
            if before and wanted["which"] and (got := questions.which(rng, [before[0], known], lang("which"))):
                text = "<image>\n<image>\n" + got[0]
                yield "which", [{"role": "user", "content": text, "images": [before[1], name]}], got[1]
            before = known, name
        if wanted["text"] or wanted["number"]:
            known, name = _scene(seed + 5_000_000, "text", folder)
            task = "number" if known["number"] else "text"
            if wanted[task]:
                yield task, *_about(questions.Asker(known, rng), task, lang(task), name)


def make(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    wanted = Counter({t: count for t in TASKS})
    with open(folder / "questions.jsonl", "w") as ask, open(folder / "expected.jsonl", "w") as know:
        for task, messages, answer in _asked(folder, wanted):
            key = f"{task}-{count - wanted[task]}"
            lang = "zh" if wanted[task] % 4 == 3 and task != "caption" else "en"
            wanted[task] -= 1
            ask.write(json.dumps({"id": key, "messages": messages}, ensure_ascii=False) + "\n")
            know.write(json.dumps({"id": key, "task": task, "lang": lang, "answer": answer}, ensure_ascii=False) + "\n")


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def score(folder: Path) -> dict[str, dict[str, float]]:
    """Per task, and for its two languages: share right, the fixed answer's share, and mean IoU for boxes."""
    said = {a["id"]: a.get("text") or "" for a in _lines(folder / "answers.jsonl")}
    out: dict[str, dict[str, float]] = {}
    known = [e for e in _lines(folder / "expected.jsonl") if e["id"] in said]
    for task in TASKS:
        asked = [e for e in known if e["task"] == task]
        if not asked:
            continue
        good = {e["id"]: right(task, said[e["id"]], e["answer"]) for e in asked}
        row = {"questions": len(asked), "right": sum(good.values()) / len(asked)}
        for lang in ("en", "zh"):
            part = [good[e["id"]] for e in asked if e["lang"] == lang]
            if part:
                row[lang] = sum(part) / len(part)
        fixed = sum(Counter(e["answer"] for e in asked if e["lang"] == lang).most_common(1)[0][1]
                    for lang in {e["lang"] for e in asked})
        row["fixed"] = fixed / len(asked)
        overlaps = [v for e in asked if (v := mean_iou(said[e["id"]], e["answer"])) is not None]
        if overlaps:
            row["iou"] = sum(overlaps) / len(overlaps)
        out[task] = {k: round(v, 4) for k, v in row.items()}
    return out


def table(scores: dict[str, dict[str, float]]) -> str:
    lines = ["| task | questions | right | English | Chinese | a fixed answer | mean IoU |", "|---|---|---|---|---|---|---|"]
    for task, row in scores.items():
        cells = [f"{100 * row[k]:.1f} %" if k in row else "" for k in ("right", "en", "zh", "fixed")]
        iou = f"{row['iou']:.2f}" if "iou" in row else ""
        lines.append(f"| {task} | {row['questions']} | " + " | ".join(cells) + f" | {iou} |")
    return "\n".join(lines)


def run(folder: Path, checkpoint: Path) -> None:
    from . import model, talk
    m, words = model.load(checkpoint), talk.Words(checkpoint)
    with open(folder / "answers.jsonl", "w") as out:
        for line in _lines(folder / "questions.jsonl"):
            ids = talk.answer(m, words, talk.prompt(words, m, line["messages"], folder))
            out.write(json.dumps({"id": line["id"], "text": words.decode(ids)}, ensure_ascii=False) + "\n")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["make", "score", "run"])
    p.add_argument("folder", type=Path)
    p.add_argument("checkpoint", type=Path, nargs="?")
    p.add_argument("--count", type=int, default=1000, help="questions a task")
    a = p.parse_args()
    if a.what == "make":
        make(a.folder, a.count)
    if a.what == "run":
        run(a.folder, a.checkpoint)
    if a.what != "make":
        scores = score(a.folder)
        (a.folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
        print(table(scores))


if __name__ == "__main__":
    main()
