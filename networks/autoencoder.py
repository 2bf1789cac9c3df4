"""The KL autoencoder between pictures and latents, its attributes named as in published checkpoints.

Architecture: Rombach et al. 2021 (arXiv 2112.10752), appendix G; a factor of two per level but the first.
"""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .convolutions import FirstConvolution, LastConvolution, doubled
from .device import available, check_fits
from .tiling import in_tiles

__all__ = ["Autoencoder", "AutoencoderConfig"]

log = logging.getLogger(__name__)

COPIES = 5
"""Pictures of the finest level's width that decoding holds at once."""
TILES, OVERLAP = (128, 96, 64, 48, 32), 4
"""Sides of tiles in latents, largest first, and which part of a side overlaps."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of an autoencoder; the defaults are Stable Diffusion's."""

    channels: tuple[int, ...] = (128, 256, 512, 512)
    blocks: int = 2
    latent_channels: int = 4
    embed_channels: int = 4
    image_channels: int = 3

    @property
    def factor(self) -> int:
        """Pixels per latent along each side."""
        return 2 ** (len(self.channels) - 1)


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation as every published block has it."""
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """(b, c_in, h, w) -> (b, c_out, h, w)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = norm(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        if c_in != c_out:
            self.nin_shortcut = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x), inplace=True))
        h = self.conv2(F.silu(self.norm2(h), inplace=True))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    """Self-attention of one head over all pixels; (b, c, h, w) -> (b, c, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm(x)
        # Torch multiplies all pixels with all at once where the strides are others: slower, and in much more memory.
        q, k, v = (rearrange(f(n), "b c h w -> b 1 (h w) c").contiguous() for f in (self.q, self.k, self.v))
        out = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(rearrange(out, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class Downsample(nn.Module):
    """Halve height and width, padding on the right and below as the published encoder does."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return doubled(x, self.conv)


def middle(channels: int) -> nn.Module:
    """The two blocks and the attention between encoder and decoder levels."""
    mid = nn.Module()
    mid.block_1, mid.attn_1 = ResnetBlock(channels, channels), AttnBlock(channels)
    mid.block_2 = ResnetBlock(channels, channels)
    return mid


def through(mid: nn.Module, h: Tensor) -> Tensor:
    """Run `middle`."""
    return mid.block_2(mid.attn_1(mid.block_1(h)))


