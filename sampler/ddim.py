"""The DDIM run: a generator of the state after each step. Progress, previews and stopping are the caller's."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import torch

from .curves import PerStep, resolve
from .finite import Watch, check_finite
from .inpaint import Inpaint, mask_noise
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
    joins: bool = False,
    after: Callable[[torch.Tensor, int], torch.Tensor] | None = None,
) -> Iterator[Step]:
    """Runs `schedule` from the state `x` at its first level, and yields the state after each step.

    x_prev = sqrt(a_prev) x0 + sqrt(1 - a_prev - sigma^2) eps + temperature sigma z (Song et al. 2020, eq. 12).

    noise: where z comes from; needed if eta is above 0, under a mask, and for jumps back
    temperature: factor on z; a number, S numbers or a curve
    dropout: chance of each entry of z to be dropped, 0 to 1; the others grow by 1 / (1 - dropout)
    walk: the steps' order (default 0 ... S - 1); wherever it goes back, the state is noised again. One that begins
        later or ends sooner is a part of the run, and x is the state there
    joins: parts one after the other make the whole: what the steps before would have drawn is drawn, and dropped
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
    for i in range(order[0] if joins and order else 0):
        _pass_by(i, x, scales[i] or always, noise, dropout, inpaint)
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
            if inpaint is not None and (place > 0 or i > 0 or inpaint.first):
                seen = inpaint.blend(schedule.noised(inpaint.x0, mask_noise(inpaint, noise, x, key), i), x)
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
            if inpaint is not None and inpaint.last and place == len(order) - 1 and level == len(schedule):
                x = inpaint.blend(inpaint.x0, x)
        yield Step(i, timesteps[i], x, x0, eps)
    watch.check()


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


def _pass_by(
    i: int, x: torch.Tensor, noisy: float | bool, noise: NoiseSource | None, dropout: float, inpaint: Inpaint | None
) -> None:
    """Draw what step `i` would, for sources that move on as they are drawn from."""
    if inpaint is not None and (i > 0 or inpaint.first):
        mask_noise(inpaint, noise, x, i)
    if noisy:
        _fresh_noise(noise, x, i, dropout)


def _fresh_noise(noise: NoiseSource, x: torch.Tensor, key: int, dropout: float) -> torch.Tensor:
    """Eq. 12's z; with dropout the entries that stay grow, as in torch's dropout."""
    z = noise.normal(x.shape, "step", key, x.device)
    if dropout == 1:
        return torch.zeros_like(z)
    return z * noise.keep(x.shape, 1 - dropout, key, x.device) / (1 - dropout) if dropout else z


def _renoise(x: torch.Tensor, schedule: Schedule, level: int, back_to: int, z: torch.Tensor) -> torch.Tensor:
    """The forward process from `level` to the noisier `back_to`."""
    ratio = float(schedule.signal[back_to] / schedule.signal[level])
    added = float(schedule.noise[back_to]) ** 2 - (ratio * float(schedule.noise[level])) ** 2
    return (ratio * x).add_(z, alpha=math.sqrt(max(added, 0.0)))
