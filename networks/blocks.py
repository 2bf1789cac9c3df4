"""The layers that the UNet and ControlNet are built of, their attributes named as in published checkpoints.

Architecture: Rombach et al. 2021 (arXiv 2112.10752), section 3.3, in the form that Stable Diffusion published.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .convolutions import Convolution, doubled
from .reuse import Shared

__all__ = ["timestep_embedding"]


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """Sinusoids (b, width) of timesteps (b,), cosines first; frequencies from 1 down to 1/10000."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=t.device, dtype=torch.float32) * (-math.log(10000) / half))
    angle = t.float()[:, None] * frequencies
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class ResBlock(nn.Module):
    """(b, c_in, h, w) and a time embedding (b, e) -> (b, c_out, h, w)."""

    def __init__(self, c_in: int, c_out: int, embed: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(32, c_in), nn.SiLU(inplace=True), Convolution(c_in, c_out))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embed, c_out))
        # The third entry was dropout: kept as a place, since the published keys count it.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, c_out), nn.SiLU(inplace=True), nn.Identity(), Convolution(c_out, c_out)
        )
        self.skip_connection = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, emb: Shared) -> Tensor:
        h = self.in_layers(x) + emb.of(self, self.emb_layers)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class CrossAttention(nn.Module):
    """Attention of x (b, n, width) over a context (b, m, context_width)."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context_width, width, bias=False)
        self.to_v = nn.Linear(context_width, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (b, heads, m, width / heads) of a context, as the product reads them fastest."""
        return self._split(self.to_k(context)).contiguous(), self._split(self.to_v(context)).contiguous()

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (h d) -> b h n d", h=self.heads)

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
        out = F.scaled_dot_product_attention(self._split(self.to_q(x)), *keys_values)
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))


class GEGLU(nn.Module):
    """Gated linear unit with GELU (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """(b, n, width) -> (b, n, width) through four times the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the context, feed-forward; each normalised before and added after."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(width, width, heads)
        self.attn2 = CrossAttention(width, context, heads)
        self.ff = FeedForward(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, context: Shared) -> Tensor:
        n = self.norm1(x)
        x = x + self.attn1(n, self.attn1.keys_values(n))
        x = x + self.attn2(self.norm2(x), context.of(self.attn2, self.attn2.keys_values))
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """`depth` transformer blocks over the pixels of (b, c, h, w), attending to a context (b, n, context).

    `linear`: the projections in and out are linear layers (Stable Diffusion 2.x), not 1 x 1 convolutions.
    """

    def __init__(self, channels: int, context: int, heads: int, depth: int, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in, self.proj_out = (
            nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1) for _ in range(2)
        )
        self.transformer_blocks = nn.ModuleList(TransformerBlock(channels, context, heads) for _ in range(depth))

    def forward(self, x: Tensor, context: Shared) -> Tensor:
        h = self.norm(x)
        if not self.linear:
            h = self.proj_in(h)
        h = rearrange(h, "b c h w -> b (h w) c")
        if self.linear:
            h = self.proj_in(h)
        for block in self.transformer_blocks:
            h = block(h, context)
        if self.linear:
            h = self.proj_out(h)
        h = rearrange(h, "b (h w) c -> b c h w", h=x.shape[2])
        return x + (h if self.linear else self.proj_out(h))


class Downsample(nn.Module):
    """Halve height and width (rounded up)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Grow to a given height and width, which an odd size on the way down makes less than double."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Convolution(channels, channels)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        if tuple(size) == (2 * x.shape[2], 2 * x.shape[3]):
            return doubled(x, self.conv)
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


class Stage(nn.Sequential):
    """Some layers in a row, each given what it takes."""

    def forward(self, x: Tensor, emb: Shared, context: Shared, size: torch.Size | None = None) -> Tensor:
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            elif isinstance(layer, Upsample):
                x = layer(x, size)
            else:
                x = layer(x)
        return x
