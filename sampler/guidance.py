"""Ways to combine the model's two answers, and to correct the x0 that follows from them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from .curves import PerStep, resolve


def cfg(cond: torch.Tensor, uncond: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance, uncond + scale (cond - uncond) (Ho and Salimans 2022, arXiv 2207.12598)."""
    return torch.lerp(uncond, cond, scale)


def rescale(guided: torch.Tensor, cond: torch.Tensor, phi: float) -> torch.Tensor:
    """`guided` brought a share `phi` of the way to cond's std, per sample (Lin et al. 2023, 2305.08891, eq. 15, 16)."""
    dims = tuple(range(1, guided.ndim))
    ratio = cond.std(dim=dims, keepdim=True) / guided.std(dim=dims, keepdim=True)
    return guided * (phi * ratio + (1 - phi))


class Passes(NamedTuple):
    """Which passes of the model a step needs: with the prompt, without it, or both."""

    cond: bool
    uncond: bool


@dataclass(frozen=True)
class Guidance:
    """How far the result is pushed from uncond toward cond.

    scale: 1 is cond alone and 0 uncond alone, which cost one pass; a number, S numbers or a curve
    rescale: 0 to 1, how much of cond's std is given back
    plus_plus: CFG++ (Chung et al. 2024, arXiv 2406.08070): x0 from the guided eps, the way on along uncond's.
        Its scales are 0 to 1, and the uncond pass is always needed.
    """

    scale: PerStep = 1.0
    rescale: float = 0.0
    plus_plus: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError when `rescale` is not within 0 ... 1."""
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"guidance rescale is {self.rescale!r}, expected 0 to 1")

    def passes(self, scale: float) -> Passes:
        """The passes that have a weight at a step's scale: one without is never made."""
        return Passes(cond=scale != 0, uncond=scale != 1 or self.plus_plus)

    def scales(self, steps: int) -> tuple[float, ...]:
        """One scale per step; ValueError on a wrong length, or with CFG++ outside 0 ... 1."""
        if self.plus_plus:
            return resolve(self.scale, steps, "guidance scale with CFG++", 0, 1)
        return resolve(self.scale, steps, "guidance scale")


X0Filter = Callable[[torch.Tensor, int], torch.Tensor]
"""Takes the x0 prediction and the step's index, gives another x0 of the same shape."""


@dataclass(frozen=True)
class Threshold:
    """Dynamic thresholding (Saharia et al. 2022, arXiv 2205.11487, section 2.3).

    percentile: 0 to 1, of |x0|, per sample; a number, S numbers or a curve. 1 changes nothing but the scale.
    floor: the threshold is at least this: 1 for pixels, more for latents, whose values go past 1
    per_channel: a threshold for every channel instead of one for the sample

    x0 is clipped to the threshold and scaled so that the threshold becomes `floor`.
    """

    percentile: PerStep = 0.995
    floor: float = 1.0
    per_channel: bool = False

    def filter(self, steps: int) -> X0Filter:
        """The filter for a run of `steps`; ValueError on a percentile outside 0 ... 1 or a floor not above 0."""
        percentiles = resolve(self.percentile, steps, "threshold percentile", 0, 1)
        if self.floor <= 0:
            raise ValueError(f"threshold floor is {self.floor!r}, expected above 0")

        def threshold(x0: torch.Tensor, i: int) -> torch.Tensor:
            size = x0.flatten(2 if self.per_channel else 1).abs()
            s = torch.quantile(size, percentiles[i], dim=-1).clamp(min=self.floor)
            s = s.reshape(*s.shape, *[1] * (x0.ndim - s.ndim))
            return x0.clamp(-s, s) * (self.floor / s)

        return threshold


def quantizer(quantize: Callable[[torch.Tensor], object], scale_factor: float = 1.0) -> X0Filter:
    """A filter that snaps x0 to a first stage's codebook, as `first_stage_model.quantize` does.

    Its answer may be a tensor or a tuple that begins with one. `scale_factor` is what latents were multiplied by
    on the way from the first stage; the published sampler leaves it out.
    """

    def snap(x0: torch.Tensor, i: int) -> torch.Tensor:
        answer = quantize(x0 / scale_factor)
        return (answer if isinstance(answer, torch.Tensor) else answer[0]) * scale_factor

    return snap
