"""Whether the PyTorch model, in float32, gives the program's greedy ids.

    python -m training.agree DIR CHECKPOINT [--count 200] [--compute auto] [--vl2 build/release/cli/vl2]
DIR as training.evaluate makes it; COUNT of its conversations, evenly spread, go through `vl2 trace`. PyTorch reads each
prompt and the program's ids behind it in one pass: as long as its likeliest ids are those, it would have said the same.
Where they part, it prints by how much PyTorch's choice won, beside the largest difference of any logit at the ends of
the prompts: what rounding alone does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from . import model, talk
from .language import Layout


def trace(vl2: str, checkpoint: Path, messages: list[dict], folder: Path, compute: str) -> dict[str, Tensor]:
    """What the program made of a conversation; pictures are relative to the folder."""
    there = [{**m, **({"images": [str((folder / p).resolve()) for p in m["images"]]} if "images" in m else {})} for m in messages]
    with tempfile.TemporaryDirectory() as room:
        (talk_file := Path(room) / "talk.json").write_text(json.dumps(there))
        out = Path(room) / "out.safetensors"
        subprocess.run([vl2, "trace", "-q", "-m", checkpoint, "--compute", compute, "--greedy", "100", "--conversation", talk_file,
                        "-o", out], check=True)
        return load_file(out)


@torch.no_grad()
def logits(m: model.Model, words: talk.Words, p: talk.Prompt, ids: list[int]) -> Tensor:
    """[len(ids),V]: what comes after the prompt, and after each of the ids but the last."""
    x = torch.cat([talk.embed(m, words, p), m.language.model.embed_tokens(torch.tensor(ids[:-1], dtype=torch.long))])
    return m.language.lm_head(m.language.hidden_states(x, Layout.single(len(x), x.device))[-1][-len(ids):])


def parting(want: Tensor, ids: list[int]) -> tuple[int, float] | None:
    """The first id that is not the likeliest, and by how much another one is likelier."""
    best = want.argmax(-1)
    for i, v in enumerate(ids):
        if best[i] != v:
            return i, float(want[i].max() - want[i, v])
    return None


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    p.add_argument("checkpoint", type=Path)
    p.add_argument("--count", type=int, default=200)
    p.add_argument("--compute", choices=["auto", "f32"], default="auto")
    p.add_argument("--vl2", default="build/release/cli/vl2", help="the program")
    a = p.parse_args()
    lines = (a.folder / "questions.jsonl").read_text().splitlines()
    lines = lines[::max(1, len(lines) // a.count)][: a.count]
    m, words, noise, apart = model.load(a.checkpoint), talk.Words(a.checkpoint), 0.0, []
    for line in map(json.loads, lines):
        got = trace(a.vl2, a.checkpoint, line["messages"], a.folder, a.compute)
        prompt, ids = talk.prompt(words, m, line["messages"], a.folder), got["greedy_ids"].tolist()
        if prompt.ids != got["input_ids"].tolist():
            raise SystemExit(f"{line['id']}: the prompts differ")
        want = logits(m, words, prompt, ids)
        noise = max(noise, float((want[0] - got["logits"][-1]).abs().max()))
        if part := parting(want, ids):
            apart.append((line["id"], *part))
    print(f"{len(lines) - len(apart)} of {len(lines)} the same ids; logits at the ends of the prompts differ by at most {noise:.1e}")
    for key, at, margin in apart:
        print(f"  {key}: parts at id {at}, where PyTorch's choice wins by {margin:.1e}")


if __name__ == "__main__":
    main()
