"""From a model to what a step needs: its prediction of x0, and the eps to go on along."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch

from .conditioning import Conditioning, Misfit, fit, join
from .guidance import Guidance, X0Filter, cfg, rescale
from .schedule import Schedule


class Model(Protocol):
    """A diffusion model as published; any latent-diffusion model object is one."""

    num_timesteps: int
    betas: torch.Tensor
    alphas_cumprod: torch.Tensor
    alphas_cumprod_prev: torch.Tensor
    parameterization: str

    def apply_model(self, x: torch.Tensor, t: torch.Tensor, cond: Conditioning) -> torch.Tensor:
        """The model's output for x (b, c, ...) at the timesteps t (b,), shaped as x."""
        ...


class Guided(NamedTuple):
    """A model's answer at one step: the guided output, and the unconditional one if CFG++ needs it."""

    output: torch.Tensor
    uncond: torch.Tensor | None = None


Guide = Callable[[torch.Tensor, torch.Tensor, int], Guided]
"""Takes x (b, c, ...), t (b,) and the step's index. A host with guidance of its own plugs in here."""

Corrector = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]
"""Takes eps, x, t (b,) and the step's index; gives another eps. Runs after guidance."""

Predict = Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]
"""Takes x and the step's index; gives the x0 prediction and the eps to go on along. All that a run needs to know."""

PARAMETERIZATIONS = ("eps", "v", "x0", "flow")
"""What a model's output is, given x = signal x0 + noise eps: eps, signal eps - noise x0, x0, or eps - x0."""


def _cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return x if x.dtype == dtype else x.to(dtype)  # `to` costs a microsecond even when there is nothing to do