class Encoder(nn.Module):
    """Pictures (b, 3, h, w) in [-1, 1] to moments before the quant convolution."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.channels
        self.conv_in = FirstConvolution(config.image_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for c_in, c_out in zip((widths[0], *widths), widths, strict=False):
            level = nn.Module()
            level.block = nn.ModuleList(ResnetBlock(c_in if j == 0 else c_out, c_out) for j in range(config.blocks))
            if len(self.down) < len(widths) - 1:
                level.downsample = Downsample(c_out)
            self.down.append(level)
        self.mid = middle(widths[-1])
        self.norm_out = norm(widths[-1])
        self.conv_out = LastConvolution(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            for block in level.block:
                h = block(h)
            if hasattr(level, "downsample"):
                h = level.downsample(h)
        return self.conv_out(F.silu(self.norm_out(through(self.mid, h)), inplace=True))


class Decoder(nn.Module):
    """Latents after the post-quant convolution to pictures (b, 3, h, w), about [-1, 1]."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.channels
        self.conv_in = FirstConvolution(config.latent_channels, widths[-1], 3, padding=1)
        self.mid = middle(widths[-1])
        self.up = nn.ModuleList()
        for i, c_out in enumerate(widths):  # stored from the finest level up, run the other way round
            c_in = widths[min(i + 1, len(widths) - 1)]
            level = nn.Module()
            level.block = nn.ModuleList(ResnetBlock(c_in if j == 0 else c_out, c_out) for j in range(config.blocks + 1))
            if i > 0:
                level.upsample = Upsample(c_out)
            self.up.append(level)
        self.norm_out = norm(widths[0])
        self.conv_out = LastConvolution(widths[0], config.image_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = through(self.mid, self.conv_in(z))
        for level in reversed(self.up):
            for block in level.block:
                h = block(h)
            if hasattr(level, "upsample"):
                h = level.upsample(h)
        return self.conv_out(F.silu(self.norm_out(h), inplace=True))


class Autoencoder(nn.Module):
    """Pictures (b, 3, h, w) in [-1, 1] to unscaled latents (b, 4, h/8, w/8) and back; h, w multiples of the factor.

    `encode` and `decode` are the network itself; `latent` and `picture` take any dtype and device, work in
    tiles where the whole would not fit into memory, and in float32 where the weights' dtype overflows.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv = LastConvolution(2 * config.latent_channels, 2 * config.embed_channels, 1)
        self.post_quant_conv = LastConvolution(config.embed_channels, config.latent_channels, 1)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents, the latter clamped to [-30, 20] as published."""
        mean, log_variance = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return mean, log_variance.clamp(-30.0, 20.0)

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The latents' mean, or with standard normal `noise` of the latents' shape a sample of them."""
        mean, log_variance = self.moments(x)
        return mean if noise is None else mean + torch.exp(0.5 * log_variance) * noise

    def decode(self, z: Tensor) -> Tensor:
        """The picture of unscaled latents; its range is only about [-1, 1]."""
        return self.decoder(self.post_quant_conv(z))

    @torch.no_grad()
    def latent(self, x: Tensor, tile: int | None = None) -> Tensor:
        """Unscaled latents of pictures (b, 3, h, w) in [-1, 1]: the mean, without noise, of x's type.

        `tile` is the side of the tiles in latents, 0 for none; None decides by the memory that is free. Raises
        ValueError where x or the result isn't finite.
        """
        return self._finite(lambda network: network._encoded(x, tile), x, "encoding an image").to(x.dtype)

    def _encoded(self, x: Tensor, tile: int | None) -> Tensor:
        weight, factor = self.quant_conv.weight, self.config.factor
        tile = self._tile(len(x), x.shape[2] // factor, x.shape[3] // factor) if tile is None else tile
        pictures = x.to(weight.device)
        if not tile:
            return self.encode(pictures)
        side, overlap = tile * factor, tile // OVERLAP * factor
        return in_tiles(self.encode, pictures, side, overlap, Fraction(1, factor), align=factor)

    @torch.no_grad()
    def picture(self, z: Tensor, tile: int | None = None) -> Tensor:
        """Pictures (b, 3, h, w) of unscaled latents, clamped to [-1, 1], of z's type; `tile` as for `latent`."""
        decoded = self._finite(lambda network: network._decoded(z, tile), z, "decoding a latent")
        return decoded.clamp(-1, 1).to(z.dtype)

    def _decoded(self, z: Tensor, tile: int | None) -> Tensor:
        weight = self.quant_conv.weight
        tile = self._tile(len(z), *z.shape[2:]) if tile is None else tile
        latents = z.to(weight.device)
        if not tile:
            return self.decode(latents)
        return in_tiles(self.decode, latents, tile, tile // OVERLAP, self.config.factor)

    def _finite(self, code: Callable[["Autoencoder"], Tensor], given: Tensor, what: str) -> Tensor:
        """What `code` makes of this network, or of a copy in float32 where it overflows; ValueError if that does too.

        Looked at before anything is clamped: infinity would become plain white or black.
        """
        if not given.isfinite().all():
            raise ValueError(f"{what}: the input has NaN or infinity, expected finite numbers")
        result, dtype = code(self), str(self.quant_conv.weight.dtype).removeprefix("torch.")
        finite = bool(result.isfinite().all())
        if not finite and dtype != "float32":
            log.warning("%s: the autoencoder overflowed in %s, trying again in float32", what, dtype)
            result, dtype = code(copy.deepcopy(self).float()), "float32"
            finite = bool(result.isfinite().all())
        if not finite:
            raise ValueError(f"{what}: the autoencoder gave NaN or infinity in {dtype}, expected finite numbers")
        return result

    def memory(self, batch: int, height: int, width: int) -> int:
        """About how many bytes coding takes besides the weights, for latents of so many rows and columns.

        The finest level counts: some copies of its widest picture at once.
        """
        widest = self.config.channels[min(1, len(self.config.channels) - 1)]
        pixels = batch * height * width * self.config.factor**2
        return COPIES * widest * pixels * self.quant_conv.weight.element_size()

    def _tile(self, batch: int, height: int, width: int) -> int:
        """The side of tiles that fit into memory, 0 for the whole; raises NotEnoughMemory where none do."""
        device = self.quant_conv.weight.device
        free = available(device)
        if free is None or self.memory(batch, height, width) <= free:
            return 0
        for tile in TILES:
            if tile < max(height, width) and self.memory(batch, tile, tile) <= free:
                return tile
        check_fits("a tile of the autoencoder", self.memory(batch, TILES[-1], TILES[-1]), device, "use a smaller batch")
        return 0
