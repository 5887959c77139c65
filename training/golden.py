"""Writes a golden file, in the form of `vl2 trace`, for a checkpoint and a conversation.

    python -m training.golden CHECKPOINT CONVERSATION.json OUT.safetensors [--greedy 24] [--positions all]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from . import model, talk
from .language import Layout


@torch.no_grad()
def record(m: model.Model, words: talk.Words, messages: list[dict], base: Path, greedy: int,
           every: bool = False) -> dict[str, Tensor]:
    p = talk.prompt(words, m, messages, base)
    ids = torch.tensor(p.ids, dtype=torch.int32)
    out = {"input_ids": ids, "images_seq_mask": (ids == words.image).to(torch.uint8),
           "tiles": torch.zeros(0, 3, 1, 1, dtype=torch.uint8) if p.tiles is None else p.tiles}
    if p.tiles is not None:
        out["spatial_crop"] = torch.tensor(p.crops, dtype=torch.int32)
        out["vision"] = m.vision(m.normalize(p.tiles))
        out["projector"] = m.projector(out["vision"])
    x = out["inputs_embeds"] = talk.embed(m, words, p)
    k = len(ids) if every else min(8, len(ids))
    hidden = m.language.hidden_states(x, Layout.single(len(ids), x.device))
    for i, h in enumerate(hidden):
        out[f"hidden.{i}"] = h[-k:]
    out["logits"] = m.language.lm_head(hidden[-1][-k:])
    out["greedy_ids"] = torch.tensor(talk.answer(m, words, p, greedy), dtype=torch.int32)
    return {k: v.contiguous().clone() for k, v in out.items()}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", type=Path)
    p.add_argument("conversation", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--greedy", type=int, default=24)
    p.add_argument("--positions", choices=["last", "all"], default="last")
    a = p.parse_args()
    m, words = model.load(a.checkpoint), talk.Words(a.checkpoint)
    messages = json.loads(a.conversation.read_text())
    save_file(record(m, words, messages, a.conversation.parent, a.greedy, a.positions == "all"), a.out)


if __name__ == "__main__":
    main()
