"""When an answer is right."""

from __future__ import annotations

import re


def boxes(text: str) -> list[list[int]]:
    return [[int(v) for v in m] for m in re.findall(r"(\d+), *(\d+), *(\d+), *(\d+)", text)]


def names(text: str) -> list[str]:
    return re.findall(r"<\|ref\|>(.*?)<\|/ref\|>", text)


def iou(a: list[int], b: list[int]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0, w) * max(0, h)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / union if union > 0 else 0.0


def _matches(said: list[list[int]], want: list[list[int]]) -> list[float]:
    """Each wanted box with the best box that is still free."""
    free, out = list(said), []
    for w in want:
        best = max(free, key=lambda s: iou(s, w), default=None)
        out.append(iou(best, w) if best else 0.0)
        if best:
            free.remove(best)
    return out


def mean_iou(said: str, want: str) -> float | None:
    """None where no box is wanted."""
    got = _matches(boxes(said), boxes(want))
    return sum(got) / len(got) if got else None


def right(task: str, said: str, want: str) -> float:
    """1 for the same text; for boxes, as many as wanted, each over half on its own; captions, the things named too."""
    if "<|det|>" not in want:
        return float(said.strip() == want)
    a, b = boxes(said), boxes(want)
    named = task != "caption" or sorted(names(said)) == sorted(names(want))
    return float(len(a) == len(b) and named and all(v > 0.5 for v in _matches(a, b)))
