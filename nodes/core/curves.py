"""ComfyUI's Curve Editor, and the curves that it gives."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["CurveEditor"]

MOST = 1000
START = {"points": [[0.0, 0.0], [1.0, 1.0]], "interpolation": "monotone_cubic"}

Point = tuple[float, float]


class LinearCurve:
    """A CURVE: straight lines through `points` (x, y), level before the first and after the last."""

    def __init__(self, points: list[Point]) -> None:
        self.points = sorted(points, key=lambda point: point[0])

    def interp(self, x: float) -> float:
        """The value at `x`; where points share an x, the last one's."""
        return float(np.interp(x, *zip(*self.points, strict=True)))


class MonotoneCubicCurve(LinearCurve):
    """A CURVE of cubic pieces that rises and falls only where its points do (Fritsch and Carlson 1980)."""

    def __init__(self, points: list[Point]) -> None:
        super().__init__(points)
        self.slopes = slopes(self.points)

    def interp(self, x: float) -> float:
        """The value at `x`, by Hermite's polynomials."""
        (first, low), (last, high) = self.points[0], self.points[-1]
        if x <= first or x >= last:
            return low if x <= first else high
        i = max(i for i, (start, _) in enumerate(self.points[:-1]) if start <= x)
        (x0, y0), (x1, y1) = self.points[i], self.points[i + 1]
        t = (x - x0) / (x1 - x0)
        m0, m1 = ((x1 - x0) * slope for slope in self.slopes[i : i + 2])
        return (y0 * (1 + 2 * t) + m0 * t) * (1 - t) ** 2 + (y1 * (3 - 2 * t) - m1 * (1 - t)) * t**2


def slopes(points: list[Point]) -> list[float]:
    """The slope at each point: the mean of its two sides', held so small that no piece goes past its ends."""
    sides = [(b[1] - a[1]) / (b[0] - a[0]) if b[0] > a[0] else 0.0 for a, b in pairwise(points)]
    inner = [(left + right) / 2 if left * right > 0 else 0.0 for left, right in pairwise(sides)]
    found = [sides[0], *inner, sides[-1]] if sides else [0.0]
    for i, side in enumerate(sides):
        if side == 0:
            found[i] = found[i + 1] = 0.0
        elif (far := math.hypot(found[i] / side, found[i + 1] / side)) > 3:
            found[i], found[i + 1] = found[i] * 3 / far, found[i + 1] * 3 / far
    return found


CURVES = {"monotone_cubic": MonotoneCubicCurve, "linear": LinearCurve}


def read_curve(given: Any) -> LinearCurve:
    """A CURVE from what its widget holds; ValueError for anything else."""
    points = given.get("points") if isinstance(given, dict) else given
    if not isinstance(points, list | tuple) or not 1 <= len(points) <= MOST:
        raise ValueError(f"curve is {str(given)[:80]!r}, expected 1 to {MOST} points like {START}")
    places = [read_point(point) for point in points]
    kind = given.get("interpolation", "monotone_cubic") if isinstance(given, dict) else "monotone_cubic"
    if kind not in CURVES:
        raise ValueError(f"interpolation is {str(kind)[:80]!r}, expected one of {', '.join(CURVES)}")
    return CURVES[kind](places)


def read_point(given: Any) -> Point:
    """Two finite numbers."""
    pair = given if isinstance(given, list | tuple) and len(given) == 2 else (None, None)
    if not all(isinstance(each, int | float) and -1e9 <= each <= 1e9 for each in pair):
        raise ValueError(f"curve point {str(given)[:80]!r}, expected two numbers [x, y]")
    return float(pair[0]), float(pair[1])


class CurveEditor:
    CATEGORY = "utilities"
    FUNCTION = "give"
    RETURN_TYPES = ("CURVE",)
    RETURN_NAMES = ("curve",)
    DESCRIPTION = "A curve drawn by hand, both axes from 0 to 1."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        drawn = {"default": START, "socketless": True, "tooltip": "The points of the curve, and how they are joined."}
        shown = {"tooltip": "What the editor draws behind the curve."}
        return {"required": {"curve": ("CURVE", drawn)}, "optional": {"histogram": ("HISTOGRAM", shown)}}

    @classmethod
    def VALIDATE_INPUTS(cls, curve: dict | None = None) -> bool | str:
        try:
            return curve is None or bool(read_curve(curve))
        except ValueError as error:
            return str(error)

    def give(self, curve: dict, histogram: list | None = None) -> tuple[LinearCurve]:
        return (read_curve(curve),)
