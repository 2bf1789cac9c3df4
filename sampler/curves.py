"""Values that may change along a run: a number, one value per step, or a curve over the run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PerStep = float | Sequence[float] | Callable[[float], float]
"""A number for every step, S numbers, or a function of the run's progress u from 0 (first step) to 1 (last)."""


@dataclass(frozen=True)
class Curve:
    """Piecewise linear through `points` (u, value), level before the first and after the last.

    Two points at the same u make a jump; the later one counts at that u itself.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Raises ValueError unless there are points and their u rises within 0 ... 1."""
        us = [u for u, _ in self.points]
        if not us or not all(0 <= u <= 1 for u in us) or us != sorted(us):
            raise ValueError(f"curve points are {self.points!r}, expected (u, value) pairs with u rising in 0 ... 1")

    def __call__(self, u: float) -> float:
        """The value at progress `u`."""
        before = [p for p in self.points if p[0] <= u]
        after = [p for p in self.points if p[0] > u]
        if not before or not after:
            return float((before or after)[-1 if before else 0][1])
        (u0, y0), (u1, y1) = before[-1], after[0]
        return y0 + (y1 - y0) * (u - u0) / (u1 - u0)


@dataclass(frozen=True)
class Interval:
    """`inside` while the progress is in [start, end], `outside` elsewhere.

    Guidance limited to an interval (Kynkaanniemi et al. 2024, arXiv 2404.07724) is `Interval(7.5, 0.1, 0.6)`.
    """

    inside: float
    start: float = 0.0
    end: float = 1.0
    outside: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError unless 0 <= start <= end <= 1."""
        if not 0 <= self.start <= self.end <= 1:
            raise ValueError(f"interval is {self.start!r} ... {self.end!r}, expected 0 <= start <= end <= 1")

    def __call__(self, u: float) -> float:
        """The value at progress `u`."""
        return self.inside if self.start <= u <= self.end else self.outside


def resolve(value: PerStep, steps: int, name: str, low: float = -math.inf, high: float = math.inf) -> tuple[float, ...]:
    """`value` as `steps` finite floats within `low` ... `high`.

    `name` is for the messages. Raises ValueError on a wrong length, a value out of range, or NaN.
    """
    repeat = 1
    if callable(value):
        values = [value(i / max(steps - 1, 1)) for i in range(steps)]
    elif getattr(value, "ndim", 1) == 1 and hasattr(value, "__len__") and not isinstance(value, str):
        values = list(value)
        if len(values) != steps:
            raise ValueError(f"{name} has {len(values)} values, expected one for each of the {steps} steps")
    else:
        values, repeat = [value], steps
    try:
        values = [float(v) for v in values]
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} is {value!r}, expected a number, {steps} numbers or a curve") from None
    for v in values:
        if not (math.isfinite(v) and low <= v <= high):
            raise ValueError(f"{name} has the value {v!r}, expected {low} to {high}")
    return tuple(values) * repeat
