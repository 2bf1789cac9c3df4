"""The UNet with spatial transformers, its attributes named as in published checkpoints (`model.diffusion_model.*`).

Architecture: Rombach et al. 2021 (arXiv 2112.10752), section 3.3, in the form that Stable Diffusion published.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

__all__ = ["UNet", "UNetConfig", "timestep_embedding"]


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of a UNet; the defaults are Stable Diffusion 1.x.

    `attention[i]` says whether level i has transformers, `heads` is their number of heads; `linear_projection`
    is true where proj_in and proj_out are linear layers (Stable Diffusion 2.x) rather than 1 x 1 convolutions.
    """

    in_channels: int = 4
    out_channels: int = 4
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    blocks: int = 2
    attention: tuple[bool, ...] = (True, True, True, False)
    depth: int = 1
    context: int = 768
    heads: int = 8
    linear_projection: bool = False


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
        self.in_layers = nn.Sequential(nn.GroupNorm(32, c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embed, c_out))
        # The third entry was dropout: kept as a place, since the published keys count it.
        convolution = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.out_layers = nn.Sequential(nn.GroupNorm(32, c_out), nn.SiLU(), nn.Identity(), convolution)
        self.skip_connection = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
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

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = (rearrange(a, "b n (h d) -> b h n d", h=self.heads) for a in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v)
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

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        n = self.norm1(x)
        x = x + self.attn1(n, n)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of (b, c, h, w), attending to a context (b, n, context)."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.linear = config.linear_projection
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in, self.proj_out = (
            nn.Linear(channels, channels) if self.linear else nn.Conv2d(channels, channels, 1) for _ in range(2)
        )
        blocks = (TransformerBlock(channels, config.context, config.heads) for _ in range(config.depth))
        self.transformer_blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
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
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


class Stage(nn.Sequential):
    """Some layers in a row, each given what it takes."""

    def forward(self, x: Tensor, emb: Tensor, context: Tensor, size: torch.Size | None = None) -> Tensor:
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


class UNet(nn.Module):
    """Predicts from noisy latents x (b, c, h, w), timesteps t (b,) and text (b, n, context) a tensor like x."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        embed = 4 * widths[0]
        self.time_embed = nn.Sequential(nn.Linear(widths[0], embed), nn.SiLU(), nn.Linear(embed, embed))
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(config.in_channels, widths[0], 3, padding=1))])
        kept = [widths[0]]
        for level, width in enumerate(widths):
            for _ in range(config.blocks):
                self.input_blocks.append(self._stage(kept[-1], width, embed, level))
                kept.append(width)
            if level < len(widths) - 1:
                self.input_blocks.append(Stage(Downsample(width)))
                kept.append(width)
        self.middle_block = Stage(
            ResBlock(width, width, embed), SpatialTransformer(width, config), ResBlock(width, width, embed)
        )
        self.output_blocks = nn.ModuleList()
        for level, out in reversed(list(enumerate(widths))):
            for block in range(config.blocks + 1):
                stage = self._stage(width + kept.pop(), out, embed, level)
                if level and block == config.blocks:
                    stage.append(Upsample(out))
                self.output_blocks.append(stage)
                width = out
        out_convolution = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)
        self.out = nn.Sequential(nn.GroupNorm(32, widths[0]), nn.SiLU(), out_convolution)

    def _stage(self, c_in: int, c_out: int, embed: int, level: int) -> Stage:
        layers: list[nn.Module] = [ResBlock(c_in, c_out, embed)]
        if self.config.attention[level]:
            layers.append(SpatialTransformer(c_out, self.config))
        return Stage(*layers)

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The prediction, like x."""
        emb = self.time_embed(timestep_embedding(t, self.config.channels[0]).to(x.dtype))
        skips: list[Tensor] = []
        for stage in self.input_blocks:
            x = stage(x, emb, context)
            skips.append(x)
        x = self.middle_block(x, emb, context)
        for stage in self.output_blocks:
            x = torch.cat([x, skips.pop()], dim=1)
            x = stage(x, emb, context, skips[-1].shape[2:] if skips else None)
        return self.out(x)
