"""ComfyUI's guider as the sampler's guide."""

import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.samplers
import torch
from torch import Tensor

from ..sampler import Guided, Schedule, rescale
from .plan import Plan

__all__ = ["GuiderGuide"]

CFG_CHANGES = (
    "sampler_cfg_function",
    "sampler_pre_cfg_function",
    "sampler_post_cfg_function",
    "sampler_calc_cond_batch_function",
    "disable_cfg1_optimization",
)
"""Where patches of guidance stand in a model's options; they may count on both predictions."""


class GuiderGuide:
    """Asks a ComfyUI guider at work for the guided x0, at a guidance scale of each step's own.

    Scale 1 makes no uncond pass and scale 0 no cond pass, unless something on the model changes guidance itself.
    """

    def __init__(self, guider: comfy.samplers.CFGGuider, plan: Plan, schedule: Schedule, options: dict) -> None:
        """`options` are the model options that ComfyUI hands to a sampler."""
        self.guider, self.options, self.seed = guider, options, plan.seed
        self.guidance, self.scales = plan.guidance, plan.guidance.scales(len(schedule))
        self.model_sampling = guider.inner_model.model_sampling
        timesteps = torch.from_numpy(schedule.timesteps.copy())
        if isinstance(self.model_sampling, comfy.model_sampling.CONST):
            self.sigmas, self.signal = timesteps.tolist(), [1.0] * len(schedule)
        else:
            self.sigmas = self.model_sampling.sigmas.cpu()[timesteps].tolist()
            self.signal = schedule.signal.tolist()
        self.patched = any(options.get(key) for key in CFG_CHANGES)
        self.watched = options
        self.seen: dict[str, Tensor] = {}
        if self.guidance.plus_plus or self.guidance.rescale:
            self.watched = comfy.model_patcher.set_model_options_post_cfg_function(
                comfy.model_patcher.create_model_options_clone(options),
                self._look,
                disable_cfg1_optimization=self.guidance.plus_plus,
            )

    def __call__(self, x: Tensor, t: Tensor, i: int) -> Guided:
        """The guided x0 for the state x (b, c, ...) at step `i`."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        x_in, scale = x / self.signal[i], self.scales[i]
        sigma = torch.full((len(x),), self.sigmas[i], dtype=x.dtype, device=x.device)
        if scale == 0 and not self.patched:
            x0 = self._uncond(x_in, sigma)
            return Guided(x0, x0)
        self.guider.set_cfg(scale)
        x0 = self.guider(x_in, sigma, model_options=self.watched, seed=self.seed)
        if self.guidance.rescale and scale != 1:
            x0 = self._rescaled(x0, x_in, sigma)
        return Guided(x0, self.seen.get("uncond_denoised"))

    def _uncond(self, x_in: Tensor, sigma: Tensor) -> Tensor:
        """The uncond pass alone, at its usual second place, by which patches tell it from the cond pass."""
        conds = [None, self.guider.conds["negative"]]
        return comfy.samplers.calc_cond_batch(self.guider.inner_model, conds, x_in, sigma, self.options)[1]

    def _look(self, seen: dict) -> Tensor:
        self.seen = seen
        return seen["denoised"]

    def _rescaled(self, x0: Tensor, x_in: Tensor, sigma: Tensor) -> Tensor:
        """`sampler.rescale` on the model's own output; x0 is base + gain * output in every parameterization."""
        denoised = self.model_sampling.calculate_denoised
        nothing = torch.zeros_like(x_in)
        base, gain = denoised(sigma, nothing, x_in), denoised(sigma, torch.ones_like(x_in), nothing)
        guided, cond = ((each - base) / gain for each in (x0, self.seen["cond_denoised"]))
        return base + gain * rescale(guided, cond, self.guidance.rescale)
