"""Batches and masks brought to a latent: every rule there is, by name.

x_T, x0 and latents are one for all images or one each (`one_or_each`): anything else is an error, for which of them to
leave out can't be guessed. Masks, ControlNet hints and the texts of prompts with several entries go by ComfyUI's rule:
cut, or begun again from the first (`cycled`, `latent_mask`). What an inpainting model is shown is spread (`spread`), as
there. Inside ComfyUI its own code does the latter two; tests hold both hosts to the same result.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["cycled", "latent_mask", "one_or_each", "spread"]


def one_or_each(value: Tensor, shape: torch.Size, name: str) -> Tensor:
    """`value` over the batch of `shape`, if it holds one for all or one for each; ValueError, with `name`, else."""
    if value.shape[1:] != shape[1:] or value.shape[0] not in (1, shape[0]):
        came, expected = "x".join(map(str, value.shape)), "x".join(map(str, shape))
        raise ValueError(f"{name} has the shape {came}, expected {expected} like the latent")
    return value.expand(shape)


def cycled(x: Tensor, batch: int) -> Tensor:
    """x (b, ...) as a batch of another number: cut, or begun again from the first."""
    return x if len(x) == batch else x.repeat(-(-batch // len(x)), *[1] * (x.ndim - 1))[:batch]


def spread(x: Tensor, batch: int) -> Tensor:
    """x (b, ...) as a batch of another number: entries taken evenly, or each several times."""
    count = len(x)
    if batch == count or batch <= 1:
        return x[:batch]
    if batch < count:
        return x[[round(i * (count - 1) / (batch - 1)) for i in range(batch)]]
    return x[[math.floor((i + 0.5) * count / batch) for i in range(batch)]]


def latent_mask(mask: Tensor, latent: Tensor) -> Tensor:
    """MASK (m, h, w) over the image to (1 or b, 1, h, w) over a latent (b, c, h, w), bilinear, within 0 to 1."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    mask = F.interpolate(mask, size=latent.shape[2:], mode="bilinear").to(latent.device).clamp(0, 1)
    return mask if len(mask) == 1 else cycled(mask, len(latent))
