"""A plan carried out, on whatever model the host has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampler import (
    FixedPoint,
    Guide,
    InversionStep,
    Predictor,
    Replay,
    Schedule,
    X0Filter,
    ddim_steps,
    invert_steps,
)
from .plan import Plan

__all__ = ["Inverted", "Result", "invert", "run"]

Report = Callable[[int, int, Tensor | None], None]
"""Told how many steps are done, of how many, and the last x0 prediction; raises what stops the run."""


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
    1 keeps, scaled; `index` as `Plan.noise` takes it; `report` is called before the first step and after each;
    `filters` change the x0 predictions, after the plan's own threshold; `scored` is the (model, cond) that a score
    corrector is shown.
    """
    options, rules = plan.options, plan.table.rules
    schedule = plan.table.schedule(alphas_cumprod, plan.steps, plan.eta, plan.denoise)
    if options.threshold is not None:
        filters = (options.threshold.filter(len(schedule)), *filters)
    predict = Predictor(
        make_guide(schedule),
        schedule,
        parameterization,
        correct=options.correct(len(schedule), *scored),
        filters=filters,
        plus_plus=options.plus_plus,
    )
    noise, x_T = plan.noise(latent.shape, index)
    walk = options.walk(len(schedule))
    total = len(walk or schedule)
    kept: list[tuple[Tensor, Tensor]] = []
    report(0, total, None)
    steps = ddim_steps(
        predict,
        rules.start(schedule, x_T.to(latent), latent if plan.denoise < 1 else None),
        schedule,
        noise=noise,
        temperature=options.temperature,
        dropout=options.dropout,
        inpaint=rules.inpaint(*keep) if keep else None,
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

    x_T: scaled, on the CPU; replay: what brings a run back to the latent exactly, None unless it was asked for
    residuals: the largest error of each step, first step of the way back last; calls: how often the model was asked
    """

    x_T: Tensor
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
    schedule = plan.table.schedule(alphas_cumprod, plan.steps, 0.0, 1.0)
    predict = Predictor(make_guide(schedule), schedule, parameterization)
    replay = Replay() if solve.measure else None
    seen: list[InversionStep] = []
    report(0, len(schedule), None)
    for step in invert_steps(predict, latent, schedule, solve):
        seen.append(step)
        if replay is not None:
            replay.see(step)
        report(len(seen), len(schedule), None)
    return Inverted(seen[-1].x.cpu(), replay, [step.residual.max().item() for step in seen], sum(s.calls for s in seen))
