"""The DDIM run: a generator of the state after each step. Progress, previews and stopping are the caller's."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch

from .curves import PerStep, resolve
from .noise import NoiseSource
from .predictor import Predict
from .schedule import Schedule


class Step(NamedTuple):
    """The state after step `index` (0 first), which was taken at `timestep`.

    x: the new state, (b, c, ...) in float32, or float64 if the run began in it
    x0, eps: what the model predicted from the state before
    """

    index: int
    timestep: float
    x: torch.Tensor
    x0: torch.Tensor
    eps: torch.Tensor


class NotFiniteError(ValueError):
    """The model returned NaN or infinity."""


@dataclass(frozen=True)
class Inpaint:
    """Keeps `x0` where `mask` is 1, the published convention; between 0 and 1 the two mix.

    The mask broadcasts against x. Before each model call the kept part is replaced by x0 at that step's level.

    first: also before the first call
    last: after the last step the kept part becomes x0 itself, bit for bit
    fixed_noise: one noise for all levels of x0, else a fresh one each
    project: the x0 prediction is replaced too, and the way on leads there from the state as it was
    """

    mask: torch.Tensor
    x0: torch.Tensor
    first: bool = True
    last: bool = True
    fixed_noise: bool = False
    project: bool = False

    def blend(self, kept: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """`kept` where the mask is 1, `x` where it is 0."""
        return kept * self.mask + (1.0 - self.mask) * x

    def check(self, x: torch.Tensor) -> None:
        """Raises ValueError unless mask and x0 broadcast to x's shape and hold numbers, the mask's in 0 ... 1."""
        for name, value in (("mask", self.mask), ("x0", self.x0)):
            try:
                fits = torch.broadcast_shapes(value.shape, x.shape) == x.shape
            except RuntimeError:
                fits = False
            if not fits:
                raise ValueError(f"{name} has the shape {tuple(value.shape)}, expected one that fits {tuple(x.shape)}")
            check_finite(value, name)
        if self.mask.min() < 0 or self.mask.max() > 1:
            raise ValueError(f"the mask goes from {self.mask.min()} to {self.mask.max()}, expected within 0 ... 1")


def repaint_walk(steps: int, jump_length: int, repeats: int) -> list[int]:
    """Steps in RePaint's order: every stretch of `jump_length` steps is run `repeats` times (arXiv 2201.09865).

    Going back is re-noising by the forward process. ValueError unless both are at least 1.
    """
    if jump_length < 1 or repeats < 1:
        raise ValueError(f"RePaint with jump_length {jump_length!r}, repeats {repeats!r}: expected both at least 1")
    starts = range(0, steps, jump_length)
    return [i for k in starts for _ in range(repeats) for i in range(k, min(k + jump_length, steps))]


def ddim_steps(
    predict: Predict,
    x: torch.Tensor,
    schedule: Schedule,
    *,
    noise: NoiseSource | None = None,
    temperature: PerStep = 1.0,
    dropout: float = 0.0,
    inpaint: Inpaint | None = None,
    walk: Sequence[int] | None = None,
    after: Callable[[torch.Tensor, int], torch.Tensor] | None = None,
) -> Iterator[Step]:
    """Runs `schedule` from the state `x` at its first level, and yields the state after each step.

    x_prev = sqrt(a_prev) x0 + sqrt(1 - a_prev - sigma^2) eps + temperature sigma z (Song et al. 2020, eq. 12).

    noise: where z comes from; needed if eta is above 0, under a mask, and for jumps back
    temperature: factor on z; a number, S numbers or a curve
    dropout: chance of each entry of z to be dropped, 0 to 1; the others grow by 1 / (1 - dropout)
    walk: the steps' order (default 0 ... S - 1); wherever it goes back, the state is noised again
    after: changes each new state; takes it and the step's index

    Raises ValueError before the first model call, NotFiniteError at the step where a model returned NaN (on a
    device other than the CPU, at the end of the run).
    """
    order = range(len(schedule)) if walk is None else walk
    scales = _step_noise(schedule, temperature, dropout)
    _check_run(x, order, schedule, noise, any(scales), inpaint)
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if inpaint is not None:
        inpaint = replace(inpaint, mask=inpaint.mask.to(x), x0=inpaint.x0.to(x))
    timesteps, direction = schedule.timesteps.tolist(), schedule.direction.tolist()
    signal = schedule.signal.tolist()
    always = noise is not None and noise.sequential
    watch = Watch(x, timesteps)
    visits = dict.fromkeys(range(len(schedule)), 0)
    level = order[0] if order else 0
    no_grad = torch.no_grad()  # one for all steps: between them, the caller's own mode holds
    for place, i in enumerate(order):
        key = i + visits[i] * len(schedule)  # a step run again needs noise of its own
        visits[i] += 1
        with no_grad:
            if i != level:
                x = _renoise(x, schedule, level, i, noise.normal(x.shape, "jump", key, x.device))
            level, seen = i + 1, x
            if inpaint is not None and (place > 0 or inpaint.first):
                seen = inpaint.blend(schedule.noised(inpaint.x0, _mask_noise(inpaint, noise, x, key), i), x)
            x0, eps = predict(seen, i)
            if inpaint is not None and inpaint.project:
                x0 = inpaint.blend(inpaint.x0, x0)
                eps = (x - signal[i] * x0) / float(schedule.noise[i])
            x = (x0 * signal[i + 1]).add_(eps, alpha=direction[i])
            if scales[i] or always:
                x.add_(_fresh_noise(noise, x, key, dropout), alpha=scales[i])
            if after is not None:
                x = after(x, i)
            watch.add(i, x)
            if inpaint is not None and inpaint.last and place == len(order) - 1:
                x = inpaint.blend(inpaint.x0, x)
        yield Step(i, timesteps[i], x, x0, eps)
    watch.check()


def check_finite(x: torch.Tensor, name: str) -> None:
    """Raises ValueError, with `name`, if `x` has NaN or infinity."""
    if not torch.isfinite(x).all():
        raise ValueError(f"{name}, of shape {tuple(x.shape)}, has NaN or infinity")


def _step_noise(schedule: Schedule, temperature: PerStep, dropout: float) -> list[float]:
    if not 0 <= dropout <= 1:
        raise ValueError(f"dropout is {dropout!r}, expected 0 to 1")
    heat = resolve(temperature, len(schedule), "temperature", low=0)
    return [s * h for s, h in zip(schedule.sigma.tolist(), heat, strict=True)]


def _check_run(
    x: torch.Tensor,
    order: Sequence[int],
    schedule: Schedule,
    noise: NoiseSource | None,
    noisy: bool,
    inpaint: Inpaint | None,
) -> None:
    check_finite(x, "x")
    if any(not 0 <= i < len(schedule) for i in order):
        raise ValueError(f"the walk is {order!r}, expected steps within 0 ... {len(schedule) - 1}")
    if any(b > a + 1 for a, b in pairwise(order)):
        raise ValueError(f"the walk is {order!r}, expected no step to be skipped")
    jumps = any(b <= a for a, b in pairwise(order))
    if noise is None and (noisy or inpaint is not None or jumps):
        raise ValueError("eta above 0, a mask and jumps back need a noise source, got None")
    if inpaint is not None:
        inpaint.check(x)


def _fresh_noise(noise: NoiseSource, x: torch.Tensor, key: int, dropout: float) -> torch.Tensor:
    """Eq. 12's z; with dropout the entries that stay grow, as in torch's dropout."""
    z = noise.normal(x.shape, "step", key, x.device)
    if dropout == 1:
        return torch.zeros_like(z)
    return z * noise.keep(x.shape, 1 - dropout, key, x.device) / (1 - dropout) if dropout else z


def _mask_noise(inpaint: Inpaint, noise: NoiseSource, x: torch.Tensor, key: int) -> torch.Tensor:
    """The noise of the kept x0. In published order it is drawn for x0 as given, maybe one for the whole batch."""
    shape = inpaint.x0.shape if noise.sequential else x.shape
    return noise.normal(shape, "mask", 0 if inpaint.fixed_noise else key, x.device)


def _renoise(x: torch.Tensor, schedule: Schedule, level: int, back_to: int, z: torch.Tensor) -> torch.Tensor:
    """The forward process from `level` to the noisier `back_to`."""
    ratio = float(schedule.signal[back_to] / schedule.signal[level])
    added = float(schedule.noise[back_to]) ** 2 - (ratio * float(schedule.noise[level])) ** 2
    return (ratio * x).add_(z, alpha=math.sqrt(max(added, 0.0)))


class Watch:
    """Notices NaN without making a device wait: each step leaves a sum, read at the end (on the CPU, at once)."""

    def __init__(self, x: torch.Tensor, timesteps: Sequence[float]) -> None:
        self.at_once, self.timesteps = x.device.type == "cpu", timesteps
        self.sums: list[tuple[int, torch.Tensor]] = []

    def add(self, i: int, x: torch.Tensor) -> None:
        """Looks at the state after step `i`."""
        if not self.at_once:
            self.sums.append((i, x.sum()))
        elif not math.isfinite(x.sum().item()):
            self.refuse(i)

    def check(self) -> None:
        """At the end of a run, raises NotFiniteError for the first step that left NaN or infinity."""
        for i, total in self.sums:
            if not math.isfinite(total.item()):
                self.refuse(i)

    def refuse(self, i: int) -> None:
        """Raises NotFiniteError for step `i`."""
        raise NotFiniteError(f"the model gave NaN or infinity at step {i}, timestep {self.timesteps[i]!r}")
