"""Values that change along a run: a guidance scale or an eta of its own for every step."""

import math

from ..sampler import Curve, Interval, PerStep
from .inputs import choice, number

__all__ = ["CURVE", "DDIMGuidanceSchedule"]

CURVE = "DDIM_CURVE"
"""The socket type: a number, a list of one value a step, or a function of the run's progress from 0 to 1."""

RESOLUTION = 64


def cosine(start: float, end: float, first: float, last: float) -> Curve:
    """From `start` until progress `first` to `end` from progress `last` on, along half a cosine wave."""
    shares = [i / RESOLUTION for i in range(RESOLUTION + 1)]
    bent = [0.5 - 0.5 * math.cos(math.pi * u) for u in shares]
    return Curve(
        tuple((first + (last - first) * u, start + (end - start) * v) for u, v in zip(shares, bent, strict=True))
    )


class DDIMGuidanceSchedule:
    """A guidance scale that changes along the run."""

    CATEGORY = "DDIM"
    DESCRIPTION = (
        "A guidance scale (or eta) for every step. Wired into the sampler it takes the place of the number there. "
        "'interval' guides only between first and last: steps at scale 1 take half the time."
    )
    FUNCTION = "make"
    RETURN_TYPES = (CURVE,)
    RETURN_NAMES = ("schedule",)
    OUTPUT_TOOLTIPS = ("The curve over the run.",)
    SEARCH_ALIASES = ("ucg_schedule", "dynamic cfg", "guidance interval")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """The curve's kind and corners."""
        return {
            "required": {
                "shape": choice(
                    ["constant", "linear", "cosine", "interval"],
                    "constant: start all along. linear, cosine: start to end. interval: start within, end outside.",
                    "linear",
                ),
                "start": number(7.5, 0, 100, 0.1, "The value at the start of the run (for interval: within it)."),
                "end": number(1.0, 0, 100, 0.1, "The value at the end of the run (for interval: outside it)."),
                "first": number(0.0, 0, 1, 0.01, "Where the change begins: 0 is the first step, 1 the last."),
                "last": number(1.0, 0, 1, 0.01, "Where the change ends: 0 is the first step, 1 the last."),
            }
        }

    def make(self, shape: str, start: float, end: float, first: float, last: float) -> tuple[PerStep]:
        """Return the curve; ValueError unless first <= last."""
        if first > last:
            raise ValueError(f"first is {first!r} and last {last!r}, expected first at most last")
        if shape == "constant":
            return (start,)
        if shape == "interval":
            return (Interval(start, first, last, outside=end),)
        if shape == "linear":
            return (Curve(((first, start), (last, end))),)
        return (cosine(start, end, first, last),)
