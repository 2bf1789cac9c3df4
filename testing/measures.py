"""How far two pictures or latents are apart, and what is in them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCK = 8
DIFFERS = 0.1
"""A pixel counts as different from here on, in any channel."""

LIMITS = {"psnr": 35.0, "largest": 0.1, "share": 0.002, "tolerance": 0.05}
"""What a comparison allows by default."""


@dataclass(frozen=True)
class Excess:
    """A measure that is beyond its limit."""

    measure: str
    value: float
    limit: float

    def __str__(self) -> str:
        bound = "at least" if self.measure == "psnr" else "at most"
        return f"{WORDS[self.measure]} {self.value:.3g}, expected {bound} {self.limit:g}"


WORDS = {
    "psnr": "PSNR",
    "largest": "largest difference of an 8 x 8 block",
    "share": "share of differing pixels",
    "tolerance": "largest difference in standard deviations",
}


def compare_pictures(picture: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """`psnr`, `largest` and `share` of two pictures (height, width, channels) in [0, 1] of one shape."""
    difference = picture.astype(np.float64) - reference
    error = float(np.mean(difference**2))
    return {
        "psnr": math.inf if error == 0 else -10 * math.log10(error),
        "largest": float(np.abs(_block_means(difference)).max()),
        "share": float(np.mean(np.abs(difference).max(axis=-1) > DIFFERS)),
    }


def _block_means(difference: np.ndarray) -> np.ndarray:
    """Means of all blocks, also those that don't begin at a multiple of their size; smaller at small pictures."""
    height, width = (min(BLOCK, size) for size in difference.shape[:2])
    sums = np.pad(difference.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    blocks = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    return blocks / (height * width)


def compare_tensors(values: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """`tolerance` of two arrays of one shape."""
    scale = float(reference.std()) or 1.0
    return {"tolerance": float(np.abs(values.astype(np.float64) - reference).max(initial=0.0)) / scale}


def beyond(measured: dict[str, float], limits: dict[str, float]) -> list[Excess]:
    """The measures that are beyond their limits, NaN too."""
    found = []
    for name, value in measured.items():
        limit = limits.get(name, LIMITS[name])
        fits = value >= limit if name == "psnr" else value <= limit
        if not fits:
            found.append(Excess(name, value, limit))
    return found


def difference_picture(picture: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The largest channel's difference (height, width, 1), five times as strong; of other sizes, where both are."""
    height, width = (min(sizes) for sizes in zip(picture.shape[:2], reference.shape[:2], strict=True))
    channels = min(picture.shape[2], reference.shape[2])
    both = (one[:height, :width, :channels].astype(np.float64) for one in (picture, reference))
    one, other = both
    return np.clip(5 * np.abs(one - other).max(axis=-1, keepdims=True), 0, 1)


def is_latent(value: Any) -> bool:
    """Whether it is a LATENT."""
    return isinstance(value, dict) and is_tensor(value.get("samples"))


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor, without importing torch."""
    return hasattr(value, "detach") and hasattr(value, "is_floating_point")


def is_pictures(value: Any) -> bool:
    """Whether it is an IMAGE (batch, height, width, channels) or a MASK (batch, height, width)."""
    if not is_tensor(value) or not value.is_floating_point():
        return False
    return value.ndim == 3 or (value.ndim == 4 and value.shape[-1] in (1, 3, 4))


def as_array(value: Any) -> np.ndarray:
    """A tensor, or a latent's samples, as float32 where it is of floats."""
    tensor = value["samples"] if is_latent(value) else value
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def as_pictures(values: Iterable[Any]) -> list[np.ndarray]:
    """The pictures (height, width, channels) of IMAGEs and MASKs."""
    arrays = (as_array(value) for value in values)
    return [one[..., None] if array.ndim == 3 else one for array in arrays for one in array]
