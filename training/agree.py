"""How many of vl2's greedy answers the PyTorch model gives too, in float32.

    python -m training.agree DIR CHECKPOINT [COUNT]     DIR as training.evaluate makes it, with answers.jsonl of `vl2 batch`
Answers are compared as text with the special tokens in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from . import model, talk


def main() -> None:
    folder, checkpoint = Path(sys.argv[1]), Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    said = {a["id"]: a["text"] for a in map(json.loads, (folder / "answers.jsonl").open())}
    m, words, same, asked = model.load(checkpoint), talk.Words(checkpoint), 0, 0
    for line in map(json.loads, (folder / "questions.jsonl").open()):
        if line["id"] not in said or asked == count:
            continue
        ids = talk.answer(m, words, talk.prompt(words, m, line["messages"], folder), 100)
        asked += 1
        same += words.decode(ids) == said[line["id"]].strip()
        if words.decode(ids) != said[line["id"]].strip():
            print(line["id"], "PyTorch", words.decode(ids), "vl2", said[line["id"]])
    print(f"{same} of {asked} the same")


if __name__ == "__main__":
    main()
