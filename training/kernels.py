"""The functions of kernels.cpp with their gradients; compiled at the first use."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor


FLAGS = set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").exists() else set()
# What lies in memory between the products of a CPU: bfloat16 only where the CPU multiplies it.
DTYPE = torch.bfloat16 if "avx512_bf16" in FLAGS else torch.float32


@lru_cache(1)
def _code():
    if not FLAGS & {"avx512_bf16", "avx2"}:
        return None
    from torch.utils.cpp_extension import load
    return load("vl2_kernels", [str(Path(__file__).with_suffix(".cpp"))],
                extra_cflags=["-O3", "-march=native", "-ffast-math"], verbose=False)


def there() -> bool:
    """Whether this CPU can run them; training/fast.py does without, slower."""
    return _code() is not None


class AddNorm(torch.autograd.Function):
    """x + y (y may be empty), and its RMS norm."""

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, weight: Tensor, eps: float):
        total, normed, r = _code().add_norm(x, y, weight, eps)
        ctx.save_for_backward(total, r, weight)
        ctx.plus = y.numel() > 0
        ctx.set_materialize_grads(False)
        return total if ctx.plus else x.view_as(x), normed

    @staticmethod
    def backward(ctx, g_total: Tensor | None, g_normed: Tensor):
        total, r, weight = ctx.saved_tensors
        none = g_normed.new_empty(0)
        dx, dw = _code().add_norm_back(none if g_total is None else g_total.contiguous(), g_normed.contiguous(), total, r, weight)
        return dx, dx if ctx.plus else None, dw, None


class Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        return _code().swiglu(h)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return _code().swiglu_back(g.contiguous(), *ctx.saved_tensors)


class Gelu(torch.autograd.Function):
    """The tanh form."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        return _code().gelu(x)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return _code().gelu_back(g.contiguous(), *ctx.saved_tensors)


class LookUp(torch.autograd.Function):
    """Rows of a float32 table in DTYPE."""

    @staticmethod
    def forward(ctx, table: Tensor, source: Tensor) -> Tensor:
        ctx.save_for_backward(source)
        ctx.rows = len(table)
        return _code().look_up(table.contiguous(), source)

    @staticmethod
    def backward(ctx, g: Tensor):
        return _code().look_up_back(g.contiguous(), ctx.saved_tensors[0], ctx.rows), None


class Experts(torch.autograd.Function):
    """add + every token through its chosen experts: [M,D], weights and numbers [M,k], [E,2I,D], [E,D,I]."""

    @staticmethod
    def forward(ctx, x, weight, index, up, down, add):
        code = _code()
        source, back, ends = code.route(index, len(up))
        ends = ends.tolist()
        spans = list(zip([0, *ends[:-1]], ends))
        xs = code.gather(x, source)
        h, y = x.new_empty(len(source), up.shape[1]), x.new_empty(len(source), x.shape[1])
        for i, (a, b) in enumerate(spans):
            torch.mm(xs[a:b], up[i].t(), out=h[a:b])
        act = code.swiglu(h)
        for i, (a, b) in enumerate(spans):
            torch.mm(act[a:b], down[i].t(), out=y[a:b])
        ctx.save_for_backward(xs, h, act, y, weight, back, up, down)
        ctx.spans = spans
        return code.combine(y, back, weight.contiguous(), add)

    @staticmethod
    def backward(ctx, g):
        code, g = _code(), g.contiguous()
        xs, h, act, y, weight, back, up, down = ctx.saved_tensors
        dy, dweight = code.combine_back(g, y, back, weight.contiguous())
        dact, dup, ddown, dxs = torch.empty_like(act), torch.empty_like(up), torch.empty_like(down), torch.empty_like(xs)
        for i, (a, b) in enumerate(ctx.spans):
            torch.mm(dy[a:b], down[i], out=dact[a:b])
            torch.mm(dy[a:b].t(), act[a:b], out=ddown[i])
        dh = code.swiglu_back(dact, h)
        for i, (a, b) in enumerate(ctx.spans):
            torch.mm(dh[a:b], up[i], out=dxs[a:b])
            torch.mm(dh[a:b].t(), xs[a:b], out=dup[i])
        none = weight.new_empty(0)
        return code.combine(dxs, back, none, g.new_empty(0)), dweight, None, dup, ddown, g


