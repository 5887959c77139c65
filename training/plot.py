"""Draws the curves of a run.

    python -m training.plot STATE OUT.png
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

WARM = ["color", "shape", "letter", "order", "sides", "holds", "place"]


def rows(path: Path) -> list[list[float]]:
    if not path.exists():
        return []
    return [[float(v) for v in row] for row in csv.reader(path.open()) if row]


def main() -> None:
    state, out = Path(sys.argv[1]), Path(sys.argv[2])
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    warm = rows(state / "warm.csv")
    for i, name in enumerate(WARM):
        left.plot([r[0] for r in warm], [r[2 + i] for r in warm], label=name)
    left.set(title="Vision tower: loss of each patch label", xlabel="step", yscale="log")
    left.legend(fontsize=7)
    train = rows(state / "train.csv")
    right.plot([r[0] for r in train], [r[2] for r in train], label="loss of the answers")
    right.plot([r[0] for r in train], [r[3] for r in train], label="fullest expert over the mean")
    right.set(title="Everything", xlabel="step")
    right.legend(fontsize=7)
    fig.tight_layout()
    fig.savefig(out, dpi=90)


if __name__ == "__main__":
    main()
