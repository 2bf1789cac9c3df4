"""A run inside ComfyUI's guider, so that all that people attach to a model or a prompt goes on working.

ComfyUI loads the model and what hangs on it, prepares the prompts, and cleans up; this package's sampler stands where
ComfyUI's would. ComfyUI's latents are x0 + sigma eps; with alpha-bar a = 1 / (1 + sigma^2) that is x / sqrt(a).
Its flow models' latents are ours as they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import comfy.model_management
import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import numpy as np
import torch
from torch import Tensor

from ..sampler import FixedPoint, PerStep, Schedule
from .comfy_guide import GuiderGuide
from .plan import Plan, Table, fit_batch
from .run import Inverted, Report, Result, invert, run

__all__ = ["Inversion", "Run", "run_inside"]


@dataclass(frozen=True)
class FlowTable(Table):
    """The table of a flow model: even strides through the model's own, shifted, time."""

    model_sampling: object = None

    def schedule(self, alphas_cumprod: Tensor, steps: int, eta: PerStep, denoise: float) -> Schedule:
        """From t = 1 to 0, signal 1 - t and noise t; below denoise 1 the last `steps` of round(steps / denoise)."""
        if replace(self, model_sampling=None) != FlowTable():
            raise ValueError(f"a flow model with the table {self!r}, expected the preset 'exact' with no replacements")
        shares = np.linspace(0, 1, round(steps / denoise) + 1)[-steps - 1 :]
        t = np.array([self.model_sampling.percent_to_sigma(share) for share in shares.tolist()])
        return Schedule(t[:-1], 1 - t, t, np.zeros(steps)).with_eta(eta)


class Inside(comfy.samplers.Sampler):
    """This package at ComfyUI's place for a sampler; what it does there is `work`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def work(self, guider, latent: Tensor, mask: Tensor | None, options: dict, report: Report) -> Tensor:
        """Take the scaled latent (b, c, ...) to another one.

        `guider` is at work, `mask` is ComfyUI's (1 is painted anew), `options` are the model's.
        """
        raise NotImplementedError

    def prepare(self, model_sampling) -> Tensor:
        """Settle the table for a model; returns ComfyUI's sigmas (S + 1,), and raises ValueError on a misfit."""
        flow = isinstance(model_sampling, comfy.model_sampling.CONST)
        if flow:
            table = self.plan.table
            own = FlowTable(table.preset, table.spacing, table.landing, table.timesteps, model_sampling)
            self.plan = replace(self.plan, table=own)
        plan = self.plan
        schedule = plan.table.schedule(alpha_bar(model_sampling), plan.steps, plan.eta, plan.denoise)
        return torch.from_numpy(schedule.noise / (1 if flow else schedule.signal)).float()

    def sample(
        self,
        model_wrap,
        sigmas: Tensor,
        extra_args: dict,
        callback: Callable | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """What ComfyUI's guider calls."""

        def report(done: int, total: int, x0: Tensor | None) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            if callback is not None and done:
                callback(done - 1, x0, x0, total)

        return self.work(model_wrap, latent_image, denoise_mask, extra_args["model_options"], report).to(noise)


class Run(Inside):
    """A plan's run; afterwards `result` has it. `index` as `Plan.noise` takes it."""

    result: Result

    def __init__(self, plan: Plan, index: Sequence[int] | None = None) -> None:
        super().__init__(plan)
        if plan.options.quantize:
            raise ValueError("quantize is on, and the models of ComfyUI have no codebook: expected it off")
        self.index = index

    def work(self, guider, latent: Tensor, mask: Tensor | None, options: dict, report: Report) -> Tensor:
        """The run."""
        keep = None
        if mask is not None:
            x0 = latent
            if self.plan.x0 is not None:
                x0 = fit_batch(guider.inner_model.process_latent_in(self.plan.x0.to(latent)), latent.shape, "x0")
            keep = (1 - mask.clamp(0, 1), x0)
        self.result = run(
            self.plan,
            latent,
            alpha_bar(guider.inner_model.model_sampling),
            "x0",
            lambda schedule: GuiderGuide(guider, self.plan, schedule, options),
            keep,
            self.index,
            report,
            scored=(guider.inner_model, guider.conds["positive"]),
        )
        return self.result.x


class Inversion(Inside):
    """A plan's inversion; afterwards `result` has it."""

    result: Inverted

    def __init__(self, plan: Plan, solve: FixedPoint) -> None:
        super().__init__(plan)
        self.solve = solve

    def work(self, guider, latent: Tensor, mask: Tensor | None, options: dict, report: Report) -> Tensor:
        """The inversion; a mask doesn't matter to it."""
        self.result = invert(
            self.plan,
            latent,
            alpha_bar(guider.inner_model.model_sampling),
            "x0",
            lambda schedule: GuiderGuide(guider, self.plan, schedule, options),
            self.solve,
            report,
        )
        return self.result.x_T


def alpha_bar(model_sampling) -> Tensor:
    """Alpha-bar (T,) of a ComfyUI model, in float64."""
    return 1 / (1 + model_sampling.sigmas.double().cpu() ** 2)


def run_inside(model, positive: list, negative: list, latent: dict, sampler: Inside) -> Tensor:
    """Let ComfyUI run the sampler on a MODEL, two CONDITIONINGs and a LATENT; unscaled latents (b, c, ...)."""
    plan = sampler.plan
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"].float())
    samples = fit_batch(samples, torch.Size((plan.batch(samples), *samples.shape[1:])), "latent")
    mask = plan.mask if plan.mask is not None else latent.get("noise_mask")
    if mask is None and plan.x0 is not None:
        raise ValueError("x0 is given without a mask, expected a mask that says where to keep it")
    sigmas = sampler.prepare(model.get_model_object("model_sampling"))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    x = guider.sample(
        plan.noise(samples.shape, latent.get("batch_index"))[1],
        samples,
        sampler,
        sigmas,
        denoise_mask=mask,
        callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=plan.seed,
    )
    return x.to(comfy.model_management.intermediate_device())
