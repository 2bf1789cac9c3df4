"""Inpainting: what is kept under a mask, its noise, and the order of steps in which RePaint goes."""

from dataclasses import dataclass

import torch

from .finite import check_finite
from .noise import NoiseSource


@dataclass(frozen=True)
class Inpaint:
    """Keeps `x0` where `mask` is 1, the published convention; between 0 and 1 the two mix.

    The mask broadcasts against x. Before each model call the kept part is replaced by x0 at that step's level.

    first: also before the first call
    last: after the last step the kept part becomes x0 itself, bit for bit
    fixed_noise: one noise for all levels of x0, else a fresh one each
    project: the x0 prediction is replaced too, and the way on leads there from the state as it was
    """

    mask: torch.Tensor
    x0: torch.Tensor
    first: bool = True
    last: bool = True
    fixed_noise: bool = False
    project: bool = False

    def blend(self, kept: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """`kept` where the mask is 1, `x` where it is 0."""
        return kept * self.mask + (1.0 - self.mask) * x

    def check(self, x: torch.Tensor) -> None:
        """Raises ValueError unless mask and x0 broadcast to x's shape and hold numbers, the mask's in 0 ... 1."""
        for name, value in (("mask", self.mask), ("x0", self.x0)):
            try:
                fits = torch.broadcast_shapes(value.shape, x.shape) == x.shape
            except RuntimeError:
                fits = False
            if not fits:
                raise ValueError(f"{name} has the shape {tuple(value.shape)}, expected one that fits {tuple(x.shape)}")
            check_finite(value, name)
        if self.mask.min() < 0 or self.mask.max() > 1:
            raise ValueError(f"the mask goes from {self.mask.min()} to {self.mask.max()}, expected within 0 ... 1")


def mask_noise(inpaint: Inpaint, noise: NoiseSource, x: torch.Tensor, key: int) -> torch.Tensor:
    """The noise of the kept x0. In published order it is drawn for x0 as given, maybe one for the whole batch."""
    shape = inpaint.x0.shape if noise.sequential else x.shape
    return noise.normal(shape, "mask", 0 if inpaint.fixed_noise else key, x.device)


def repaint_walk(steps: int, jump_length: int, repeats: int) -> list[int]:
    """Steps in RePaint's order: every stretch of `jump_length` steps is run `repeats` times (arXiv 2201.09865).

    Going back is re-noising by the forward process. ValueError unless both are at least 1.
    """
    if jump_length < 1 or repeats < 1:
        raise ValueError(f"RePaint with jump_length {jump_length!r}, repeats {repeats!r}: expected both at least 1")
    starts = range(0, steps, jump_length)
    return [i for k in starts for _ in range(repeats) for i in range(k, min(k + jump_length, steps))]
