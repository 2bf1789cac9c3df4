"""A plan carried out, on whatever model the host has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    X0Filter,
    ddim_steps,
    invert_steps,
)
from .plan import Options, Plan

__all__ = ["Inverted", "Report", "Result", "follow", "go_back", "invert", "predictor", "run"]

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


def run(
    plan: Plan,
    latent: Tensor,
    alphas_cumprod: Tensor,
    parameterization: str,
    make_guide: Callable[[Schedule], Guide],
    keep: tuple[Tensor, Tensor] | None,
    index: Sequence[int] | None,
    report: Report,
    filters: Sequence[X0Filter] = (),
    scored: tuple[object, object] = (None, None),
) -> Result:
    """Run a plan from the scaled latent (b, c, h, w), on its device.

    `make_guide` builds the guided model call for a schedule; `keep` is (mask, x0) in the sampler's convention,
    1 keeps, scaled; `index` as `Plan.noise` takes it; the others as `predictor` and `follow` take them.
    """
    options, rules = plan.options, plan.table.rules
    schedule = plan.table.schedule(alphas_cumprod, plan.steps, plan.eta, plan.denoise)
    guide = make_guide(schedule)
    predict = predictor(options, guide, schedule, parameterization, options.plus_plus, filters, scored)
    noise, x_T = plan.noise(latent.shape, index)
    below = latent if plan.denoise < 1 or rules.under else None
    x = rules.start(schedule, x_T.to(latent), below, schedule.timesteps[0] == len(alphas_cumprod) - 1)
    return follow(options, predict, x, schedule, noise, rules.inpaint(*keep) if keep else None, report)


def predictor(
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


def follow(
    options: Options,
    predict: Predict,
    x: Tensor,
    schedule: Schedule,
    noise: NoiseSource,
    inpaint: Inpaint | None,
    report: Report,
) -> Result:
    """Go from the state `x` through a schedule of at least one step, and keep what the options say.

    `report` is called before the first step and after each.
    """
    walk = options.walk(len(schedule))
    total = len(walk or schedule)
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
        after=options.replay.correct if options.replay else None,
    )
    for done, step in enumerate(steps, start=1):
        if done % options.log_every == 0 or done == total:
            kept.append((step.x, step.x0))
        report(done, total, step.x0)
    states, predictions = (torch.cat(each).cpu() for each in zip(*kept, strict=True))
    return Result(step.x.cpu(), step.x0.cpu(), states, predictions)


@dataclass(frozen=True)
class Inverted:
    """A latent taken back to noise.

    x_T: the state it came to, scaled, on the CPU; eps: the noise over the latent in it
    replay: what brings a run back to the latent exactly, None unless it was asked for
    residuals: the largest error of each step, first step of the way back last; calls: how often the model was asked
    """

    x_T: Tensor
    eps: Tensor
    replay: Replay | None
    residuals: list[float]
    calls: int


def invert(
    plan: Plan,
    latent: Tensor,
    alphas_cumprod: Tensor,
    parameterization: str,
    make_guide: Callable[[Schedule], Guide],
    solve: FixedPoint,
    report: Report,
) -> Inverted:
    """Take the scaled latent (b, c, h, w) back to x_T along a plan's table and guidance, at eta 0."""
    schedule = plan.table.schedule(alphas_cumprod, plan.steps, 0.0, plan.denoise)
    return go_back(Predictor(make_guide(schedule), schedule, parameterization), latent, schedule, solve, report)


def go_back(predict: Predict, latent: Tensor, schedule: Schedule, solve: FixedPoint, report: Report) -> Inverted:
    """Go from the scaled latent back through a schedule."""
    replay = Replay() if solve.measure else None
    seen: list[InversionStep] = []
    report(0, len(schedule), None)
    for step in invert_steps(predict, latent, schedule, solve):
        seen.append(step)
        if replay is not None:
            replay.see(step)
        report(len(seen), len(schedule), step.x)
    x = seen[-1].x
    return Inverted(
        x_T=x.cpu(),
        eps=((x - float(schedule.signal[0]) * latent) / float(schedule.noise[0])).cpu(),
        replay=replay,
        residuals=[step.residual.max().item() for step in seen],
        calls=sum(step.calls for step in seen),
    )
