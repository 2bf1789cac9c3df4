"""ComfyUI's KSampler for the samplers that are DDIM: the same noise, levels and masks, so the same latents.

ComfyUI's latents are x0 + sigma eps, ours are those times sqrt(alpha-bar); Euler's method there is DDIM here, its
ancestral variant and "ddpm" are DDIM with eta 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...sampler import Schedule, schedule_of_sigmas, seed_noise
from .schedulers import SCHEDULERS, Levels

__all__ = ["SAMPLERS", "KSampling"]

SAMPLERS = {"euler": 0.0, "euler_ancestral": 1.0, "ddpm": 1.0, "ddim": 0.0}
"""ComfyUI's samplers that are DDIM, and the eta that each is."""

MAX_STEPS, MAX_LEVELS = 10_000, 1_000_000
"""Steps of a run, and steps of the longer table of which a run with a low denoise is the end."""


@dataclass(frozen=True)
class KSampling:
    """What KSampler and KSamplerAdvanced are asked for.

    denoise: the share of a longer table that is run, its last; start, end: the steps that are run of those
    add_noise: whether the latent gets noise at the beginning; leftover: whether what is left at `end` stays
    """

    seed: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    denoise: float = 1.0
    start: int = 0
    end: int = 10000
    add_noise: bool = True
    leftover: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for a sampler or scheduler that only ComfyUI has, and for too many steps."""
        for what, name, known in (("sampler", self.sampler, SAMPLERS), ("scheduler", self.scheduler, SCHEDULERS)):
            if name not in known:
                raise ValueError(
                    f"{what} {name!r} is not one of those that run without ComfyUI ({', '.join(known)}): "
                    "run with --comfyui DIR"
                )
        if not 1 <= self.steps <= MAX_STEPS:
            raise ValueError(f"steps is {self.steps!r}, expected 1 to {MAX_STEPS}")
        if self.denoise > 0 and self.steps / self.denoise > MAX_LEVELS:
            raise ValueError(
                f"{self.steps!r} steps at denoise {self.denoise!r} are the end of a longer schedule, expected that "
                f"to have at most {MAX_LEVELS} steps"
            )

    def sigmas(self, levels: Levels) -> Tensor:
        """The noise levels of the run; fewer than two where nothing is to be done."""
        scheduler = SCHEDULERS[self.scheduler]
        if self.denoise > 0.9999:
            sigmas = scheduler(levels, self.steps)
        elif self.denoise > 0:
            sigmas = scheduler(levels, int(self.steps / self.denoise))[-self.steps - 1 :]
        else:
            return levels.sigmas[:0]
        if self.end < len(sigmas) - 1:
            sigmas = sigmas[: self.end + 1].clone()
            if not self.leftover:
                sigmas[-1] = 0
        return sigmas[self.start :]

    def schedule(self, levels: Levels, sigmas: Tensor) -> Schedule:
        """The sampler's table through at least two sigmas."""
        return schedule_of_sigmas(sigmas, levels.nearest(sigmas[:-1]).numpy(), eta=SAMPLERS[self.sampler])

    def noise(self, latent: Tensor, index: Sequence[int] | None) -> Tensor:
        """What lies on the latent (b, c, h, w) at the beginning; `index` (b,) are its places in an earlier batch."""
        return seed_noise(self.seed, latent.shape, index) if self.add_noise else torch.zeros(latent.shape)
