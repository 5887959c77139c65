"""Draws the curves of a run.

    python -m training.plot STATE OUT.png               STATE: *.csv of warm.py, train.py and, as timed-*.csv, of timed.py
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

TASKS = ["color", "shape", "presence", "total", "count", "ground", "which"]
LATER = ["count", "relation", "ground", "ground_all", "caption", "read", "which", "largest", "which_of", "bars"]


def rows(path: Path) -> list[list[str]]:
    return [row for row in csv.reader(path.open()) if row] if path.exists() else []


def main() -> None:
    state, out = Path(sys.argv[1]), Path(sys.argv[2])
    fig, ((left, middle), (right, timed)) = plt.subplots(2, 2, figsize=(14, 9))
    warm = rows(state / "warm.csv")
    for back, name in ((6, "colour"), (5, "shape"), (4, "letter"), (3, "letter at its place (row)")):
        left.plot([float(r[0]) / 1000 for r in warm], [100 * float(r[-back]) for r in warm], label=name)
    left.set(title="Tower: held-out patches named rightly, %", xlabel="thousand views")
    train = [r for r in rows(state / "train.csv") if r[1] == "0"]
    middle.plot([int(r[2]) for r in train], [float(r[4]) for r in train], label="loss of a step")
    middle.plot([int(r[2]) for r in train], [float(r[5]) for r in train], label="fullest expert over the mean")
    middle.set(title="Everything", xlabel="step")
    scores = rows(state / "scores.csv")
    for task in TASKS:
        mine = [(int(r[1]), float(r[3])) for r in scores if r[2] == task]
        right.plot([s for s, _ in mine], [v for _, v in mine], label=task)
    right.set(title="Held-out answers right, %", xlabel="step")
    scores = rows(state / "timed-scores.csv")
    for task in LATER:
        mine = [(int(r[1]), float(r[3])) for r in scores if r[2] == task]
        timed.plot([s for s, _ in mine], [v for _, v in mine], label=task)
    timed.set(title="Timed runs: held-out answers right, % (some 40 pictures a kind)", xlabel="step")
    for part in (left, middle, right, timed):
        part.legend(fontsize=7)
    fig.tight_layout()
    fig.savefig(out, dpi=80)


if __name__ == "__main__":
    main()
