"""The sampler in parts, for SamplerCustomAdvanced: SAMPLER, GUIDER and NOISE on this package's own model.

A LATENT with noise in it is x0 + sigma eps there; ours is that times the signal, 1 / sqrt(1 + sigma^2).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ...networks import LatentDiffusion
from ...sampler import Guidance, NoiseSource, PerStep, Schedule, Scheme, schedule_of_sigmas
from ..fit import one_or_each
from ..plan import Options, Plan, noise_source
from ..sampling import run_sampler
from .sampling import Sampling, report
from .schedulers import Levels

__all__ = ["Ddim", "FixedNoise", "Guider", "Noise", "checked", "sample_parts"]


class Noise(Protocol):
    """NOISE, as ComfyUI's custom samplers ask for it."""

    seed: int

    def generate_noise(self, input_latent: dict) -> Tensor:
        """Noise of the size of a LATENT's samples."""
        ...


@dataclass(frozen=True, eq=False)
class FixedNoise:
    """NOISE: x_T (b or 1, c, h, w) of unit variance, and the seed of what is drawn later."""

    x_T: Tensor
    seed: int

    def generate_noise(self, input_latent: dict) -> Tensor:
        """x_T for a LATENT; ValueError when the shapes don't fit."""
        return one_or_each(self.x_T, input_latent["samples"].shape, "x_T")


@dataclass(frozen=True, eq=False)
class Guider:
    """GUIDER: a model under two prompts, with a guidance scale for every step."""

    diffusion: LatentDiffusion
    positive: list
    negative: list
    guidance: Guidance

    def guided(self, plan: Plan) -> Plan:
        """The plan with this guidance in place of its scale; rescale and CFG++ may come from either."""
        own, options = self.guidance, plan.options
        options = replace(options, rescale=own.rescale or options.rescale, plus_plus=own.plus_plus or options.plus_plus)
        return replace(plan, scale=own.scale, options=options, guider=None)


@dataclass(frozen=True, eq=False)
class Ddim:
    """SAMPLER: DDIM along whatever sigmas it is given.

    start: "pure noise", "latent and noise", or "auto", which is noise for an empty latent
    x0: unscaled latent that the part outside a mask keeps, None for the latent itself
    """

    eta: PerStep
    scheme: Scheme
    options: Options
    start: str
    x0: Tensor | None

    def begin(self, schedule: Schedule, noise: Tensor, latent: Tensor, top: bool) -> Tensor:
        """The state at the first level, which may be the model's `top`."""
        empty = self.start == "pure noise" or (self.start == "auto" and not latent.any())
        return self.scheme.start(schedule, noise, None if empty and not self.scheme.under else latent, top)

    def source(self, seed: int, noise: Tensor, index: Sequence[int] | None) -> NoiseSource:
        """Where the steps' noise comes from, after `noise` was drawn to start with."""
        source = noise_source(seed, len(noise), self.scheme, self.options, index)
        if source.sequential:
            source.normal(noise.shape, "start", 0, torch.device("cpu"))
        return source

    def unit(self, schedule: Schedule, levels: Levels, sigma: float) -> float:
        """What a state at the last level, `sigma`, is in as ComfyUI counts; the landing "first" gives it as it is."""
        if self.scheme.landing == "first" and math.isclose(sigma, float(levels.sigmas[0]), rel_tol=1e-5):
            return 1.0
        return float(schedule.signal[-1])


def checked(part: Any, kind: type, name: str) -> Any:
    """A part of this host's own; ValueError for one that only ComfyUI could run."""
    if not isinstance(part, kind):
        raise ValueError(
            f"{name} is {type(part).__name__}, expected one of this pack's; others need ComfyUI: run with --comfyui DIR"
        )
    return part


def sample_parts(noise: Noise, guider: Guider, sampler: Ddim, sigmas: Tensor, latent: dict) -> tuple[dict, dict]:
    """LATENT twice: where a run of `sampler` along `sigmas` (S + 1,) ends, and its last x0 prediction.

    Raises ValueError for parts of somebody else's, and for those that don't fit together.
    """
    guider, sampler = checked(guider, Guider, "guider"), checked(sampler, Ddim, "sampler")
    diffusion = guider.diffusion
    levels = Levels.of(diffusion.alphas_cumprod)
    schedule = schedule_of_sigmas(sigmas, levels.nearest(sigmas[:-1]).numpy(), eta=sampler.eta)
    if not len(schedule):
        return latent, latent
    z = noise.generate_noise(latent)
    source = sampler.source(noise.seed, z, latent.get("batch_index"))
    asked = Plan(
        noise.seed, len(schedule), eta=sampler.eta, x0=sampler.x0, scheme=sampler.scheme, options=sampler.options
    )
    plan = guider.guided(asked)
    own = Sampling(diffusion, guider.positive, guider.negative, latent, plan)
    predict = own.predictor(schedule)
    x = sampler.begin(schedule, z.to(own.samples), own.samples, levels.are_topped_by(sigmas))
    result = run_sampler(plan.options, predict, x, schedule, source, own.inpaint(), report)
    end = own.unscaled(result.x / sampler.unit(schedule, levels, float(sigmas[-1])))
    return {**latent, **end}, {**latent, **own.unscaled(result.x0)}
