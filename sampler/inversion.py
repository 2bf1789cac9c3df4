"""DDIM inversion: the noise that an image came from, by running the schedule backwards."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from .ddim import Watch, check_finite
from .predictor import Predict
from .schedule import Schedule


@dataclass(frozen=True)
class FixedPoint:
    """How exactly each inversion step is solved.

    iterations: at most this many changes of x per step; 1 is the plain inversion
    tolerance: a sample whose residual is at most this is left alone; 0 makes every change
    damping: share of each change that is made, above 0 to 1; less than 1 steadies steps that don't settle
    measure: one more call per step, at its end, to learn the residual; `Replay` needs it
    """

    iterations: int = 1
    tolerance: float = 0.0
    damping: float = 1.0
    measure: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError on a value out of range."""
        if self.iterations < 1 or self.tolerance < 0 or not 0 < self.damping <= 1:
            raise ValueError(f"{self!r}: expected iterations at least 1, tolerance at least 0, damping above 0 to 1")


class InversionStep(NamedTuple):
    """The state after an inversion step, which undid step `index` of the schedule (S - 1 first).

    x: the new state, at level `index`
    before: the state it came from, at level `index` + 1
    reached: where the step taken from the last x measured leads; `before` if the inversion is exact
    residual: (b,) the largest difference of those two, per sample: that of x itself if it was measured or within
        the tolerance, else that of the x before the last change
    calls: of the model, in this step
    """

    index: int
    timestep: float
    x: torch.Tensor
    before: torch.Tensor
    reached: torch.Tensor
    residual: torch.Tensor
    calls: int


@torch.no_grad()
def invert_steps(
    predict: Predict, x: torch.Tensor, schedule: Schedule, solve: FixedPoint | None = None
) -> Iterator[InversionStep]:
    """Takes `x` from the schedule's last level to its first, yielding every state; the last one is x_T.

    Each step looks for the x_t from which the eta-0 step leads to the given x_prev, by
    x_t <- x_t + (signal_t / signal_prev) (x_prev - step(x_t)), beginning at x_prev. One such change is the
    inversion of Song et al. 2020 (section 4.3) and of the published `encode`; more of them converge to the exact
    inverse where the model is smooth and steps are small (Pan et al. 2023, arXiv 2309.04907).

    Raises ValueError if eta isn't 0 or the schedule starts without signal, before any model call, and NotFiniteError
    for a model's NaN as `ddim_steps` does.
    """
    solve = solve or FixedPoint()
    check_finite(x, "x")
    if schedule.eta.any():
        raise ValueError(f"inversion with eta {float(schedule.eta.max())!r}, expected 0: noise can't be undone")
    if schedule.signal[0] == 0:
        raise ValueError(
            f"timestep {schedule.timesteps[0]!r} has no signal (alpha-bar 0), so nothing can be inverted to it"
        )
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    signal, noise = schedule.signal.tolist(), schedule.noise.tolist()
    timesteps = schedule.timesteps.tolist()
    watch = Watch(x, timesteps)
    for i in reversed(range(len(schedule))):
        before, gain = x, solve.damping * signal[i] / signal[i + 1]
        for calls in range(1, solve.iterations + solve.measure + 1):
            x0, eps = predict(x, i)
            reached = (signal[i + 1] * x0).add_(eps, alpha=noise[i + 1])
            residual = (before - reached).flatten(1).abs().amax(1)
            open_ = residual > solve.tolerance
            if calls > solve.iterations or (solve.tolerance > 0 and not open_.any()):
                break
            change = torch.where(open_.view(-1, *[1] * (x.ndim - 1)), before - reached, 0.0)
            x = torch.add(x, change, alpha=gain)
        watch.add(i, reached)
        yield InversionStep(i, timesteps[i], x, before, reached, residual, calls)
    watch.check()


@dataclass(frozen=True)
class Replay:
    """What an inversion saw, so that the run back ends at its start bit for bit.

    Fill it with `see` from steps that were measured, and give `correct` to `ddim_steps` as `after`, with eta 0. As long
    as the run repeats what the inversion saw, each state is the recorded one; where it departs (another prompt,
    another guidance), it is shifted by the inversion's error (Ju et al. 2023, arXiv 2310.01506).
    """

    seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def see(self, step: InversionStep) -> None:
        """Keeps a step."""
        self.seen[step.index] = step.before, step.reached

    def correct(self, x: torch.Tensor, i: int) -> torch.Tensor:
        """The state after step `i`, without the inversion's error."""
        before, reached = self.seen[i]
        return torch.where(x == reached, before, x + (before - reached))
