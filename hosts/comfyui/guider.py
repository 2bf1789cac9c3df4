"""Guidance inside ComfyUI: a guider with a scale for every step, and any guider as the sampler's guide."""

from collections.abc import Callable

import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.samplers
import torch
from torch import Tensor

from ...sampler import Guidance, Guided, Schedule, rescale
from ..plan import Options

__all__ = ["GuiderGuide", "ScheduledGuider", "memory_of"]

CFG_CHANGES = (
    "sampler_cfg_function",
    "sampler_pre_cfg_function",
    "sampler_post_cfg_function",
    "sampler_calc_cond_batch_function",
)
"""Where patches of guidance stand in a model's options; they may count on both predictions."""


class Scale(float):
    """A guidance scale that the schedule gave."""


class ScheduledGuider(comfy.samplers.CFGGuider):
    """GUIDER: classifier-free guidance at a scale of each step's own, for any of ComfyUI's samplers.

    Scale 1 makes no uncond pass and scale 0 no cond pass, unless something on the model changes guidance itself.

    `cfg` is the scale of the step at work. A wrapper or node that sets it (ComfyUI's CFGOverride does, for a part of
    the run) decides in place of the schedule, until it sets back what was there.
    """

    def __init__(self, model: comfy.model_patcher.ModelPatcher, guidance: Guidance) -> None:
        super().__init__(model)
        self.guidance = guidance
        self.step: int | None = None
        """The step that is asked for next; None finds it by the level."""
        constant = isinstance(guidance.scale, int | float)
        self.scheduled = self.cfg = Scale(guidance.scale if constant else 1.0)
        if guidance.rescale:
            self.model_options = with_post_cfg(self.model_options, Rescaler(guidance.rescale))

    def sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        sampler: comfy.samplers.Sampler,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Callable | None = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Tensor:
        """A run along `sigmas` (S + 1,); ValueError when the guidance doesn't fit its S steps."""
        self.follow(sigmas.tolist())
        return super().sample(noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed)

    @property
    def cfg(self) -> float:
        """The guidance scale now: the schedule's, or what somebody set."""
        return self.scheduled if self.override is None else self.override

    @cfg.setter
    def cfg(self, scale: float) -> None:
        self.override = None if isinstance(scale, Scale) else scale

    def follow(self, levels: list[float]) -> None:
        """Get ready for a run along ComfyUI's `levels` (S + 1,); ValueError when the guidance doesn't fit."""
        steps = max(len(levels) - 1, 0)
        self.scales = tuple(map(Scale, self.guidance.scales(steps))) if steps else ()
        self.levels, self.step = levels, None
        self.scheduled = self.scales[0] if steps else self.scheduled

    def outer_predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None
    ) -> Tensor:
        """`predict_noise` inside the model's wrappers, which see the step's scale in `cfg` and may set another."""
        self.scheduled = self.scales[self.find(timestep) if self.step is None else self.step]
        return super().outer_predict_noise(x, timestep, model_options or {}, seed)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None
    ) -> Tensor:
        """The guided x0 for the state x (b, c, ...) at the level `timestep` (b,), a sigma."""
        options = model_options or {}
        if self.guidance.plus_plus and not 0 <= self.cfg <= 1:
            raise ValueError(f"guidance scale with CFG++ was set to {self.cfg!r}, expected 0 to 1")
        if not self.guidance.passes(self.cfg).cond and not self.needs_both(options):
            # The uncond pass at its usual second place, by which patches tell it from the cond pass.
            conds = [None, self.conds["negative"]]
            x0 = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, options)[1]
            for look in options.get("sampler_post_cfg_function", ()):
                if isinstance(look, Look):
                    look.uncond = x0
            return x0
        return super().predict_noise(x, timestep, options, seed)

    def needs_both(self, model_options: dict) -> bool:
        """Whether something on the model may count on both passes, whatever their weight."""
        own = self.model_options.get("disable_cfg1_optimization", False)  # a run's copy has it for CFG++ too
        cached = memory_of(model_options) is not None  # a cache measures what goes through the network together
        return own or cached or any(changes_guidance(model_options, key) for key in CFG_CHANGES)

    def find(self, timestep: Tensor) -> int:
        """The step that a level belongs to: the last one that starts there or before."""
        sigma, levels = float(timestep.max()), self.levels[:-1]
        falling = self.levels[0] >= self.levels[-1]
        started = [i for i, level in enumerate(levels) if (level >= sigma if falling else level <= sigma)]
        return started[-1] if started else 0


