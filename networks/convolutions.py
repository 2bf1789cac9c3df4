"""Convolutions for which there is a faster way than torch's, or a more exact one at no cost."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

__all__ = ["Convolution", "FirstConvolution", "LastConvolution", "doubled"]

LEAST = 1024
"""Pixels, of all maps of a batch, from which on adding up the weights takes less time than it saves."""
HALVES = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]])
"""For a doubled pixel's second half, then its first: which of a kernel's three rows meet on which of two pixels."""
SUMS = (HALVES[:, None, :, None, :, None] * HALVES[None, :, None, :, None]).reshape(16, 9)
"""The same of a kernel's nine weights, for each quarter and each of its 2 x 2 pixels."""


class Convolution(nn.Conv2d):
    """A 3 x 3 convolution (b, c_in, h, w) -> (b, c_out, h, w); on a CPU, of small maps as one matrix product.

    Torch's own brings the weights into another order at every call. Where there are many more of them than of pixels,
    that takes longer than the arithmetic does: at 8 x 8 and 4 x 4, twice to three times as long as all of this.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        in_order = self.weight.is_contiguous(memory_format=torch.channels_last)
        if not in_order or x.device.type != "cpu" or 4 * b * h * w > self.out_channels:
            return super().forward(x)
        padded = F.pad(rearrange(x, "b c h w -> b h w c"), (0, 0, 1, 1, 1, 1))
        windows = rearrange(padded.unfold(1, 3, 1).unfold(2, 3, 1), "b h w c i j -> (b h w) (i j c)")
        out = F.linear(windows, rearrange(self.weight, "o c i j -> o (i j c)"), self.bias)
        return rearrange(out, "(b h w) o -> b o h w", b=b, h=h)


class LastConvolution(nn.Conv2d):
    """Computes in float32, and gives that, where its weights' dtype has fewer digits.

    At a network's end, where few channels go out, this takes next to no time, and a latent or picture isn't rounded.
    """

    def forward(self, x: Tensor) -> Tensor:
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        weight, bias = self.weight.to(dtype), self.bias.to(dtype)
        return F.conv2d(x.to(dtype), weight, bias, self.stride, self.padding)


class FirstConvolution(LastConvolution):
    """The same at a network's beginning; it gives the dtype of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to(self.weight.dtype)


def doubled(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """(b, c, h, w) -> (b, c_out, 2 h, 2 w): each pixel four times, through a 3 x 3 convolution with padding 1.

    At any place only 2 x 2 of the pixels under the kernel differ. On a CPU the weights that meet on one of them are
    added up first: four kernels of 2 x 2, one for each quarter of a doubled pixel, whose results are interleaved
    (Shi et al. 2016, arXiv 1609.07009, section 2).
    """
    device, pixels = x.device.type, len(x) * x.shape[2] * x.shape[3]
    if device != "meta" and (device != "cpu" or pixels < LEAST):  # without values, it is asked for once and for all
        return convolution(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    weight = convolution.weight
    order = torch.channels_last if weight.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    sums = F.linear(weight.flatten(2), SUMS.to(weight))
    kernels = rearrange(sums, "o c (p q a b) -> (o p q) c a b", p=2, q=2, a=2).contiguous(memory_format=order)
    made = F.pixel_shuffle(F.conv2d(x, kernels, convolution.bias.repeat_interleave(4), padding=1), 2)
    return made[:, :, 1:-1, 1:-1].contiguous(memory_format=order)
