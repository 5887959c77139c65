"""The language model as it is trained on a CPU: the same numbers as training/language.py, laid out for speed.

Matrix products run in bfloat16 (about six times float32 where the CPU has AMX), everything between them in as few passes
as possible. Tokens are one flat list of segments: the shared prefixes of all pictures, then the turns of each group.
Experts' weights are stacked, tokens sorted by expert. `to_model` and `from_model` convert to the published names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import kernels
from .config import Language
from .language import LanguageModel


@dataclass
class Group:
    """Turns of one length: n for each of B pictures, L tokens, right-aligned; the last A of them predict."""

    n: int
    length: int
    answers: int
    first: Tensor                      # [B,n] i32, the first real token of each turn


@dataclass
class Plan:
    pictures: int
    prefix: int                        # tokens of each prefix
    position: Tensor                   # [M]
    groups: list[Group]


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        r = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        r = r.square_().div_(x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)
        n = x * r
        ctx.save_for_backward(n, r, weight)
        return n * weight.to(x.dtype)

    @staticmethod
    def backward(ctx, g: Tensor):
        n, r, weight = ctx.saved_tensors
        dw = torch.linalg.vecdot(g, n, dim=0).float() if g.dtype == torch.float32 else (g * n).sum(0, dtype=torch.float32)
        gw = g * weight.to(g.dtype)
        inner = torch.linalg.vecdot(gw, n)[:, None].to(g.dtype) / n.shape[-1]
        return torch.addcmul(gw, n, inner, value=-1).mul_(r), dw, None


class _Experts(torch.autograd.Function):
    """Every token through its chosen experts: [M,D], weights [M,k], numbers [M,k], [E,2I,D], [E,D,I] to [M,D]."""

    @staticmethod
    def forward(ctx, x, weight, index, up, down):
        k, e = index.shape[1], up.shape[0]
        flat = index.flatten()
        order = flat.argsort()
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=x.device)
        ends = _loads(index, e).cumsum(0).tolist()
        source = order // k
        xs = x.index_select(0, source)
        h = x.new_empty(len(order), up.shape[1])
        y = x.new_empty(len(order), x.shape[1])
        spans = list(zip([0, *ends[:-1]], ends))
        for i, (a, b) in enumerate(spans):
            torch.mm(xs[a:b], up[i].t(), out=h[a:b])
        half = up.shape[1] // 2
        act = F.silu(h[:, :half]) * h[:, half:]
        for i, (a, b) in enumerate(spans):
            torch.mm(act[a:b], down[i].t(), out=y[a:b])
        ctx.save_for_backward(xs, h, act, y, weight, order, back, up, down)
        ctx.spans = spans
        return torch.einsum("mkd,mk->md", y.index_select(0, back).view(len(x), k, -1), weight.to(x.dtype)) \
            if k != 2 else _two(y.index_select(0, back), weight.to(x.dtype))

    @staticmethod
    def backward(ctx, g):
        xs, h, act, y, weight, order, back, up, down = ctx.saved_tensors
        m, k = weight.shape
        source = order // k
        gs = g.index_select(0, source)
        dweight = torch.linalg.vecdot(gs, y).index_select(0, back).view(m, k)
        dy = gs.mul_(weight.flatten().index_select(0, order)[:, None].to(g.dtype))
        dact = torch.empty_like(act)
        dup, ddown = torch.empty_like(up), torch.empty_like(down)
        for i, (a, b) in enumerate(ctx.spans):
            torch.mm(dy[a:b], down[i], out=dact[a:b])
            torch.mm(dy[a:b].t(), act[a:b], out=ddown[i])
        half = up.shape[1] // 2
        gate, value = h[:, :half], h[:, half:]
        dh = torch.empty_like(h)
        s = torch.sigmoid(gate)
        gs_ = gate * s
        torch.mul(dact, gs_, out=dh[:, half:])
        # silu' = s + gate*s*(1-s)
        slope = torch.addcmul(s, gs_, 1 - s)
        torch.mul(dact.mul_(value), slope, out=dh[:, :half])
        dxs = torch.empty_like(xs)
        for i, (a, b) in enumerate(ctx.spans):
            torch.mm(dh[a:b], up[i], out=dxs[a:b])
            torch.mm(dh[a:b].t(), xs[a:b], out=dup[i])
        dx = dxs.index_select(0, back).view(m, k, -1)
        dx = dx[:, 0] + dx[:, 1] if k == 2 else dx.sum(1)
        return dx, dweight.to(weight.dtype), None, dup, ddown


def _loads(index: Tensor, experts: int) -> Tensor:
    """[E] tokens of each expert; torch.bincount would wait for a GPU."""
    flat = index.flatten()
    return torch.zeros(experts, dtype=torch.long, device=flat.device).index_add_(0, flat, torch.ones_like(flat))


def _two(y: Tensor, weight: Tensor) -> Tensor:
    y = y.view(len(weight), 2, -1)
    return torch.addcmul(y[:, 0] * weight[:, :1], y[:, 1], weight[:, 1:])


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[...,d] by pairs; the half-split order comes out."""
    a, b = x[..., ::2], x[..., 1::2]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class FastLayer(nn.Module):
    def __init__(self, c: Language, number: int):
        super().__init__()
        d, h = c.hidden_size, c.num_attention_heads
        both, inner = c.qk_nope_head_dim + c.qk_rope_head_dim, c.moe_intermediate_size
        self.c, self.moe = c, c.is_moe(number)

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape))

        self.norm_in, self.norm_post, self.norm_kv = weight(d), weight(d), weight(c.kv_lora_rank)
        self.qkv = weight(h * both + c.kv_lora_rank + c.qk_rope_head_dim, d)
        self.kv_b = weight(h * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank)
        self.out = weight(d, h * c.v_head_dim)
        wide = inner * (c.n_shared_experts or 0) if self.moe else c.intermediate_size
        self.up, self.down = weight(2 * wide, d), weight(d, wide)
        if self.moe:
            e = c.n_routed_experts
            self.gate, self.experts_up, self.experts_down = weight(e, d), weight(e, 2 * inner, d), weight(e, d, inner)
            self.register_buffer("bias", torch.zeros(e))
        self.load: Tensor | None = None

    def forward(self, x: Tensor, plan: Plan, cos: Tensor, sin: Tensor, last: bool) -> Tensor:
        y = self._attend(_Norm.apply(x, self.norm_in, self.c.rms_norm_eps), plan, cos, sin, last)
        x = (_answers(x, plan) if last else x) + y
        return x + self._mlp(_Norm.apply(x, self.norm_post, self.c.rms_norm_eps))

    def _mlp(self, x: Tensor) -> Tensor:
        t = x.dtype
        a, b = F.linear(x, self.up.to(t)).chunk(2, -1)
        out = F.linear(F.silu(a) * b, self.down.to(t))
        if not self.moe:
            return out
        c = self.c
        scores = F.linear(x.float(), self.gate).sigmoid()
        weight, index = _route(scores, self.bias, c)
        self.load = _loads(index, len(self.bias))
        return out + _Experts.apply(x, weight, index, self.experts_up.to(t), self.experts_down.to(t))

    def mlp_by_kernels(self, x: Tensor) -> Tensor:
        t = x.dtype
        out = F.linear(kernels.Swiglu.apply(F.linear(x, self.up.to(t))), self.down.to(t))
        if not self.moe:
            return out
        weight, index = _route(F.linear(x, self.gate.to(t)).float().sigmoid(), self.bias, self.c)
        self.load = _loads(index, len(self.bias))
        return kernels.Experts.apply(x, weight, index, self.experts_up.to(t), self.experts_down.to(t), out)

    def attend_by_kernels(self, x: Tensor, plan: Plan, turn: tuple, answers: tuple | None) -> Tensor:
        c, t, h = self.c, x.dtype, self.c.num_attention_heads
        nq = h * (c.qk_nope_head_dim + c.qk_rope_head_dim)
        weight = self.qkv.to(t)
        q = F.linear(x if answers is None else _answers(x, plan), weight[:nq])
        small, k_rope = F.linear(x, weight[nq:]).split([c.kv_lora_rank, c.qk_rope_head_dim], -1)
        _, low = kernels.AddNorm.apply(small, x.new_empty(0), self.norm_kv, 1e-6)
        wide = F.linear(low, self.kv_b.to(t))
        return F.linear(kernels.Attend.apply(q, k_rope, wide, plan, turn, answers, h), self.out.to(t))

    def _attend(self, x: Tensor, plan: Plan, cos: Tensor, sin: Tensor, last: bool) -> Tensor:
        c, m, t, h = self.c, len(x), x.dtype, self.c.num_attention_heads
        nope, rope, dv = c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim
        q, small, k_rope = F.linear(x, self.qkv.to(t)).split([h * (nope + rope), c.kv_lora_rank, rope], -1)
        wide = F.linear(_Norm.apply(small, self.norm_kv, 1e-6), self.kv_b.to(t)).view(m, h, nope + dv)
        k_rope = rotate(k_rope, cos, sin)[:, None].expand(-1, h, -1)
        k = torch.cat([wide[..., :nope], k_rope], -1)                                     # [M,H,dk]
        v = wide[..., nope:]
        q = q.reshape(m, h, nope + rope)
        if last:
            q = _answers(q, plan)
            cos, sin = _answers(cos, plan), _answers(sin, plan)
        q = torch.cat([q[..., :nope], rotate(q[..., nope:], cos[:, None], sin[:, None])], -1) * (nope + rope) ** -0.5
        b, p = plan.pictures, plan.prefix
        pk, pv = (s[: b * p].view(b, p, h, -1).transpose(1, 2) for s in (k, v))           # [B,H,P,d]
        pk_t = pk.transpose(-1, -2).contiguous()
        pv = pv.contiguous()
        parts, at_q, at_k = [], 0, b * p
        if not last:
            pq = q[: b * p].view(b, p, h, -1).transpose(1, 2)
            s = (pq @ pk_t).masked_fill(_later(p, q.device), -1e9).softmax(-1)
            parts.append((s @ pv).transpose(1, 2).reshape(b * p, h * dv))
            at_q = b * p
        for g in plan.groups:
            n, l, a = g.n, g.length, g.answers if last else g.length
            tq = q[at_q:at_q + b * n * a].view(b, n * a, h, -1).transpose(1, 2)           # [B,H,n*a,dk]
            tk, tv = (s[at_k:at_k + b * n * l].view(b, n, l, h, -1).permute(0, 3, 1, 2, 4) for s in (k, v))
            near = (tq.reshape(b, h, n, a, -1) @ tk.transpose(-1, -2)).masked_fill(~_seen(g)[..., l - a:, :], -1e9)
            s = torch.cat([tq @ pk_t, near.view(b, h, n * a, l)], -1).softmax(-1)         # [B,H,n*a,P+l]
            got = s[..., :p] @ pv + (s[..., p:].reshape(b, h, n, a, l) @ tv).view(b, h, n * a, dv)
            parts.append(got.transpose(1, 2).reshape(b * n * a, h * dv))
            at_q, at_k = at_q + b * n * a, at_k + b * n * l
        return F.linear(torch.cat(parts), self.out.to(t))


