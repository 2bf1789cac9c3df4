"""A plan run on this package's own model."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...executor import context
from ...networks import DiffusionRun, LatentDiffusion
from ...sampler import FixedPoint, Guide, Inpaint, Predictor, Schedule, X0Filter, quantizer
from ..fit import latent_mask, one_or_each
from ..plan import Plan
from ..sampling import Inversion, Result, make_guided_predictor, run_inversion, run_sampler
from .conditioning import Frame, read_prompts
from .guide import make_guide

__all__ = ["Sampling", "report"]


class Sampling:
    """A plan on this package's own model: what a run and its inversion both need."""

    def __init__(self, diffusion: LatentDiffusion, positive: list, negative: list, latent: dict, plan: Plan) -> None:
        """Put everything on the model's device; ValueError for what doesn't fit together."""
        self.diffusion, self.plan, self.device = diffusion, plan, diffusion.device
        unet = diffusion.config.unet or diffusion.model.diffusion_model.config  # an error where there is no UNet
        samples, channels = latent["samples"], unet.out_channels
        if samples.ndim != 4 or samples.shape[1] != channels:
            raise ValueError(f"latent of shape {tuple(samples.shape)}, expected (batch, {channels}, height, width)")
        batch = plan.batch(samples)
        self.samples = self.scaled(one_or_each(samples, torch.Size((batch, *samples.shape[1:])), "latent"))
        mask = plan.mask if plan.mask is not None else latent.get("noise_mask")
        self.mask = None if mask is None else latent_mask(mask, self.samples)
        self.positive, self.negative = read_prompts(positive, negative, Frame(diffusion, self.samples, self.mask))
        self.cond = self.positive[0].text if len(self.positive) == 1 else positive

    def scaled(self, samples: Tensor) -> Tensor:
        """An unscaled latent as the model's."""
        return samples.to(self.device, torch.float32) * self.diffusion.scale_factor

    def unscaled(self, samples: Tensor) -> dict:
        """LATENT of one of the model's latents."""
        return {"samples": samples / self.diffusion.scale_factor}

    def guide(self, schedule: Schedule) -> Guide:
        """The guided model call."""
        return make_guide(
            DiffusionRun(self.diffusion, schedule.timesteps),
            self.positive,
            self.negative,
            self.samples.shape,
            schedule,
            self.plan.guidance,
        )

    def inpaint(self) -> Inpaint | None:
        """What keeps the part outside the mask; None without a mask."""
        self.plan.check_kept(self.mask is not None)
        if self.mask is None:
            return None
        x0 = self.samples if self.plan.x0 is None else one_or_each(self.scaled(self.plan.x0), self.samples.shape, "x0")
        return self.plan.scheme.inpaint(1 - self.mask, x0)

    def filters(self) -> list[X0Filter]:
        """What the model's first stage does to x0 predictions."""
        if not self.plan.options.quantize:
            return []
        quantize = getattr(self.diffusion.first_stage_model, "quantize", None)
        if quantize is None:
            raise ValueError("quantize is on, expected a VQ model: this model's autoencoder has no codebook")
        return [quantizer(quantize, self.diffusion.scale_factor)]

    def predictor(self, schedule: Schedule) -> Predictor:
        """The guided model call along a schedule, with the plan's options."""
        return make_guided_predictor(
            self.plan.options,
            self.guide(schedule),
            schedule,
            self.diffusion.parameterization,
            self.plan.options.plus_plus,
            self.filters(),
            (self.diffusion, self.cond),
        )

    def run(self, index: Sequence[int] | None) -> Result:
        """Sample along the plan; `index` as `Plan.noise` takes it."""
        plan, scheme, alphas_cumprod = self.plan, self.plan.scheme, self.diffusion.alphas_cumprod
        schedule = scheme.schedule(alphas_cumprod, plan.steps, plan.eta, plan.denoise)
        steps = plan.part.steps(len(schedule))
        predict = self.predictor(schedule)
        noise, x_T = plan.noise(self.samples.shape, index)
        latent = self.samples if plan.denoise < 1 or scheme.under else None
        top = schedule.timesteps[0] == len(alphas_cumprod) - 1
        x = scheme.start(schedule, x_T.to(self.samples), latent, top)
        if plan.part.start:
            x = self.samples * float(schedule.signal[steps.start])
        result = run_sampler(plan.options, predict, x, schedule, noise, self.inpaint(), report, plan.part)
        if plan.part.is_open(len(schedule)):
            return replace(result, x=result.x / float(schedule.signal[steps.stop]))
        return result

    def invert(self, solve: FixedPoint) -> Inversion:
        """Take the latent back to x_T along the plan's schedule and guidance, at eta 0."""
        plan, diffusion = self.plan, self.diffusion
        schedule = plan.scheme.schedule(diffusion.alphas_cumprod, plan.steps, 0.0, plan.denoise)
        predict = Predictor(self.guide(schedule), schedule, diffusion.parameterization)
        return run_inversion(predict, self.samples, schedule, solve, report)


def report(done: int, total: int, x0: Tensor | None) -> None:
    """Tell the run's progress."""
    context.progress(done, total)
