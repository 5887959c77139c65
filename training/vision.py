"""Views to image rows: the vision tower, the projector and the mosaic (docs/MODEL.md §5 and §6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import kernels
from .config import Projector, Vision


class Attention(nn.Module):
    def __init__(self, c: Vision):
        super().__init__()
        self.heads = c.heads
        self.qkv = nn.Linear(c.width, 3 * c.width)
        self.proj = nn.Linear(c.width, c.width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if self.training and x.is_cpu:                                      # where the fused one is slow backwards
            p = ((q * q.shape[-1]**-0.5) @ k.transpose(-1, -2)).softmax(-1)
            out = p.to(v.dtype) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(n, t, d))


class Mlp(nn.Module):
    def __init__(self, c: Vision):
        super().__init__()
        self.fc1 = nn.Linear(c.width, int(c.width * c.mlp_ratio))
        self.fc2 = nn.Linear(int(c.width * c.mlp_ratio), c.width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc1(x)
        fast = y.is_cpu and y.dtype == kernels.DTYPE and self.training and kernels.there()
        return self.fc2(kernels.Gelu.apply(y) if fast else F.gelu(y, approximate="tanh"))


class Block(nn.Module):
    def __init__(self, c: Vision):
        super().__init__()
        self.norm1 = nn.LayerNorm(c.width, eps=1e-6)
        self.attn = Attention(c)
        self.norm2 = nn.LayerNorm(c.width, eps=1e-6)
        self.mlp = Mlp(c)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, c: Vision):
        super().__init__()
        self.proj = nn.Conv2d(3, c.width, c.patch_size, c.patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """[N,3,S,S] to [N,G*G,Dv]; a product is faster than a convolution, and the same."""
        n, _, s, _ = x.shape
        p = self.proj.kernel_size[0]
        g = s // p
        x = x[:, :, : g * p, : g * p].reshape(n, 3, g, p, g, p).permute(0, 2, 4, 1, 3, 5)
        return F.linear(x.reshape(n, g * g, -1), self.proj.weight.flatten(1), self.proj.bias)


class VisionTower(nn.Module):
    """[N,3,S,S] to [N,G*G,Dv]."""

    def __init__(self, c: Vision):
        super().__init__()
        self.patch_embed = PatchEmbed(c)
        self.pos_embed = nn.Parameter(torch.zeros(1, c.grid * c.grid, c.width))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = nn.Identity() if c.global_pool == "avg" else nn.LayerNorm(c.width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def cells(x: Tensor, r: int) -> Tensor:
    """[N,G,G,C] to [N,ceil(G/r)^2,C*r*r]: padded with zeros right and below, channel outermost in a cell."""
    n, g, _, c = x.shape
    extra = -g % r
    x = F.pad(x, (0, 0, 0, extra, 0, extra))
    m = (g + extra) // r
    return x.view(n, m, r, m, r, c).permute(0, 1, 3, 5, 2, 4).reshape(n, m * m, c * r * r)


class Projector(nn.Module):
    """[N,G*G,Dv] to [N,g*g,D]."""

    def __init__(self, c: Projector):
        super().__init__()
        self.config = c
        if c.token_pooling:
            self.token_pooling_layer = nn.Linear(4 * c.input_dim, c.input_dim)
        if c.projector_type == "identity":
            self.layers = nn.Identity()
        elif c.projector_type == "linear":
            self.layers = nn.Linear(c.input_dim, c.n_embed)
        else:
            self.layers = nn.Sequential(*self._stack(c))

    @staticmethod
    def _stack(c: Projector) -> list[nn.Module]:
        if c.projector_type == "mlp_gelu":
            sizes = [c.input_dim] + [c.n_embed] * c.depth
        else:
            inner = int(c.n_embed * c.mlp_ratio)
            sizes = [c.input_dim * c.downsample_ratio**2] + [inner] * (max(c.depth, 2) - 1) + [c.n_embed]
        layers: list[nn.Module] = []
        for rows_in, rows_out in zip(sizes, sizes[1:]):
            layers += [nn.Linear(rows_in, rows_out), nn.GELU()]
        return layers[:-1]

    def _pooled(self, x: Tensor) -> Tensor:
        n, g, _, c = x.shape
        x = x[:, : g // 2 * 2, : g // 2 * 2]
        x = x.reshape(n, g // 2, 2, g // 2, 2, c).permute(0, 1, 3, 5, 2, 4)
        return self.token_pooling_layer(x.reshape(n, (g // 2) ** 2, c * 4))

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        g = int(t**0.5)
        if self.config.token_pooling:
            x = self._pooled(x.view(n, g, g, c))
        if self.config.projector_type == "downsample_mlp_gelu":
            x = cells(x.view(n, g, g, c), self.config.downsample_ratio)
        return self.layers(x)


def mosaic(rows: Tensor, across: int, down: int, newline: Tensor, separator: Tensor, head: bool) -> Tensor:
    """One picture's rows [1+down*across,g*g,D] in the order of the sequence, with newlines and the separator."""
    d = rows.shape[-1]
    g = int(rows.shape[1] ** 0.5)
    globe = rows[0].view(g, g, d)
    local = rows[1:].view(down, across, g, g, d).permute(0, 2, 1, 3, 4).reshape(down * g, across * g, d)

    def lines(x: Tensor) -> Tensor:
        return torch.cat([x, newline.expand(len(x), 1, d)], 1).reshape(-1, d)

    parts = [lines(globe), separator[None], lines(local)]
    return torch.cat(parts if head else parts[::-1])