def _seen(g: Group) -> Tensor:
    """[B,1,n,L,L]: keys that are real and not later."""
    at = torch.arange(g.length, device=g.first.device)
    return ((at >= g.first[..., None, None]) & (at <= at[:, None]))[:, None]


def _route(scores: Tensor, bias: Tensor, c: Language) -> tuple[Tensor, Tensor]:
    """Weights and numbers of the chosen experts."""
    index = (scores.detach() + bias).topk(c.num_experts_per_tok, -1).indices
    weight = scores.gather(1, index)
    return weight / (weight.sum(-1, keepdim=True) + 1e-20) * c.routed_scaling_factor, index


@lru_cache(256)
def _later(p: int, device: torch.device) -> Tensor:
    return torch.ones(p, p, dtype=torch.bool, device=device).triu(1)


def _answers(x: Tensor, plan: Plan) -> Tensor:
    """Of [M,...] the places that predict."""
    parts, at = [], plan.pictures * plan.prefix
    for g in plan.groups:
        rows = plan.pictures * g.n
        parts.append(x[at:at + rows * g.length].view(rows, g.length, *x.shape[1:])[:, g.length - g.answers:].flatten(0, 1))
        at += rows * g.length
    return torch.cat(parts)


class FastLanguage(nn.Module):
    def __init__(self, c: Language):
        super().__init__()
        self.c = c
        self.embed = nn.Parameter(torch.zeros(c.vocab_size, c.hidden_size))
        self.layers = nn.ModuleList(FastLayer(c, i) for i in range(c.num_hidden_layers))
        self.norm = nn.Parameter(torch.ones(c.hidden_size))
        self.head = nn.Parameter(torch.zeros(c.vocab_size, c.hidden_size))
        freq = c.rope_theta ** (-torch.arange(0, c.qk_rope_head_dim, 2, dtype=torch.float64) / c.qk_rope_head_dim)
        angle = torch.arange(1024).double()[:, None] * freq
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    def forward(self, x: Tensor, plan: Plan, between: list[Tensor] | None = None) -> Tensor:
        """[M,D] to logits at the places that predict, in the order of the groups, in x's dtype; the hidden states
        [M,D] before each layer after the first are added to between."""
        between = [] if between is None else between
        if x.is_cpu and x.dtype == kernels.DTYPE and kernels.there():
            return self._by_kernels(x, plan, between)
        cos, sin = (t[plan.position].to(x.dtype) for t in (self.cos, self.sin))
        for i, layer in enumerate(self.layers):
            between.extend([x] if i else [])
            x = layer(x, plan, cos, sin, i == len(self.layers) - 1)
        return F.linear(_Norm.apply(x, self.norm, self.c.rms_norm_eps), self.head.to(x.dtype))

    def _by_kernels(self, x: Tensor, plan: Plan, between: list[Tensor]) -> Tensor:
        cos, sin = self.cos[plan.position], self.sin[plan.position]
        near = (_answers(cos, plan), _answers(sin, plan))
        eps, delta = self.c.rms_norm_eps, x.new_empty(0)
        for i, layer in enumerate(self.layers):
            last = i == len(self.layers) - 1
            x, n = kernels.AddNorm.apply(x, delta, layer.norm_in, eps)
            between.extend([x] if i else [])
            y = layer.attend_by_kernels(n, plan, (cos, sin), near if last else None)
            x, n = kernels.AddNorm.apply(_answers(x, plan) if last else x, y, layer.norm_post, eps)
            delta = layer.mlp_by_kernels(n)
        _, n = kernels.AddNorm.apply(x, delta, self.norm, eps)
        return F.linear(n, self.head.to(x.dtype))

    def pairs(self, model: LanguageModel):
        """(a published tensor, the part of this one's that holds it) of every weight."""
        c = self.c
        yield model.model.embed_tokens.weight, self.embed
        yield model.model.norm.weight, self.norm
        yield model.lm_head.weight, self.head
        for mine, its in zip(self.layers, model.model.layers):
            a = its.self_attn
            nq = a.q_proj.weight.shape[0]
            yield a.q_proj.weight, mine.qkv[:nq]
            yield a.kv_a_proj_with_mqa.weight, mine.qkv[nq:]
            yield a.kv_a_layernorm.weight, mine.norm_kv
            yield a.kv_b_proj.weight, mine.kv_b
            yield a.o_proj.weight, mine.out
            yield its.input_layernorm.weight, mine.norm_in
            yield its.post_attention_layernorm.weight, mine.norm_post
            common = its.mlp.shared_experts if mine.moe else its.mlp
            blocks = [(common, mine.up, mine.down)]
            if mine.moe:
                yield its.mlp.gate.weight, mine.gate
                yield its.mlp.gate.e_score_correction_bias, mine.bias
                blocks += [(e, mine.experts_up[i], mine.experts_down[i]) for i, e in enumerate(its.mlp.experts)]
            for block, up, down in blocks:
                yield block.gate_proj.weight, up.chunk(2)[0]
                yield block.up_proj.weight, up.chunk(2)[1]
                yield block.down_proj.weight, down

    @torch.no_grad()
    def from_model(self, model: LanguageModel) -> None:
        for its, mine in self.pairs(model):
            mine.copy_(its)

    @torch.no_grad()
    def to_model(self, model: LanguageModel) -> None:
        for its, mine in self.pairs(model):
            its.copy_(mine)
