"""Rows to logits: the decoder, with MHA or MLA and the routers (docs/MODEL.md §7)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Language


@dataclass
class Layout:
    """Where tokens stand. Tokens are a flat list [M]: first each row's shared prefix, then the turns.

    A turn sees its prefix and itself only, as if it were alone: packed turns equal single conversations.
    """

    position: Tensor                   # [M] position in the conversation
    prefix: Tensor                     # [B,P] index into the flat list, -1 for padding
    turns: Tensor | None = None        # [B,Q,L]
    total: int = 0                     # length of the conversation, for dynamic rope

    @staticmethod
    def single(length: int, device: torch.device) -> Layout:
        at = torch.arange(length, device=device)
        return Layout(at, at[None], None, length)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    y = x.float() if x.dtype != torch.float64 else x
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


class RmsNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def _yarn_scale(factor: float, m: float) -> float:
    return 0.1 * m * math.log(factor) + 1.0 if factor > 1 else 1.0


def _yarn(s: dict, freq: Tensor, theta: float, dim: int) -> Tensor:
    base = s.get("original_max_position_embeddings", 4096)

    def turn(r: float) -> float:
        return dim * math.log(base / (r * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(turn(s.get("beta_fast", 32))), 0)
    high = min(math.ceil(turn(s.get("beta_slow", 1))), dim - 1)
    span = (high - low) or 0.001
    ramp = ((torch.arange(dim // 2, dtype=torch.float64) - low) / span).clamp(0, 1)
    return freq / s["factor"] * ramp + freq * (1 - ramp)


def rope_table(c: Language, dim: int, position: Tensor, total: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin [M,dim/2], from frequencies in double."""
    s, theta = c.rope_scaling or {}, float(c.rope_theta)
    kind, factor = s.get("type"), float(s.get("factor", 1.0))
    if kind == "dynamic" and total > c.max_position_embeddings:
        theta *= (factor * total / c.max_position_embeddings - (factor - 1)) ** (dim / (dim - 2))
    freq = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    gain = 1.0
    if kind == "linear":
        freq = freq / factor
    if kind == "yarn":
        freq = _yarn(s, freq, theta, dim)
        gain = _yarn_scale(factor, s.get("mscale", 1)) / _yarn_scale(factor, s.get("mscale_all_dim", 0))
    angle = position.double()[:, None] * freq.to(position.device)
    return (angle.cos() * gain).to(dtype), (angle.sin() * gain).to(dtype)


def rotate(x: Tensor, table: tuple[Tensor, Tensor], interleaved: bool) -> Tensor:
    """[M,H,d] turned by position; both forms give the half-split order."""
    cos, sin = table[0][:, None], table[1][:, None]
    a, b = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def _gather(x: Tensor, index: Tensor) -> Tensor:
    return x[index.clamp(min=0).flatten()].view(*index.shape, *x.shape[1:])


def attend(q: Tensor, k: Tensor, v: Tensor, where: Layout, scale: float) -> Tensor:
    """[M,H,d] each to [M,H,dv]: prefixes causally, turns over their prefix and themselves."""
    out = v.new_empty(len(q), q.shape[1], v.shape[-1])
    pk, pv = (_gather(t, where.prefix).transpose(1, 2) for t in (k, v))               # [B,H,P,d]
    pq = _gather(q, where.prefix).transpose(1, 2)
    got = F.scaled_dot_product_attention(pq, pk, pv, is_causal=True, scale=scale).transpose(1, 2)
    real = where.prefix >= 0
    parts, index = [got[real]], [where.prefix[real]]
    if where.turns is not None:
        parts.append(_attend_turns(q, k, v, pk, pv, where, scale))
        index.append(where.turns[where.turns >= 0])
    order = torch.cat(index)
    return out.index_copy(0, order, torch.cat(parts))


