"""What changes along a run: values for every step, and the table of timesteps itself."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

from ..sampler import LANDINGS, PRESETS, SPACINGS, Curve, Interval, PerStep, Scheme
from .checks import as_text, shown, verdict
from .expression import compile_expression
from .sockets import choice, number, rare, socket, text

__all__ = ["CURVE", "SCHEDULE", "DDIMCurve", "DDIMGuidanceSchedule", "DDIMSchedule"]

CURVE = "DDIM_CURVE"
"""A socket type: a number, a list of one value a step, or a function of the run's progress from 0 to 1."""

SCHEDULE = "DDIM_SCHEDULE"
"""A socket type: a `Scheme`."""

LONGEST = 20_000
"""Characters of a list of points or timesteps."""
RESOLUTION = 64
DRAWN_RANGE = "0, 10"
AS_PRESET = "as preset"


def cosine(start: float, end: float, first: float, last: float) -> Curve:
    """From `start` until progress `first` to `end` from progress `last` on, along half a cosine wave."""
    shares = [i / RESOLUTION for i in range(RESOLUTION + 1)]
    bent = [0.5 - 0.5 * math.cos(math.pi * u) for u in shares]
    points = zip(shares, bent, strict=True)
    return Curve(tuple((first + (last - first) * u, start + (end - start) * v) for u, v in points))


class DDIMGuidanceSchedule:
    DISPLAY_NAME = "Guidance Schedule (DDIM)"
    CATEGORY = "DDIM/schedules"
    DESCRIPTION = (
        "A guidance scale (or eta) for each step, for the sampler's guidance_schedule or eta_schedule. 'interval' "
        "guides only between first and last; steps at scale 1 take half the time."
    )
    FUNCTION = "make"
    RETURN_TYPES = (CURVE,)
    RETURN_NAMES = ("schedule",)
    OUTPUT_TOOLTIPS = ("The curve over the run.",)
    SEARCH_ALIASES = ("ucg_schedule", "dynamic cfg", "guidance interval")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "shape": choice(
                    ["constant", "linear", "cosine", "interval"],
                    "constant: start throughout. linear, cosine: start to end. interval: start inside it, end outside.",
                    "linear",
                ),
                "start": number(7.5, 0, 100, 0.1, "The value at the start of the run (for interval: inside it)."),
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


class DDIMCurve:
    DISPLAY_NAME = "Curve (DDIM)"
    CATEGORY = "DDIM/schedules"
    DESCRIPTION = (
        "A value for each step, for guidance, eta, temperature or a threshold: points 'progress: value' joined by "
        "lines, or a formula in u, the progress from 0 (first step) to 1 (last)."
    )
    FUNCTION = "make"
    INPUT_IS_LIST = True
    RETURN_TYPES = (CURVE,)
    RETURN_NAMES = ("curve",)
    OUTPUT_IS_LIST = (True,)
    OUTPUT_TOOLTIPS = ("The curve over the run.",)
    SEARCH_ALIASES = ("schedule", "expression", "keyframes", "float list")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "curve": text(
                    "0: 7.5, 0.5: 5, 1: 1",
                    "Points like '0: 7.5, 0.5: 5, 1: 1', or a formula like '1 + 6.5 * cos(pi / 2 * u)'.",
                )
            },
            "optional": {
                "values": socket(
                    "FLOAT",
                    "A value for each step, in place of the text: one list, as many packs make it, or a node's list "
                    "output, which would run the sampler once for each value if wired there.",
                ),
                "drawn": socket(
                    "CURVE", "A curve of ComfyUI's Curve Editor, in place of the text: from the run's start to its end."
                ),
                "drawn_range": rare(
                    text(DRAWN_RANGE, "The values at the bottom and the top of the drawn curve, like '0, 10'.", False)
                ),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, curve: list[str | None] | None = None) -> bool | str:
        # The text alone: what is said here, the editor says of every input that is named here.
        return verdict(parse_curve, *(curve if isinstance(curve, list | tuple) else [curve]))

    def make(
        self,
        curve: list[str],
        values: list | None = None,
        drawn: list | None = None,
        drawn_range: list[str] | None = None,
    ) -> tuple[list[PerStep]]:
        """Return a curve for each text or drawn curve, or the one that the values are."""
        if values is not None and drawn is not None:
            raise ValueError("values and drawn are both linked, expected one of them")
        if drawn is not None:
            ends = parse_range((drawn_range or [DRAWN_RANGE])[0])
            return ([between(each, *ends) for each in drawn],)
        return ([parse_curve(written) for written in curve] if values is None else gather(values),)