class Attend(torch.autograd.Function):
    """Prefixes causally, turns over their prefix and themselves: q [M or answers,H*48], the shared rope part [M,16],
    keys and values [M,H*64] to [M or answers,H*32]. turn, near: cos and sin [.,8] of all places and of the answers."""

    @staticmethod
    def forward(ctx, q, k_rope, wide, plan, turn, near, heads):
        code, last = _code(), near is not None
        cos, sin = turn
        cq, sq = near if last else turn
        b, p, scale = plan.pictures, plan.prefix, 48**-0.5
        out = q.new_empty(len(q), heads * 32)
        pk, pv = code.heads_kv(wide, k_rope, cos, sin, 0, b, p, heads)
        none, at_q, at_k, kept = q.new_empty(0), 0, b * p, []
        if not last:
            pq = code.heads_q(q, cos, sin, 0, b, p, heads, scale)
            s = torch.bmm(pq, pk.transpose(1, 2))
            code.soften_prefix(s)
            code.heads_out(torch.bmm(s, pv), none, out, 0, b, p, heads)
            kept.append((pq, s))
            at_q = b * p
        for g in plan.groups:
            n, length, a = g.n, g.length, g.answers if last else g.length
            tq = code.heads_q(q, cq, sq, at_q, b, n * a, heads, scale)
            tk, tv = (t.view(b * heads * n, length, -1) for t in code.heads_kv(wide, k_rope, cos, sin, at_k, b, n * length, heads))
            far = torch.bmm(tq, pk.transpose(1, 2))
            own = torch.bmm(tq.view(-1, a, 48), tk.transpose(1, 2))
            code.soften_turns(far, own.view(b * heads, n, a, length), g.first, heads)
            code.heads_out(torch.bmm(far, pv), torch.bmm(own, tv), out, at_q, b, n * a, heads)
            kept.append((tq, tk, tv, far, own))
            at_q, at_k = at_q + b * n * a, at_k + b * n * length
        ctx.kept, ctx.rest = kept, (pk, pv, plan, turn, cq, sq, heads, last, q.shape, wide.shape, k_rope.shape)
        return out

    @staticmethod
    def backward(ctx, grad):
        code, grad = _code(), grad.contiguous()
        pk, pv, plan, (cos, sin), cq, sq, heads, last, q_shape, wide_shape, rope_shape = ctx.rest
        b, p, scale = plan.pictures, plan.prefix, 48**-0.5
        dq, dwide, drope = grad.new_empty(q_shape), grad.new_empty(wide_shape), grad.new_empty(rope_shape)
        kept, none, at_q, at_k = list(ctx.kept), grad.new_empty(0), 0, b * p
        ctx.kept = None
        dpk, dpv = torch.zeros_like(pk), torch.zeros_like(pv)
        if not last:
            pq, s = kept.pop(0)
            go = code.heads_out_back(grad, 0, b, p, heads)
            dpv.baddbmm_(s.transpose(1, 2), go)
            ds = torch.bmm(go, pv.transpose(1, 2))
            code.soften_back(s, ds, none, none)
            code.heads_q_back(torch.bmm(ds, pk), dq, cos, sin, 0, b, p, heads, scale)
            dpk.baddbmm_(ds.transpose(1, 2), pq)
            at_q = b * p
        for g, (tq, tk, tv, far, own) in zip(plan.groups, kept):
            n, length, a = g.n, g.length, g.answers if last else g.length
            go = code.heads_out_back(grad, at_q, b, n * a, heads)
            one = go.view(-1, a, 32)
            dpv.baddbmm_(far.transpose(1, 2), go)
            dtv = torch.bmm(own.transpose(1, 2), one)
            dfar, down = torch.bmm(go, pv.transpose(1, 2)), torch.bmm(one, tv.transpose(1, 2))
            code.soften_back(far, dfar, own, down)
            dtq = torch.bmm(dfar, pk).add_(torch.bmm(down, tk).view_as(tq))
            dpk.baddbmm_(dfar.transpose(1, 2), tq)
            dtk = torch.bmm(down.transpose(1, 2), tq.view(-1, a, 48))
            code.heads_q_back(dtq, dq, cq, sq, at_q, b, n * a, heads, scale)
            code.heads_kv_back(dtk, dtv, dwide, drope, cos, sin, at_k, b, n * length, heads)
            at_q, at_k = at_q + b * n * a, at_k + b * n * length
        code.heads_kv_back(dpk, dpv, dwide, drope, cos, sin, 0, b, p, heads)
        return dq, drope, dwide, None, None, None, None


def dtype_on(device: str) -> torch.dtype:
    """What products are computed in: DTYPE on a CPU, bfloat16 elsewhere."""
    return DTYPE if device == "cpu" else torch.bfloat16


def autocast(device: str) -> torch.autocast:
    return torch.autocast(device, torch.bfloat16, enabled=dtype_on(device) == torch.bfloat16)