class PostCfg:
    """A post-CFG function of ComfyUI that has nothing to do where one prediction is all."""


class Rescaler(PostCfg):
    """`sampler.rescale` on the model's own output."""

    def __init__(self, phi: float) -> None:
        self.phi = phi

    def __call__(self, seen: dict) -> Tensor:
        """The rescaled x0; x0 is base + gain * output in every parameterization."""
        if seen["cond_scale"] in (0, 1):
            return seen["denoised"]
        x, sigma, denoised = seen["input"], seen["sigma"], seen["model"].model_sampling.calculate_denoised
        nothing = torch.zeros_like(x)
        base, gain = denoised(sigma, nothing, x), denoised(sigma, torch.ones_like(x), nothing)
        guided, cond = ((each - base) / gain for each in (seen["denoised"], seen["cond_denoised"]))
        return base + gain * rescale(guided, cond, self.phi)


class Look(PostCfg):
    """Remembers the uncond x0 and changes nothing."""

    uncond: Tensor | None = None

    def __call__(self, seen: dict) -> Tensor:
        """The guided x0 as it came."""
        self.uncond = seen["uncond_denoised"]
        return seen["denoised"]


class GuiderGuide:
    """Asks a ComfyUI guider at work for the guided x0.

    The run's states are signal x0 + noise eps. ComfyUI's are x0 + sigma eps, which is ours over the signal; its flow
    models' states are ours.
    """

    def __init__(
        self,
        guider: comfy.samplers.CFGGuider,
        schedule: Schedule,
        model_options: dict,
        seed: int | None,
        options: Options,
        ask: Callable | None = None,
    ) -> None:
        """`ask` stands between the run and the guider, and is called as it is."""
        own = guider if isinstance(guider, ScheduledGuider) else None
        self.scheduled, self.ask, self.seed = own, ask or guider, seed
        signal, noise = schedule.signal[:-1], schedule.noise[:-1]
        flow = isinstance(guider.inner_model.model_sampling, comfy.model_sampling.CONST)
        self.signal = [1.0] * len(schedule) if flow else signal.tolist()
        self.sigmas = (noise if flow else noise / signal).tolist()
        if own is not None and len(own.scales) != len(schedule):  # a wrapper gave the sampler other sigmas
            own.follow([*self.sigmas, 0.0])
        self.plus_plus = options.plus_plus or (own is not None and own.guidance.plus_plus)
        if options.rescale and not (own and own.guidance.rescale):
            model_options = with_post_cfg(model_options, Rescaler(options.rescale))
        self.look = Look()
        if self.plus_plus:
            model_options = with_post_cfg(model_options, self.look, disable_cfg1_optimization=True)
        self.options = model_options

    def __call__(self, x: Tensor, t: Tensor, i: int) -> Guided:
        """The guided x0 for the state x (b, c, ...) at step `i`."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        if self.scheduled is not None:
            self.scheduled.step = i
        sigma = torch.full((len(x),), self.sigmas[i], dtype=x.dtype, device=x.device)
        self.look.uncond = None
        x0 = self.ask(x / self.signal[i], sigma, model_options=self.options, seed=self.seed)
        if self.plus_plus and self.look.uncond is None:
            raise ValueError(
                "CFG++ needs the unconditional prediction of each step, and a patch on the model left it out: expected "
                "a model without that patch"
            )
        return Guided(x0, self.look.uncond)


def with_post_cfg(model_options: dict, function: Callable, disable_cfg1_optimization: bool = False) -> dict:
    """A copy of a model's options with one more post-CFG function."""
    return comfy.model_patcher.set_model_options_post_cfg_function(
        comfy.model_patcher.create_model_options_clone(model_options),
        function,
        disable_cfg1_optimization=disable_cfg1_optimization,
    )


def memory_of(model_options: dict) -> str | None:
    """What on the model gives other answers because of those it gave before; None if nothing known to."""
    cache = model_options.get("transformer_options", {}).get("easycache")
    if cache is not None:
        return getattr(cache, "name", "EasyCache")
    for function in model_options.get("sampler_pre_cfg_function", ()):
        code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
        held = dict(zip(code.co_freevars, cells, strict=False)) if code else {}
        if "running_avg" in held and "momentum" in held and held["momentum"].cell_contents:
            return "APG with momentum"
    return None


def changes_guidance(model_options: dict, key: str) -> bool:
    """Whether there is anything at one of `CFG_CHANGES` but `PostCfg`s."""
    found = model_options.get(key)
    return any(not isinstance(each, PostCfg) for each in found) if isinstance(found, list) else bool(found)
