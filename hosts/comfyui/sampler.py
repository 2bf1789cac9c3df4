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

from ...sampler import FixedPoint, Inpaint, NoiseSource, PerStep, Predictor, Schedule
from ..plan import Options, Table, fit_batch, noise_source, seed_noise
from ..sampling import Inverted, Report, Result, follow, go_back, predictor
from .guider import GuiderGuide

__all__ = ["Ddim", "Inversion", "schedule_of", "table_sigmas"]


@dataclass(eq=False)
class Ddim(comfy.samplers.Sampler):
    """SAMPLER: DDIM along the sigmas that a guider brings.

    eta: share of fresh noise, per step or constant
    table: of it only how a run starts, lands and keeps a masked part
    start: "pure noise", "latent and noise", or "auto", which is noise for an empty latent
    x0: unscaled latent that the part outside a mask keeps, None for the latent itself
    noise: where the steps' noise comes from, None for a source made of the guider's seed
    see: gets what the run gave
    """

    eta: PerStep = 0.0
    table: Table = field(default_factory=Table)
    options: Options = field(default_factory=Options)
    start: str = "auto"
    x0: Tensor | None = None
    noise: NoiseSource | None = None
    see: Callable[[Result], None] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for what no model of ComfyUI's can do."""
        if self.options.quantize:
            raise ValueError("quantize is on, and the models of ComfyUI have no codebook: expected it off")

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
        if len(schedule):
            seed, model_options = extra_args.get("seed") or 0, extra_args["model_options"]
            inpaint = ask = None
            if denoise_mask is not None:
                inpaint, ask = self.keep(model_wrap, sigmas, model_options, seed, latent, denoise_mask)
            guide = GuiderGuide(model_wrap, schedule, model_options, seed, self.options, ask)
            scored = (model_wrap.inner_model, model_wrap.conds.get("positive"))
            predict = predictor(self.options, guide, schedule, "x0", guide.plus_plus, scored=scored)
            source = self.noise or self.source(seed, noise)
            result = follow(self.options, predict, x, schedule, source, inpaint, reporter(callback))
            if self.see is not None:
                self.see(result)
            x = result.x.to(noise)
        return x / self.unit(schedule, model_sampling, float(sigmas[-1]))

    def begin(self, schedule: Schedule, noise: Tensor, latent: Tensor, top: bool) -> Tensor:
        """The state at the first level, which may be the model's `top`."""
        rules = self.table.rules
        empty = self.start == "pure noise" or (self.start == "auto" and not latent.any())
        return rules.start(schedule, noise, None if empty and not rules.under else latent, top)

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
        rules, x0 = self.table.rules, latent
        if self.x0 is not None:
            x0 = fit_batch(guider.inner_model.process_latent_in(self.x0.to(latent)), latent.shape, "x0")
        # A mask that changes from step to step is an idea of ComfyUI's own.
        if not rules.project and "denoise_mask_function" not in model_options:
            return rules.inpaint(1 - mask.clamp(0, 1), x0), None
        mixed = comfy.samplers.KSamplerX0Inpaint(guider, sigmas)
        mixed.latent_image, mixed.noise = x0, seed_noise((seed + 1) % 2**64, latent.shape).to(latent)
        return None, partial(mixed, denoise_mask=mask)

    def source(self, seed: int, noise: Tensor) -> NoiseSource:
        """Where the steps' noise comes from, after `noise` was drawn to start with."""
        source = noise_source(seed, len(noise), self.table, self.options)
        if source.sequential:
            source.normal(noise.shape, "start", 0, torch.device("cpu"))
        return source

    def unit(self, schedule: Schedule, model_sampling, sigma: float) -> float:
        """What a state at the last level, `sigma`, is in as ComfyUI counts; the landing "first" gives it as it is."""
        lowest = float(model_sampling.sigmas[0])
        if self.table.rules.landing == "first" and math.isclose(sigma, lowest, rel_tol=1e-5):
            return 1.0
        return float(schedule.signal[-1])


class Inversion(comfy.samplers.Sampler):
    """The run backwards, along sigmas that fall all the same; afterwards `result` has what it gave."""

    result: Inverted

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
        schedule = schedule_of(sigmas, model_wrap.inner_model.model_sampling)
        guide = GuiderGuide(model_wrap, schedule, extra_args["model_options"], extra_args.get("seed"), self.options)
        self.result = go_back(Predictor(guide, schedule, "x0"), latent_image, schedule, self.solve, reporter(callback))
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
    level = sigmas.detach().cpu().double().numpy()
    highest = 1.0 if is_flow(model_sampling) else np.inf
    finite = np.isfinite(level).all() and (level >= 0).all() and (level <= highest).all()
    if level.ndim != 1 or not len(level) or not finite or not level[:-1].all():
        raise ValueError(
            f"sigmas are {level.tolist()!r}, expected numbers above 0, and at most {highest}, then maybe 0"
        )
    timesteps = model_sampling.timestep(sigmas[:-1]).cpu().numpy() if len(level) > 1 else np.zeros(0)
    if is_flow(model_sampling):
        return Schedule(timesteps, 1 - level, level.copy(), np.zeros(len(timesteps)))
    signal = 1 / np.sqrt(1 + level**2)
    return Schedule(timesteps, signal, level * signal, np.zeros(len(timesteps)))


def table_sigmas(model_sampling, table: Table, steps: int, denoise: float = 1.0) -> Tensor:
    """ComfyUI's sigmas (S + 1,) of a table; ValueError for what the model doesn't have.

    A flow model's "exact" table are even strides through its own, shifted, time.
    """
    sigmas = model_sampling.sigmas.double().cpu().numpy()
    if not is_flow(model_sampling):
        schedule = table.schedule(torch.from_numpy(1 / (1 + sigmas**2)), steps, 0.0, denoise)
        return torch.from_numpy(schedule.noise / schedule.signal).float()
    if table == Table():
        shares = np.linspace(0, 1, round(steps / denoise) + 1)[-steps - 1 :]
        return torch.tensor([model_sampling.percent_to_sigma(share) for share in shares.tolist()])
    alpha_bar = (1 - sigmas) ** 2 / ((1 - sigmas) ** 2 + sigmas**2)
    schedule = table.schedule(torch.from_numpy(alpha_bar), steps, 0.0, denoise)
    end = 0.0 if table.rules.landing == "clean" else sigmas[0]
    return torch.from_numpy(np.append(sigmas[schedule.timesteps], end)).float()
