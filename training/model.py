"""The whole model, and a checkpoint folder read into it or written from it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from . import config
from .language import LanguageModel
from .vision import Projector, VisionTower, mosaic


class Model(nn.Module):
    def __init__(self, c: config.Config):
        super().__init__()
        d = c.language.hidden_size
        self.config = c
        self.vision = VisionTower(c.vision)
        self.projector = Projector(c.projector)
        self.image_newline = nn.Parameter(torch.zeros(d))
        self.view_seperator = nn.Parameter(torch.zeros(d))
        self.language = LanguageModel(c.language)

    def image_rows(self, projected: Tensor, across: int, down: int) -> Tensor:
        head = self.config.global_view_pos == "head"
        return mosaic(projected, across, down, self.image_newline, self.view_seperator, head)

    def normalize(self, tiles: Tensor) -> Tensor:
        """[N,S,S,3] or [N,3,S,S] u8 to what the tower takes."""
        c = self.config
        x = tiles.permute(0, 3, 1, 2) if tiles.shape[-1] == 3 else tiles
        x = x.to(self.image_newline.dtype) / 255
        if not c.normalize:
            return x
        mean, std = (x.new_tensor(v).view(3, 1, 1) for v in (c.image_mean, c.image_std))
        return (x - mean) / std


def tensors(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    names = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else ["model.safetensors"]
    out = {}
    for name in names:
        with safe_open(str(folder / name), "pt") as f:
            out.update({k: f.get_tensor(k) for k in f.keys()})
    return out


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Model:
    """A checkpoint folder as a model; tensors that nothing uses are passed over."""
    model = Model(config.load(folder)).to(dtype)
    have = tensors(folder)
    want = model.state_dict()
    if model.config.language.tie_word_embeddings:
        have.setdefault("language.lm_head.weight", have["language.model.embed_tokens.weight"])
    missing = [k for k in want if k not in have]
    if missing:
        raise ValueError(f"{folder}: {missing[0]} is missing, and {len(missing) - 1} more")
    model.load_state_dict({k: have[k].to(dtype) for k in want})
    return model.eval()
