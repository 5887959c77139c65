#!/usr/bin/env python3
"""The same shapes in eager PyTorch, made-up weights: the yardstick beside `vl2 bench --dummy tiny`.

Written as the published code runs: nn.Linear, scaled_dot_product_attention, one pass per expert over
its tokens, a KV cache that grows by concatenation. Stages: one view through the vision tower, prefill
of 512 tokens of tiny, decoding of tiny. Prints best and median; --json FILE keeps them.

    pip install torch
    bench/torch_baseline.py --dtype bfloat16 --threads 2
"""
import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

VISION = dict(width=1152, layers=27, heads=16, hidden=4304, patch=14, side=384)
TINY = dict(width=1280, layers=12, heads=10, dense=6848, experts=64, chosen=6, shared=2, expert=896,
            vocab=129280)


class VisionBlock(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        n, t, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, width)
        x = x + self.proj(mixed)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class Vision(nn.Module):
    def __init__(self, width, layers, heads, hidden, patch, side):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.position = nn.Parameter(torch.empty(1, (side // patch) ** 2, width))
        self.blocks = nn.ModuleList(VisionBlock(width, heads, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, views):
        x = self.patches(views).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * wide.to(x.dtype)


class MLP(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.gate, self.up = nn.Linear(width, hidden, False), nn.Linear(width, hidden, False)
        self.down = nn.Linear(hidden, width, False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class MoE(nn.Module):
    def __init__(self, width, experts, chosen, shared, expert):
        super().__init__()
        self.chosen = chosen
        self.router = nn.Linear(width, experts, False)
        self.experts = nn.ModuleList(MLP(width, expert) for _ in range(experts))
        self.shared = MLP(width, shared * expert)

    def forward(self, x):
        scores = F.linear(x.float(), self.router.weight.float()).softmax(-1)
        weights, chosen = scores.topk(self.chosen)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows, slot = torch.where(chosen == i)
            if rows.numel():
                out.index_add_(0, rows, expert(x[rows]) * weights[rows, slot, None].to(x.dtype))
        return out + self.shared(x)


class Layer(nn.Module):
    def __init__(self, width, heads, mlp):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2, self.mlp = RMSNorm(width), RMSNorm(width), mlp
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, False) for _ in range(4))

    def rotate(self, x, cos, sin):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat((-b, a), -1) * sin

    def forward(self, x, cache, cos, sin):
        t, width = x.shape
        h = self.norm1(x)
        q, k, v = (f(h).view(t, self.heads, -1).transpose(0, 1) for f in (self.q, self.k, self.v))
        q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        if cache:
            k, v = torch.cat((cache[0], k), 1), torch.cat((cache[1], v), 1)
        cache[:] = [k, v]
        mixed = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=t > 1)[0]
        x = x + self.o(mixed.transpose(0, 1).reshape(t, width))
        return x + self.mlp(self.norm2(x))


class Language(nn.Module):
    def __init__(self, width, layers, heads, dense, experts, chosen, shared, expert, vocab):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        mlps = [MLP(width, dense)]
        mlps += [MoE(width, experts, chosen, shared, expert) for _ in range(layers - 1)]
        self.layers = nn.ModuleList(Layer(width, heads, mlp) for mlp in mlps)
        self.norm, self.head = RMSNorm(width), nn.Linear(width, vocab, False)
        self.dim = width // heads

    def forward(self, ids, caches):
        first = caches[0][0].shape[1] if caches[0] else 0
        x = self.embed(ids)
        angle = torch.arange(first, first + len(ids))[:, None] * 10000.0 ** (
            -torch.arange(0, self.dim, 2) / self.dim)
        angle = torch.cat((angle, angle), -1)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        for layer, cache in zip(self.layers, caches):
            x = layer(x, cache, cos, sin)
        return self.head(self.norm(x[-1:]))


def make(module, sizes, dtype):
    """The module with random weights, never in another type than `dtype`."""
    with torch.device("meta"):
        built = module(**sizes)
    built = built.to(dtype).to_empty(device="cpu").eval()
    for parameter in built.parameters():
        parameter.uniform_(-0.03, 0.03)
    return built


def timed(run, repeat):
    seconds = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:]), statistics.median(seconds[1:])  # the first one warms up


def vision_stage(args, dtype):
    tower = make(Vision, VISION, dtype)
    views = torch.randn(1, 3, VISION["side"], VISION["side"]).to(dtype)
    best, median = timed(lambda: tower(views), args.repeat)
    return [("vision, one view", "s", best, median)]


def language_stages(args, dtype):
    model = make(Language, dict(TINY, layers=args.layers), dtype)
    ids = torch.randint(0, TINY["vocab"], (args.prefill,))

    def empty():
        return [[] for _ in model.layers]

    best, median = timed(lambda: model(ids, empty()), args.repeat)
    out = [(f"prefill {args.prefill}", "tokens/s", args.prefill / best, args.prefill / median)]
    caches = empty()
    model(ids, caches)

    def step():
        for _ in range(args.decode):
            model(torch.randint(0, TINY["vocab"], (1,)), caches)

    best, median = timed(step, args.repeat)
    out.append((f"decode at {args.prefill}", "tokens/s", args.decode / best, args.decode / median))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's own choice")
    parser.add_argument("--stages", choices=("all", "vision", "language"), default="all")
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=8, help="tokens of one timed run")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--layers", type=int, default=TINY["layers"], help="fewer fit less memory")
    parser.add_argument("--json")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype)
    results = []
    with torch.inference_mode():
        if args.stages != "language":
            results += vision_stage(args, dtype)
        if args.stages != "vision":
            results += language_stages(args, dtype)
    print(f"PyTorch {torch.__version__}, {args.dtype}, {torch.get_num_threads()} threads")
    for name, unit, best, median in results:
        print(f"{name:20} best {best:8.2f}  median {median:8.2f} {unit}")
    if args.json:
        rows = [dict(stage=n, unit=u, best=b, median=m) for n, u, b, m in results]
        with open(args.json, "w") as out:
            json.dump(dict(torch=torch.__version__, dtype=args.dtype,
                           threads=torch.get_num_threads(), results=rows), out, indent=2)
            out.write("\n")


if __name__ == "__main__":
    main()
