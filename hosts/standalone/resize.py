"""Resizing by ComfyUI's methods, to the same numbers as ComfyUI.

Latents and images are (b, c, h, w) here.
"""

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor

from ..bounds import check_size

__all__ = ["METHODS", "PICTURE_METHODS", "resize", "soft_ends"]

SHARED_METHODS = ["nearest-exact", "bilinear", "area", "bicubic"]
METHODS = [*SHARED_METHODS, "bislerp"]
"""Ways to resize a latent."""
PICTURE_METHODS = [*SHARED_METHODS, "lanczos"]
"""Ways to resize an image."""


def resize(x: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """x (b, c, h, w) at another size, by one of `METHODS` or `PICTURE_METHODS`.

    `crop` "center" first cuts x to the new proportions. Raises ValueError for a size below 1, or too large.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a size of {width!r} x {height!r}, expected at least 1 x 1")
    check_size("an image or latent", *x.shape[:2], height, width)
    if crop == "center":
        x = _to_proportions(x, width / height)
    if method == "bislerp":
        return _bislerp(_bislerp(x.float(), width, -1), height, -2).to(x.dtype)
    if method == "lanczos":
        return _lanczos(x, width, height)
    return F.interpolate(x, size=(height, width), mode=method)


def soft_ends(length: int, soft: int, start: bool, end: bool) -> Tensor:
    """Weights (length) that rise over `soft` entries from the start, if wanted, and fall over as many to the end."""
    rise = ((torch.arange(length) + 1) / soft).clamp(max=1) if soft else torch.ones(length)
    ones = torch.ones(length)
    return (rise if start else ones) * (rise.flip(0) if end else ones)


def _to_proportions(x: Tensor, wanted: float) -> Tensor:
    """The middle of x, with a width of `wanted` times its height; cut in whole pixels, evenly on both sides."""
    height, width = x.shape[-2:]
    proportions = width / height
    across = round((width - width * (wanted / proportions)) / 2) if proportions > wanted else 0
    down = round((height - height * (proportions / wanted)) / 2) if proportions < wanted else 0
    return x[..., down : height - down, across : width - across]


def _bislerp(x: Tensor, size: int, dim: int) -> Tensor:
    """x resized along one dimension, between pixels on the arc between their channel vectors."""
    old = x.shape[dim]
    places = torch.arange(old, dtype=torch.float32, device=x.device)
    lower, upper = (_line(row, size) for row in (places, (places + 1).clamp(max=old - 1)))
    shape = [-1 if d == dim % x.ndim else 1 for d in range(x.ndim)]
    weight = (lower - lower.floor()).reshape(shape)
    return _arc(x.index_select(dim, lower.long()), x.index_select(dim, upper.long()), weight)


def _line(values: Tensor, size: int) -> Tensor:
    return F.interpolate(values[None, None, None], size=(1, size), mode="bilinear").flatten()


def _arc(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Slerp of channel vectors with the lengths mixed linearly; a itself where both point the same way."""
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    unit_a = torch.where(length_a == 0, 0, a / length_a)
    unit_b = torch.where(length_b == 0, 0, b / length_b)
    cosine = (unit_a * unit_b).sum(dim=1, keepdim=True)
    angle = cosine.acos()
    mixed = (((1 - weight) * angle).sin() * unit_a + (weight * angle).sin() * unit_b) / angle.sin()
    mixed = mixed * (length_a * (1 - weight) + length_b * weight)
    mixed = torch.where(cosine > 1 - 1e-5, a, mixed)
    return torch.where(cosine < 1e-5 - 1, a * (1 - weight) + b * weight, mixed)


def _lanczos(x: Tensor, width: int, height: int) -> Tensor:
    """By pillow, in bytes."""
    pictures = rearrange((x * 255).clamp(0, 255).cpu().to(torch.uint8), "b c h w -> b h w c").numpy()
    resized = [Image.fromarray(each).resize((width, height), Image.Resampling.LANCZOS) for each in pictures]
    pixels = torch.from_numpy(np.stack(resized).astype(np.float32) / 255)
    return rearrange(pixels, "b h w c -> b c h w").to(x)