def _attend_turns(q: Tensor, k: Tensor, v: Tensor, pk: Tensor, pv: Tensor, where: Layout, scale: float) -> Tensor:
    b, n, length = where.turns.shape
    tq, tk, tv = (_gather(t, where.turns) for t in (q, k, v))                         # [B,Q,L,H,d]
    h = tq.shape[3]
    q_all = tq.permute(0, 3, 1, 2, 4).reshape(b, h, n * length, -1) * scale
    far = q_all @ pk.transpose(-1, -2)                                                # [B,H,Q*L,P]
    far = far.masked_fill((where.prefix < 0)[:, None, None], -1e9)
    tq, tk, tv = (t.permute(0, 3, 1, 2, 4) for t in (tq * scale, tk, tv))             # [B,H,Q,L,d]
    near = tq @ tk.transpose(-1, -2)
    later = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    near = near.masked_fill(later, -1e9).view(b, h, n * length, length)
    p = torch.cat([far, near], -1).softmax(-1)
    far, near = p.split([pk.shape[2], length], -1)
    out = (far @ pv).view(b, h, n, length, -1) + near.reshape(b, h, n, length, length) @ tv
    return out.permute(0, 2, 3, 1, 4)[where.turns >= 0]


class MultiHead(nn.Module):
    def __init__(self, c: Language):
        super().__init__()
        self.c, self.dim = c, c.hidden_size // c.num_attention_heads
        bias = c.attention_bias
        self.q_proj = nn.Linear(c.hidden_size, c.num_attention_heads * self.dim, bias)
        self.k_proj = nn.Linear(c.hidden_size, c.kv_heads * self.dim, bias)
        self.v_proj = nn.Linear(c.hidden_size, c.kv_heads * self.dim, bias)
        self.o_proj = nn.Linear(c.num_attention_heads * self.dim, c.hidden_size, bias)

    def forward(self, x: Tensor, where: Layout, keep: Tensor | None = None) -> Tensor:
        m, c = len(x), self.c
        table = rope_table(c, self.dim, where.position, where.total, x.dtype)
        q = rotate(self.q_proj(x).view(m, -1, self.dim), table, False)
        k = rotate(self.k_proj(x).view(m, -1, self.dim), table, False)
        v = self.v_proj(x).view(m, -1, self.dim)
        times = c.num_attention_heads // c.kv_heads
        k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
        out = attend(q, k, v, where, self.dim**-0.5).reshape(m, -1)
        return self.o_proj(out if keep is None else out[keep])


class Latent(nn.Module):
    """MLA, with keys and values written out."""

    def __init__(self, c: Language):
        super().__init__()
        self.c, h, d = c, c.num_attention_heads, c.hidden_size
        both = c.qk_nope_head_dim + c.qk_rope_head_dim
        if c.q_lora_rank is None:
            self.q_proj = nn.Linear(d, h * both, False)
        else:
            self.q_a_proj = nn.Linear(d, c.q_lora_rank, c.attention_bias)
            self.q_a_layernorm = RmsNorm(c.q_lora_rank, 1e-6)
            self.q_b_proj = nn.Linear(c.q_lora_rank, h * both, False)
        self.kv_a_proj_with_mqa = nn.Linear(d, c.kv_lora_rank + c.qk_rope_head_dim, c.attention_bias)
        self.kv_a_layernorm = RmsNorm(c.kv_lora_rank, 1e-6)
        self.kv_b_proj = nn.Linear(c.kv_lora_rank, h * (c.qk_nope_head_dim + c.v_head_dim), False)
        self.o_proj = nn.Linear(h * c.v_head_dim, d, c.attention_bias)
        self.scale = both**-0.5
        s = c.rope_scaling or {}
        if s.get("mscale_all_dim"):
            self.scale *= _yarn_scale(float(s.get("factor", 1)), s["mscale_all_dim"]) ** 2

    def forward(self, x: Tensor, where: Layout, keep: Tensor | None = None) -> Tensor:
        c, m, h = self.c, len(x), self.c.num_attention_heads
        table = rope_table(c, c.qk_rope_head_dim, where.position, where.total, x.dtype)
        low = self.q_proj(x) if c.q_lora_rank is None else self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q, q_rope = low.view(m, h, -1).split([c.qk_nope_head_dim, c.qk_rope_head_dim], -1)
        q = torch.cat([q, rotate(q_rope, table, True)], -1)
        small, k_rope = self.kv_a_proj_with_mqa(x).split([c.kv_lora_rank, c.qk_rope_head_dim], -1)
        wide = self.kv_b_proj(self.kv_a_layernorm(small)).view(m, h, -1)
        k, v = wide.split([c.qk_nope_head_dim, c.v_head_dim], -1)
        k = torch.cat([k, rotate(k_rope[:, None], table, True).expand(-1, h, -1)], -1)
        out = attend(q, k, v, where, self.scale).reshape(m, -1)
        return self.o_proj(out if keep is None else out[keep])