def _solve(parameterization: str, signal: float, noise: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """How x0 and eps follow from (x, output): both of x = signal x0 + noise eps, output = p x0 + q eps solved."""
    p, q = {"eps": (0.0, 1.0), "x0": (1.0, 0.0), "v": (-noise, signal), "flow": (-1.0, 1.0)}[parameterization]
    det = signal * q - noise * p
    return (q / det, -noise / det), (-p / det, signal / det)


class ModelGuide:
    """Classifier-free guidance over a model, without a pass that has no weight.

    Scale 1 makes no uncond pass and scale 0 no cond pass, step by step. Where both are needed it is one call of
    twice the batch, uncond first, if both conditionings have the same shapes, else two calls. The model sees x in
    `dtype` (default: as it comes). `calls` counts the model's calls.
    """

    def __init__(
        self,
        model: Model,
        cond: Conditioning,
        uncond: Conditioning,
        scales: Sequence[float],
        guidance: Guidance | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.model, self.cond, self.uncond = model, cond, uncond
        self.scales, self.guidance, self.dtype = scales, guidance or Guidance(), dtype
        self.calls = 0
        try:
            self.joined = join(uncond, cond)
        except Misfit:
            self.joined = None

    def __call__(self, x: torch.Tensor, t: torch.Tensor, i: int) -> Guided:
        """The guided output at step `i`."""
        scale, phi = self.scales[i], self.guidance.rescale
        passes = self.guidance.passes(scale)
        if not passes.cond:
            uncond = self._apply(x, t, self.uncond)
            return Guided(uncond, uncond)
        if not passes.uncond:
            return Guided(self._apply(x, t, self.cond))
        cond, uncond = self._both(x, t)
        guided = cfg(cond, uncond, scale)
        return Guided(rescale(guided, cond, phi) if phi else guided, uncond)

    def _both(self, x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.joined is None:
            return self._apply(x, t, self.cond), self._apply(x, t, self.uncond)
        uncond, cond = self._apply(torch.cat([x, x]), torch.cat([t, t]), self.joined).chunk(2)
        return cond, uncond

    def _apply(self, x: torch.Tensor, t: torch.Tensor, cond: Conditioning) -> torch.Tensor:
        self.calls += 1
        return _cast(self.model.apply_model(_cast(x, self.dtype or x.dtype), t, cond), x.dtype)


class Predictor:
    """Turns a guide's output into (x0, eps) by the schedule's levels.

    Every parameterization is out = p x0 + q eps, which with x = signal x0 + noise eps gives both. Then `correct`
    may change eps (x0 follows), and each of `filters` x0 (eps stays, as published).

    Raises ValueError for an unknown parameterization, and for an eps-model on a level without any signal.
    """

    def __init__(
        self,
        guide: Guide,
        schedule: Schedule,
        parameterization: str = "eps",
        *,
        correct: Corrector | None = None,
        filters: Sequence[X0Filter] = (),
        plus_plus: bool = False,
    ) -> None:
        if parameterization not in PARAMETERIZATIONS:
            raise ValueError(f"parameterization {parameterization!r} is not one of {', '.join(PARAMETERIZATIONS)}")
        self.levels = list(zip(schedule.signal[:-1].tolist(), schedule.noise[:-1].tolist(), strict=True))
        self.timesteps = schedule.timesteps.tolist()
        if (parameterization == "eps" or correct) and any(signal == 0 for signal, _ in self.levels):
            raise ValueError(
                f"the schedule starts at timestep {self.timesteps[0]!r} without any signal, where eps alone doesn't "
                "give x0; expected a v-, x0- or flow-model without score corrector, or another schedule"
            )
        self.mix = [_solve(parameterization, signal, noise) for signal, noise in self.levels]
        self.guide, self.parameterization = guide, parameterization
        self.correct, self.filters, self.plus_plus = correct, tuple(filters), plus_plus
        self._times: Sequence[torch.Tensor] | None = None

    def __call__(self, x: torch.Tensor, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The prediction for step `i`: x0, and the eps to go on along."""
        if self._times is None or self._times[0].shape[0] != x.shape[0] or self._times[0].device != x.device:
            # All at once: making a tensor at every step would cost more than the step's own arithmetic.
            dtype = torch.int64 if isinstance(self.timesteps[i], int) else x.dtype
            times = torch.tensor(self.timesteps, dtype=dtype, device=x.device)
            self._times = times[:, None].repeat(1, x.shape[0]).unbind()
        return self.at(x, self._times[i], i)

    def at(self, x: torch.Tensor, t: torch.Tensor, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The same with the timesteps given."""
        answer = self.guide(x, t, i)
        x0, eps = self._split(x, answer.output, i)
        if self.correct is not None:
            signal, noise = self.levels[i]
            eps = self.correct(eps, x, t, i)
            x0 = torch.add(x, eps, alpha=-noise).div_(signal)
        for change in self.filters:
            x0 = change(x0, i)
        if self.plus_plus and answer.uncond is not None:
            eps = self._split(x, answer.uncond, i)[1]
        return x0, eps

    def _split(self, x: torch.Tensor, out: torch.Tensor, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        (x0_x, x0_out), (eps_x, eps_out) = self.mix[i]
        x0 = out if self.parameterization == "x0" else (x * x0_x).add_(out, alpha=x0_out)
        eps = out if self.parameterization == "eps" else (x * eps_x).add_(out, alpha=eps_out)
        return x0, eps


def make_predictor(
    model: Model,
    schedule: Schedule,
    batch: int,
    cond: Conditioning,
    uncond: Conditioning = None,
    guidance: Guidance | None = None,
    *,
    correct: Corrector | None = None,
    filters: Sequence[X0Filter] = (),
    dtype: torch.dtype | None = None,
) -> Predictor:
    """The usual predictor: a model with conditionings, guided.

    `batch` is that of x. `uncond` may be None only where the model takes None, or no step's scale needs it.
    `dtype` is what the model computes in. Raises ValueError on misfits, before any model call.
    """
    guidance = guidance or Guidance()
    scales = guidance.scales(len(schedule))
    if uncond is None and cond is not None and any(guidance.passes(s).uncond for s in scales):
        raise ValueError(f"guidance with scale {guidance.scale!r} needs the unconditional conditioning, got None")
    cond, uncond = fit(cond, batch, "cond"), fit(uncond, batch, "uncond")
    guide = ModelGuide(model, cond, uncond, scales, guidance, dtype)
    return Predictor(
        guide, schedule, model.parameterization, correct=correct, filters=filters, plus_plus=guidance.plus_plus
    )
