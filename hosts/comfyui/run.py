"""A plan's run inside ComfyUI: its sigmas, noise, guider and sampler put together."""

from collections.abc import Callable

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ...sampler import FixedPoint
from ..fit import one_or_each
from ..plan import Plan
from ..sampling import Inversion, Result
from .guider import ScheduledGuider
from .sampler import Ddim, InversionSampler, schedule_of, scheme_sigmas

__all__ = ["EMPTY_LATENT_RATIOS", "FixedNoise", "invert_inside", "run_inside"]

EMPTY_LATENT_RATIOS = ("downscale_ratio_spacial", "downscale_ratio_temporal")
"""What ComfyUI's nodes for empty latents say of their size; for a model with another ratio they are resized first."""


class FixedNoise:
    """NOISE: x_T (b or 1, c, h, w) of unit variance, and the seed of what is drawn later."""

    def __init__(self, x_T: Tensor, seed: int) -> None:
        self.x_T, self.seed = x_T, seed

    def generate_noise(self, input_latent: dict) -> Tensor:
        """x_T for a LATENT; ValueError when the shapes don't fit."""
        return one_or_each(self.x_T, input_latent["samples"].shape, "x_T").clone()


def run_inside(
    model, positive: list, negative: list, latent: dict, plan: Plan, see: Callable[[Result], None]
) -> Tensor:
    """Run a plan on a MODEL, two CONDITIONINGs and a LATENT; unscaled latents (b, c, ...). `see` gets the rest."""
    samples = _samples(model, latent, plan)
    mask = plan.mask if plan.mask is not None else latent.get("noise_mask")
    plan.check_kept(mask is not None)
    source, x_T = plan.noise(samples.shape, latent.get("batch_index"))
    start = "latent and noise" if plan.denoise < 1 else "pure noise"
    sampler = Ddim(plan.eta, plan.scheme, plan.options, start, plan.x0, source, see, plan.part)
    return _guided(model, positive, negative, plan, sampler, x_T, samples, mask)


def invert_inside(model, positive: list, negative: list, latent: dict, plan: Plan, solve: FixedPoint) -> Inversion:
    """Take a LATENT back along a plan's table."""
    samples = _samples(model, latent, plan)
    sampler = InversionSampler(solve, plan.options)
    _guided(model, positive, negative, plan, sampler, torch.zeros_like(samples), samples, None)
    return sampler.result


def _samples(model, latent: dict, plan: Plan) -> Tensor:
    ratios = {key: latent[key] for key in EMPTY_LATENT_RATIOS if key in latent}
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"].float(), **ratios)
    return one_or_each(samples, torch.Size((plan.batch(samples), *samples.shape[1:])), "latent")


def _guided(
    model,
    positive: list,
    negative: list,
    plan: Plan,
    sampler: comfy.samplers.Sampler,
    noise: Tensor,
    samples: Tensor,
    mask: Tensor | None,
) -> Tensor:
    model_sampling = model.get_model_object("model_sampling")
    sigmas = scheme_sigmas(model_sampling, plan.scheme, plan.steps, plan.denoise)
    schedule = schedule_of(sigmas, model_sampling).with_eta(plan.eta)  # says what is wrong before the model is loaded
    plan.part.steps(len(schedule))
    guider = plan.guider
    if guider is None:
        guider = ScheduledGuider(model, plan.guidance)
        guider.set_conds(positive, negative)
    x = guider.sample(
        noise,
        samples,
        sampler,
        sigmas,
        denoise_mask=mask,
        callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=plan.seed,
    )
    return x.to(comfy.model_management.intermediate_device())
