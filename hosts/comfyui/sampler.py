"""DDIM as a sampler of ComfyUI's: it works inside a guider, so that all that people attach to a model goes on working.

ComfyUI loads the model and what hangs on it, prepares the prompts, and cleans up; this package's sampler stands where
ComfyUI's would. ComfyUI's latents are x0 + sigma eps; with alpha-bar a = 1 / (1 + sigma^2) that is x / sqrt(a).
Its flow models' latents are ours as they are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import numpy as np
import torch
from torch import Tensor

from ...sampler import (
    ComfyNoise,
    FixedPoint,
    Inpaint,
    NoiseSource,
    PerStep,
    Predictor,
    Schedule,
    Scheme,
    schedule_of_sigmas,
)
from ..fit import one_or_each
from ..plan import Options, Part, noise_source
from ..sampling import Inversion, Report, Result, make_guided_predictor, run_inversion, run_sampler
from .guider import GuiderGuide, memory_of

__all__ = ["Ddim", "InversionSampler", "schedule_of", "scheme_sigmas"]


@dataclass(eq=False)
class Ddim(comfy.samplers.Sampler):
    """SAMPLER: DDIM along the sigmas that a guider brings.

    eta: share of fresh noise, per step or constant
    scheme: of it only how a run starts, lands and keeps a masked part
    start: "pure noise", "latent and noise", or "auto", which is noise for an empty latent
    x0: unscaled latent that the part outside a mask keeps, None for the latent itself
    noise: where the steps' noise comes from, None for a source made of the guider's seed
    see: gets what the run gave
    part: which of the steps along the sigmas are taken
    """

    eta: PerStep = 0.0
    scheme: Scheme = field(default_factory=Scheme)
    options: Options = field(default_factory=Options)
    start: str = "auto"
    x0: Tensor | None = None
    noise: NoiseSource | None = None
    see: Callable[[Result], None] | None = None
    part: Part = field(default_factory=Part)

    def __post_init__(self) -> None:
        """Raises ValueError for what no model of ComfyUI's can do."""
        if self.options.quantize:
            raise ValueError("quantize is on, expected it off: models in ComfyUI have no codebook")

    def sample(
        self,
        model_wrap: comfy.samplers.CFGGuider,
        sigmas: Tensor,
        extra_args: dict,
        callback: Callable | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """What ComfyUI's guider calls: `noise` (b, c, ...) of unit variance, latents scaled, the mask 1 to repaint."""
        model_sampling = model_wrap.inner_model.model_sampling
        schedule = schedule_of(sigmas, model_sampling).with_eta(self.eta)
        latent = torch.zeros_like(noise) if latent_image is None else latent_image.expand(noise.shape)
        x = self.begin(schedule, noise, latent, self.max_denoise(model_wrap, sigmas))
        end = 0
        if len(schedule):
            end = self.part.steps(len(schedule)).stop
            seed, model_options = extra_args.get("seed") or 0, extra_args["model_options"]
            self.check_walk(model_options)
            inpaint = ask = None
            if denoise_mask is not None:
                inpaint, ask = self.keep(model_wrap, sigmas, model_options, seed, latent, denoise_mask)
            guide = GuiderGuide(model_wrap, schedule, model_options, seed, self.options, ask)
            scored = (model_wrap.inner_model, model_wrap.conds.get("positive"))
            predict = make_guided_predictor(self.options, guide, schedule, "x0", guide.plus_plus, scored=scored)
            source = self.noise or self.source(seed, noise)
            told = reporter(callback)
            result = run_sampler(self.options, predict, x, schedule, source, inpaint, told, self.part)
            if self.see is not None:
                self.see(result)
            x = result.x.to(noise)
        if self.part.is_open(len(schedule)):
            return x / float(schedule.signal[end])
        return x / self.unit(schedule, model_sampling, float(sigmas[-1]))

    def check_walk(self, model_options: dict) -> None:
        """Raise ValueError where RePaint would go back to a level of which a patch holds something else."""
        cache = memory_of(model_options)
        if self.options.repeats > 1 and cache in ("EasyCache", "LazyCache"):
            raise ValueError(
                f"{cache} on the model reuses one step's result in the next, and RePaint (repeats "
                f"{self.options.repeats}) goes back to noisier levels: expected a model without {cache}, or repeats 1"
            )

    def begin(self, schedule: Schedule, noise: Tensor, latent: Tensor, top: bool) -> Tensor:
        """The state at the first level, which may be the model's `top`."""
        scheme = self.scheme
        if self.part.start:
            return float(schedule.signal[self.part.steps(len(schedule)).start]) * latent
        empty = self.start == "pure noise" or (self.start == "auto" and not latent.any())
        return scheme.start(schedule, noise, None if empty and not scheme.under else latent, top)

    def keep(
        self,
        guider: comfy.samplers.CFGGuider,
        sigmas: Tensor,
        model_options: dict,
        seed: int,
        latent: Tensor,
        mask: Tensor,
    ) -> tuple[Inpaint | None, Callable | None]:
        """What keeps the part outside a mask: the run itself, or what stands before the guider."""
        scheme, x0 = self.scheme, latent
        if self.x0 is not None:
            x0 = one_or_each(guider.inner_model.process_latent_in(self.x0.to(latent)), latent.shape, "x0")
        # A mask that changes from step to step is an idea of ComfyUI's own.
        if not scheme.project and "denoise_mask_function" not in model_options:
            return scheme.inpaint(1 - mask.clamp(0, 1), x0), None
        mixed = comfy.samplers.KSamplerX0Inpaint(guider, sigmas)
        mixed.latent_image = x0
        mixed.noise = ComfyNoise(seed).normal(latent.shape, "mask", 0, latent.device).to(latent)
        return None, partial(mixed, denoise_mask=mask)

    def source(self, seed: int, noise: Tensor) -> NoiseSource:
        """Where the steps' noise comes from, after `noise` was drawn to start with."""
        source = noise_source(seed, len(noise), self.scheme, self.options)
        if source.sequential:
            source.normal(noise.shape, "start", 0, torch.device("cpu"))
        return source

    def unit(self, schedule: Schedule, model_sampling, sigma: float) -> float:
        """What a state at the last level, `sigma`, is in as ComfyUI counts; the landing "first" gives it as it is."""
        lowest = float(model_sampling.sigmas[0])
        if self.scheme.landing == "first" and math.isclose(sigma, lowest, rel_tol=1e-5):
            return 1.0
        return float(schedule.signal[-1])


class InversionSampler(comfy.samplers.Sampler):
    """The run backwards, along sigmas that fall all the same; afterwards `result` has what it gave."""

    result: Inversion

    def __init__(self, solve: FixedPoint, options: Options) -> None:
        self.solve, self.options = solve, options

    def sample(
        self,
        model_wrap: comfy.samplers.CFGGuider,
        sigmas: Tensor,
        extra_args: dict,
        callback: Callable | None,
        noise: Tensor,
        latent_image: Tensor,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """What ComfyUI's guider calls; a mask doesn't matter to it."""
        memory = memory_of(extra_args["model_options"])
        if memory is not None:
            raise ValueError(
                f"{memory} on the model makes each prediction depend on earlier ones, and inversion takes the steps in "
                f"another order than sampling: expected a model without it"
            )
        schedule = schedule_of(sigmas, model_wrap.inner_model.model_sampling)
        guide = GuiderGuide(model_wrap, schedule, extra_args["model_options"], extra_args.get("seed"), self.options)
        predict = Predictor(guide, schedule, "x0")
        self.result = run_inversion(predict, latent_image, schedule, self.solve, reporter(callback))
        return self.result.x_T.to(noise)


def reporter(callback: Callable | None) -> Report:
    """ComfyUI's callback as a run's report."""

    def report(done: int, total: int, x0: Tensor | None) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if callback is not None and done:
            callback(done - 1, x0, x0, total)

    return report


def is_flow(model_sampling) -> bool:
    """Whether a model's states are (1 - t) x0 + t eps at the level t."""
    return isinstance(model_sampling, comfy.model_sampling.CONST)


def schedule_of(sigmas: Tensor, model_sampling) -> Schedule:
    """The schedule, at eta 0, along ComfyUI's sigmas (S + 1,); ValueError for levels that no run can go through."""
    timesteps = model_sampling.timestep(sigmas[:-1]).cpu().numpy() if len(sigmas) > 1 else np.zeros(0)
    return schedule_of_sigmas(sigmas, timesteps, flow=is_flow(model_sampling))


def scheme_sigmas(model_sampling, scheme: Scheme, steps: int, denoise: float = 1.0) -> Tensor:
    """ComfyUI's sigmas (S + 1,) of a scheme; ValueError for what the model doesn't have.

    On a flow model, even strides are even in its own, shifted, time; other spacings go by its table of sigmas.
    """
    sigmas = model_sampling.sigmas.double().cpu().numpy()
    if not is_flow(model_sampling):
        schedule = scheme.schedule(torch.from_numpy(1 / (1 + sigmas**2)), steps, 0.0, denoise)
        return torch.from_numpy(schedule.noise / schedule.signal).float()
    end = 0.0 if scheme.landing == "clean" else float(sigmas[0])
    if scheme.is_even:
        shares = np.linspace(0, 1, scheme.table_steps(steps, denoise) + 1)[-steps - 1 : -1]
        return torch.tensor([*(model_sampling.percent_to_sigma(share) for share in shares.tolist()), end])
    alpha_bar = (1 - sigmas) ** 2 / ((1 - sigmas) ** 2 + sigmas**2)
    schedule = scheme.schedule(torch.from_numpy(alpha_bar), steps, 0.0, denoise)
    return torch.from_numpy(np.append(sigmas[schedule.timesteps], end)).float()
