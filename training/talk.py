"""A conversation through the PyTorch model: prompt, views, greedy answer (docs/MODEL.md §3, §4, §8)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from . import preprocess
from .language import Layout
from .model import Model

ADDED = ["<image>", "<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>", "<|User|>", "<|Assistant|>"]
USER = {"<|User|>", "user"}
SYSTEM = {"system", "deepseekapi-sys"}


class Words:
    """A checkpoint's tokenizer, with the tokens that are added at run time."""

    def __init__(self, folder: Path):
        data = json.loads((folder / "tokenizer.json").read_text())
        names = json.loads((folder / "tokenizer_config.json").read_text())
        have = {t["content"] for t in data["added_tokens"]} | set(data["model"]["vocab"])
        after = max(len(data["model"]["vocab"]), 1 + max((t["id"] for t in data["added_tokens"]), default=-1))
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for text in ADDED:
            if text not in have:
                data["added_tokens"].append({"id": after, "content": text, **flags})
                after += 1
        self.table = Tokenizer.from_str(json.dumps(data))
        name = {k: v["content"] if isinstance(v, dict) else v for k, v in names.items() if k.endswith("_token")}
        self.bos, self.eos = (self.table.token_to_id(name[k]) for k in ("bos_token", "eos_token"))
        self.image = self.table.token_to_id("<image>")

    def encode(self, text: str) -> list[int]:
        return self.table.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self.table.decode([i for i in ids if i != self.eos], skip_special_tokens=False).strip()


@dataclass
class Prompt:
    ids: list[int]
    tiles: Tensor | None               # [N,3,S,S] u8
    crops: list[tuple[int, int]]


def prompt(words: Words, m: Model, messages: list[dict], base: Path) -> Prompt:
    """The ids and views of a conversation whose answer comes next."""
    c = m.config
    if messages[-1]["role"] in USER:
        messages = [*messages, {"role": "assistant", "content": ""}]
    paths = [base / p for msg in messages for p in msg.get("images", [])]
    seen = [preprocess.views(Image.open(p), c.candidates, c.image_mean, len(paths) <= 2) for p in paths]
    side = -(-(c.vision.image_size // c.vision.patch_size) // c.projector.downsample_ratio)
    ids, queue = [words.bos], list(seen)
    for msg in messages:
        text = msg["content"].strip()
        if msg["role"] in SYSTEM:
            ids += words.encode(text)
        elif msg["role"] in USER:
            parts = f"<|User|>: {text}\n\n<|Assistant|>:".split("<image>") if text else ["<|User|>:<|Assistant|>:"]
            for i, part in enumerate(parts):
                if i:
                    v = queue.pop(0)
                    ids += [words.image] * (side * (side + 1) + 1 + v.down * side * (v.across * side + 1))
                ids += words.encode(part)
        else:
            ids += words.encode(text) + [words.eos]
    tiles = torch.cat([torch.from_numpy(v.tiles.copy()).permute(0, 3, 1, 2) for v in seen]) if seen else None
    return Prompt(ids[:-1], tiles, [(v.across, v.down) for v in seen])


def embed(m: Model, words: Words, p: Prompt) -> Tensor:
    ids = torch.tensor(p.ids)
    x = m.language.model.embed_tokens(ids)
    if p.tiles is None:
        return x
    projected, rows, at = m.projector(m.vision(m.normalize(p.tiles))), [], 0
    for across, down in p.crops:
        rows.append(m.image_rows(projected[at:at + 1 + across * down], across, down))
        at += 1 + across * down
    return x.masked_scatter((ids == words.image)[:, None], torch.cat(rows))


@torch.no_grad()
def answer(m: Model, words: Words, p: Prompt, limit: int = 128) -> list[int]:
    """Greedy ids, the closing eos among them where it came."""
    x, out = embed(m, words, p), []
    while len(out) < limit and (not out or out[-1] != words.eos):
        hidden = m.language.hidden_states(x, Layout.single(len(x), x.device))[-1]
        out.append(int(m.language.lm_head(hidden[-1]).argmax()))
        x = torch.cat([x, m.language.model.embed_tokens(torch.tensor(out[-1:]))])
    return out
