"""Held-out questions for `vl2 batch`, and the scores of its answers.

    python -m training.evaluate make DIR [--count 1000]     DIR/questions.jsonl, DIR/expected.jsonl, pictures
        --world other       the narrow world's things drawn by other code (scenes/other.py)
        --world wide        sizes, absent things, charts, tables, receipts, signs, sets of pictures
        --tasks a,b         only these
    vl2 batch -m models/demo DIR/questions.jsonl -o DIR/answers.jsonl
    python -m training.evaluate score DIR                   a table, and DIR/scores.json
    python -m training.evaluate run DIR CHECKPOINT          the same answers by the PyTorch model
    python -m training.evaluate same DIR FILE...            how many answers of each FILE differ from DIR/answers.jsonl
Beside each score stands what one fixed answer would have got.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from .grade import mean_iou, right
from .heldout import TASKS, ask, language


def make(folder: Path, world: str, tasks: list[str], count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    wanted = Counter({t: count for t in tasks})
    with open(folder / "questions.jsonl", "w") as out, open(folder / "expected.jsonl", "w") as know:
        for task, messages, answer in ask(world, folder, wanted):
            key = f"{task}-{count - wanted[task]}"
            lang = language(task, wanted[task])
            wanted[task] -= 1
            out.write(json.dumps({"id": key, "messages": messages}, ensure_ascii=False) + "\n")
            know.write(json.dumps({"id": key, "task": task, "lang": lang, "answer": answer}, ensure_ascii=False) + "\n")


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def score(folder: Path) -> dict[str, dict[str, float]]:
    """Per task, and for its two languages: share right, the fixed answer's share, and mean IoU for boxes."""
    said = {a["id"]: a.get("text") or "" for a in _lines(folder / "answers.jsonl")}
    out: dict[str, dict[str, float]] = {}
    known = [e for e in _lines(folder / "expected.jsonl") if e["id"] in said]
    for task in dict.fromkeys(t for tasks in TASKS.values() for t in tasks):
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


def same(folder: Path, files: list[Path]) -> None:
    """Prints of how many answers, given by both, the text differs, and the first three of them."""
    said = {a["id"]: a["text"] for a in _lines(folder / "answers.jsonl")}
    for path in files:
        both = [(a["id"], a["text"]) for a in _lines(path) if a["id"] in said]
        far = [key for key, text in both if text != said[key]]
        print(f"{path}: {len(far)} of {len(both)} differ", *far[:3])


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["make", "score", "run", "same"])
    p.add_argument("folder", type=Path)
    p.add_argument("files", type=Path, nargs="*", help="run: a checkpoint; same: files of answers")
    p.add_argument("--count", type=int, default=1000, help="questions a task")
    p.add_argument("--world", choices=list(TASKS), default="narrow")
    p.add_argument("--tasks", help="separated by commas")
    a = p.parse_args()
    if a.what == "make":
        tasks = a.tasks.split(",") if a.tasks else TASKS[a.world]
        if unknown := set(tasks) - set(TASKS[a.world]):
            p.error(f"the {a.world} world has no task {min(unknown)}; it has {', '.join(TASKS[a.world])}")
        make(a.folder, a.world, tasks, a.count)
    if a.what == "same":
        same(a.folder, a.files)
    if a.what == "run":
        run(a.folder, a.files[0])
    if a.what in ("run", "score"):
        scores = score(a.folder)
        (a.folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
        print(table(scores))


if __name__ == "__main__":
    main()