class Mlp(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, False)
        self.up_proj = nn.Linear(width, inner, False)
        self.down_proj = nn.Linear(inner, width, False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Gate(nn.Module):
    def __init__(self, c: Language):
        super().__init__()
        self.c = c
        self.weight = nn.Parameter(torch.zeros(c.n_routed_experts, c.hidden_size))
        if c.topk_method == "noaux_tc":
            self.e_score_correction_bias = nn.Parameter(torch.zeros(c.n_routed_experts), requires_grad=False)

    def _within_groups(self, value: Tensor, best: int) -> Tensor:
        c = self.c
        group = value.view(len(value), c.n_group, -1)
        chosen = group.topk(best, -1).values.sum(-1).topk(c.topk_group, -1).indices
        mask = torch.zeros(len(value), c.n_group, 1, dtype=torch.bool, device=value.device)
        mask.scatter_(1, chosen[..., None], True)
        return group.masked_fill(~mask, 0.0).flatten(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and numbers of the chosen experts, [M,k] each."""
        c = self.c
        logits = F.linear(x, self.weight)
        scores = logits.softmax(-1) if c.scoring_func == "softmax" else logits.sigmoid()
        choice = scores
        if c.topk_method == "noaux_tc":
            choice = self._within_groups(scores + self.e_score_correction_bias, 2) if c.n_group > 1 \
                else scores + self.e_score_correction_bias
        elif c.topk_method == "group_limited_greedy":
            choice = scores = self._within_groups(scores, 1)
        elif c.topk_method != "greedy":
            raise ValueError(f"topk_method {c.topk_method!r}")
        index = choice.topk(c.num_experts_per_tok, -1).indices
        weight = scores.gather(1, index)
        if c.norm_topk_prob and c.num_experts_per_tok > 1:
            weight = weight / (weight.sum(-1, keepdim=True) + 1e-20)
        return weight * c.routed_scaling_factor, index


class Moe(nn.Module):
    def __init__(self, c: Language):
        super().__init__()
        self.gate = Gate(c)
        self.experts = nn.ModuleList(Mlp(c.hidden_size, c.moe_intermediate_size) for _ in range(c.n_routed_experts))
        if c.n_shared_experts:
            self.shared_experts = Mlp(c.hidden_size, c.moe_intermediate_size * c.n_shared_experts)
        self.load: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        weight, index = self.gate(x)
        k, flat = index.shape[1], index.flatten()
        order = flat.argsort()
        self.load = torch.bincount(flat, minlength=len(self.experts))
        source = order // k
        parts = x[source].split(self.load.tolist())
        done = torch.cat([e(p) for e, p in zip(self.experts, parts)])
        out = torch.zeros_like(x).index_add(0, source, (done * weight.flatten()[order, None]).to(x.dtype))
        return out + self.shared_experts(x) if hasattr(self, "shared_experts") else out


class Layer(nn.Module):
    def __init__(self, c: Language, number: int):
        super().__init__()
        self.input_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Latent(c) if c.use_mla else MultiHead(c)
        self.post_attention_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = Moe(c) if c.is_moe(number) else Mlp(c.hidden_size, c.intermediate_size)

    def forward(self, x: Tensor, where: Layout, keep: Tensor | None = None) -> Tensor:
        y = self.self_attn(self.input_layernorm(x), where, keep)
        x = (x if keep is None else x[keep]) + y
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, c: Language):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c.num_hidden_layers))
        self.norm = RmsNorm(c.hidden_size, c.rms_norm_eps)


class LanguageModel(nn.Module):
    def __init__(self, c: Language):
        super().__init__()
        self.c = c
        self.model = Decoder(c)
        self.lm_head = nn.Linear(c.hidden_size, c.vocab_size, False)
        if c.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, x: Tensor, where: Layout, keep: Tensor | None = None) -> Tensor:
        """[M,D] to logits at `keep`; the last layer's experts run there only."""
        last = len(self.model.layers) - 1
        for i, layer in enumerate(self.model.layers):
            x = layer(x, where, keep if i == last else None)
        return self.lm_head(self.model.norm(x))

    def hidden_states(self, x: Tensor, where: Layout) -> list[Tensor]:
        """hidden.0 ... hidden.L as `vl2 trace` has them: the last one after the final norm."""
        out = [x]
        for layer in self.model.layers:
            out.append(layer(out[-1], where))
        out[-1] = self.model.norm(out[-1])
        return out
