"""The language half before its first step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .turns import TOKENS
from .heads import number_waves
from .model import Model
from .scenes.shapes import COLOR_NAMES, COLOR_ZH, PLURAL, SHAPE_NAMES, SHAPE_ZH
from .shards import LETTERS


def synonyms() -> dict[str, list[list[str]]]:
    """Spellings of what the row heads name, in their order."""
    return {"color": [[c, " " + c, COLOR_ZH[c] + "色"] for c in COLOR_NAMES],
            "shape": [[s, " " + s, PLURAL[s], " " + PLURAL[s], SHAPE_ZH[s]] for s in SHAPE_NAMES],
            "letter": [[c, c.upper()] for c in LETTERS]}


def _embeddings(model: Model, row_head: nn.ModuleDict) -> None:
    embed, head = model.language.model.embed_tokens.weight.data, model.language.lm_head.weight.data
    embed.normal_(0, 0.5)
    head.normal_(0, 0.03)
    ids = [TOKENS.encode(str(n))[0] for n in range(1000)]
    waves = number_waves(torch.arange(1000) / 1000)
    waves = waves @ torch.randn(waves.shape[1], embed.shape[1]) / waves.shape[1] ** 0.5
    embed[ids] = 0.2 * embed[ids] + 0.5 * waves
    head[ids] = 0.5 * head[ids] + 0.05 * waves
    for kind, groups in synonyms().items():
        for k, spellings in enumerate(groups):
            way = row_head[kind].weight.data[k]
            if "mid_" + kind in row_head:
                way = way + row_head["mid_" + kind].weight.data[k]
            way = way / way.pow(2).mean().sqrt()
            for text in spellings:
                i = TOKENS.encode(text)
                assert len(i) == 1, (text, i)
                embed[i[0]] = 0.6 * embed[i[0]] + 0.4 * way
                head[i[0]] = 0.7 * head[i[0]] + 0.03 * way


def init_language(model: Model, row_head: nn.ModuleDict) -> None:
    """Residual outputs small; queries begin alike to keys, so that like attends to like."""
    _embeddings(model, row_head)
    c = model.config.language
    for module in model.language.model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, module.in_features**-0.5)
    for layer in model.language.model.layers:
        attention = layer.self_attn
        nn.init.normal_(attention.o_proj.weight, 0, 0.02)
        for name, module in layer.mlp.named_modules():
            if name.endswith("down_proj"):
                nn.init.normal_(module.weight, 0, 0.02)
            if name == "gate":
                nn.init.normal_(module.weight, 0, 0.02)
        nope, both = c.qk_nope_head_dim, c.qk_nope_head_dim + c.qk_rope_head_dim
        keys = attention.kv_b_proj.weight.data.view(c.num_attention_heads, -1, c.kv_lora_rank)[:, :nope]
        same = keys @ attention.kv_a_proj_with_mqa.weight.data[: c.kv_lora_rank]
        q = attention.q_proj.weight.data.view(c.num_attention_heads, both, -1)
        q[:, :nope] = 0.6 * q[:, :nope] + 0.8 * same
    nn.init.normal_(model.image_newline, 0, 0.5)
    nn.init.normal_(model.view_seperator, 0, 0.5)