def parse_range(written: str) -> tuple[float, float]:
    """Two numbers separated by a comma; the default for nothing, as older files have it. ValueError else."""
    ends = (as_text(written)[:LONGEST].strip() or DRAWN_RANGE).split(",")
    try:
        low, high = map(float, ends)
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"drawn_range {written[:80]!r}, expected two numbers like '0, 10'")
    return low, high


def between(curve: Any, low: float, high: float) -> PerStep:
    """ComfyUI's CURVE, whose values 0 to 1 stand for `low` to `high`; ValueError for what can't be read as one."""
    if not hasattr(curve, "interp"):
        raise ValueError(f"drawn is {curve!r}, expected a curve from ComfyUI's Curve Editor")
    return lambda u: low + (high - low) * float(curve.interp(u))


def gather(values: list) -> list[PerStep]:
    """Curves from what came over a FLOAT wire: numbers together are one curve, every sequence is one of its own."""
    alone = [value for value in values if not hasattr(value, "__len__") or getattr(value, "ndim", 1) == 0]
    if len(values) > 1 and len(alone) == len(values):
        return [values]
    return values


def parse_curve(written: str) -> PerStep:
    """A curve from 'u: value' points, or a formula in u; ValueError with what is wrong."""
    if len(as_text(written)) > LONGEST:
        raise ValueError(f"a curve of {len(written)} characters, expected at most {LONGEST}")
    if ":" not in written:
        return compile_expression(written, "u")
    points = []
    for pair in written.replace("\n", ",").split(","):
        if pair.strip():
            u, _, value = pair.partition(":")
            try:
                points.append((float(u), float(value)))
            except ValueError:
                raise ValueError(f"curve point {pair.strip()!r}, expected 'progress: value' with two numbers") from None
    return Curve(tuple(points))


class DDIMSchedule:
    DISPLAY_NAME = "Schedule (DDIM)"
    CATEGORY = "DDIM/schedules"
    DESCRIPTION = (
        "Which timesteps a run visits, and where it ends. 'exact' runs exactly the number of steps you ask for and "
        "ends without noise; the other presets reproduce other samplers, for comparison."
    )
    FUNCTION = "make"
    RETURN_TYPES = (SCHEDULE,)
    RETURN_NAMES = ("schedule",)
    OUTPUT_TOOLTIPS = ("For the sampler's schedule input.",)
    SEARCH_ALIASES = ("scheduler", "spacing", "timesteps", "trailing", "karras")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "preset": choice(
                    list(PRESETS),
                    "The DDIM implementation to reproduce: exact is recommended, the others are for comparison.",
                ),
                "spacing": choice(
                    [AS_PRESET, *SPACINGS],
                    "uniform, trailing and linspace are even; quad is denser near the clean end, karras at both ends.",
                ),
                "landing": rare(
                    choice(
                        [AS_PRESET, *LANDINGS],
                        "clean: the last step ends without noise. first: at the noise level of the first training "
                        "timestep, as in the original code.",
                    )
                ),
                "timesteps": text(
                    "", "An explicit list of timesteps, like '951, 701, 401, 101'; replaces steps and spacing.", False
                ),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, timesteps: str | None = None) -> bool | str:
        return verdict(parse_timesteps, timesteps)

    def make(self, preset: str, spacing: str, landing: str, timesteps: str) -> tuple[Scheme]:
        chosen = {name: value for name, value in (("spacing", spacing), ("landing", landing)) if value != AS_PRESET}
        return (replace(PRESETS[preset], timesteps=parse_timesteps(timesteps), **chosen),)


def parse_timesteps(written: str) -> tuple[int, ...]:
    """Whole numbers separated by commas or spaces; ValueError unless they fall strictly."""
    if len(as_text(written)) > LONGEST:
        raise ValueError(f"timesteps of {len(written)} characters, expected at most {LONGEST}")
    try:
        table = tuple(int(word) for word in written.replace(",", " ").split())
    except ValueError:
        raise ValueError(f"timesteps {shown(written)}, expected whole numbers like '951, 701, 401, 101'") from None
    if any(later >= earlier for earlier, later in pairwise(table)):
        raise ValueError(f"timesteps {shown(written)}, expected each smaller than the one before")
    return table
