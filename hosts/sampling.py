"""The runs that both hosts share: along a schedule, and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..sampler import (
    FixedPoint,
    Guide,
    Inpaint,
    InversionStep,
    NoiseSource,
    Predict,
    Predictor,
    Replay,
    Schedule,
    Step,
    X0Filter,
    ddim_steps,
    invert_steps,
)
from .plan import Options, Part

__all__ = ["Inversion", "Report", "Result", "make_guided_predictor", "run_inversion", "run_sampler"]

Report = Callable[[int, int, Tensor | None], None]
"""Told how many steps are done, of how many, and what to preview: the last x0 prediction, of an inversion the state.

Raises what stops the run.
"""


@dataclass(frozen=True)
class Result:
    """Scaled latents on the CPU: where the run ended, its last x0 prediction, and after the kept steps both."""

    x: Tensor
    x0: Tensor
    states: Tensor
    predictions: Tensor


def make_guided_predictor(
    options: Options,
    guide: Guide,
    schedule: Schedule,
    parameterization: str,
    plus_plus: bool,
    filters: Sequence[X0Filter] = (),
    scored: tuple[object, object] = (None, None),
) -> Predictor:
    """A guide's predictions, changed as the options say.

    `filters` change x0 after the options' threshold; `scored` is the (model, cond) that a score corrector is shown.
    """
    steps = len(schedule)
    if options.threshold is not None:
        filters = (options.threshold.filter(steps), *filters)
    correct = options.correct(steps, *scored)
    return Predictor(guide, schedule, parameterization, correct=correct, filters=filters, plus_plus=plus_plus)


def run_sampler(
    options: Options,
    predict: Predict,
    x: Tensor,
    schedule: Schedule,
    noise: NoiseSource,
    inpaint: Inpaint | None,
    report: Report,
    part: Part | None = None,
) -> Result:
    """Sample from the state `x` through a schedule of at least one step, and keep what the options say.

    `x` is the state where `part` (default: the whole) starts. `report` is called before the first step and after each.
    """
    part = part or Part()
    walk = options.walk(len(schedule)) or part.steps(len(schedule))
    total = len(walk)
    kept: list[tuple[Tensor, Tensor]] = []
    report(0, total, None)
    steps = ddim_steps(
        predict,
        x,
        schedule,
        noise=noise,
        temperature=options.temperature,
        dropout=options.dropout,
        inpaint=inpaint,
        walk=walk,
        joins=True,
        after=options.replay.correct if options.replay else None,
    )
    for done, step in enumerate(steps, start=1):
        if done == total and step.index < len(schedule) - 1 and not part.noise_left:
            step = step._replace(x=_landed(step, inpaint))
        if done % options.log_every == 0 or done == total:
            kept.append((step.x, step.x0))
        report(done, total, step.x0)
    states, predictions = (torch.cat(each).cpu() for each in zip(*kept, strict=True))
    return Result(step.x.cpu(), step.x0.cpu(), states, predictions)


def _landed(step: Step, inpaint: Inpaint | None) -> Tensor:
    """Where a step would have ended on a clean level: at its x0, the kept part as after a last step."""
    if inpaint is None or not inpaint.last:
        return step.x0
    kept = replace(inpaint, mask=inpaint.mask.to(step.x0), x0=inpaint.x0.to(step.x0))
    return kept.blend(kept.x0, step.x0)


@dataclass(frozen=True)
class Inversion:
    """What an inversion found.

    x_T: the state it came to, scaled, on the CPU; eps: the noise over the latent in it
    replay: what brings a run back to the latent exactly, None unless it was asked for
    residuals: the largest error of each step, first step of the way back last; calls: of the model
    """

    x_T: Tensor
    eps: Tensor
    replay: Replay | None
    residuals: list[float]
    calls: int


def run_inversion(predict: Predict, latent: Tensor, schedule: Schedule, solve: FixedPoint, report: Report) -> Inversion:
    """Invert the scaled latent: from it back through a schedule to x_T."""
    replay = Replay() if solve.measure else None
    seen: list[InversionStep] = []
    report(0, len(schedule), None)
    for step in invert_steps(predict, latent, schedule, solve):
        seen.append(step)
        if replay is not None:
            replay.see(step)
        report(len(seen), len(schedule), step.x)
    x = seen[-1].x
    return Inversion(
        x_T=x.cpu(),
        eps=((x - float(schedule.signal[0]) * latent) / float(schedule.noise[0])).cpu(),
        replay=replay,
        residuals=torch.stack([step.residual.max() for step in seen]).tolist(),
        calls=sum(step.calls for step in seen),
    )
