"""Small charts drawn with pillow: panels in a grid, each with axes, ticks, numbers and its lines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Line", "Panel", "areas", "draw_panels", "spread", "ticks"]

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""

PAPER, INK, FAINT, GRID = (255, 255, 255), (51, 65, 85), (148, 163, 184), (226, 232, 240)
COLUMNS = 2


@dataclass(frozen=True)
class Line:
    """Corners (x, y) joined by straight lines.

    name: written into the panel as its legend, empty for none
    filled: tints the area down to zero; dots: marks the corners where there is room; dashed: a broken, fainter line
    """

    corners: tuple[tuple[float, float], ...]
    name: str = ""
    filled: bool = False
    dots: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """A chart of its own: x runs from x_range's first to its second number (it may fall), y upward from low to high."""

    title: str
    readout: str
    colour: Colour
    lines: tuple[Line, ...]
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def place(self, box: Box, x: float, y: float) -> tuple[float, float]:
        """Where the value (x, y) lies in `box`, in pixels from the image's upper left corner."""
        left, top, right, bottom = box
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        return left + (x - x0) / (x1 - x0) * (right - left), bottom - (y - y0) / (y1 - y0) * (bottom - top)


def ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Round numbers within low ... high: multiples of 1, 2 or 5 times a power of ten, `most` of them or fewer."""
    stride = _stride(high - low, most, whole)
    first, last = math.ceil(low / stride - 1e-9), math.floor(high / stride + 1e-9)
    return [i * stride for i in range(first, last + 1)]


def spread(values: Sequence[float], least: float = 0.0, most: int = 4) -> tuple[float, float]:
    """A y range with round ends that holds zero, `least` and all values, and is not empty."""
    low, high = min(0.0, least, *values), max(0.0, least, *values)
    if low == high:
        high = 1.0
    stride = _stride(high - low, most, False)
    return math.floor(low / stride + 1e-9) * stride, math.ceil(high / stride - 1e-9) * stride


def _stride(width: float, most: int, whole: bool) -> float:
    power = 10.0 ** math.floor(math.log10(width / most))
    stride = next(k * power for k in (1, 2, 5, 10, 20) if width / (k * power) <= most + 1e-9)
    return max(stride, 1.0) if whole else stride


def _font_size(width: int, height: int) -> int:
    return max(9, round(min(width / 768, height / 512) * 14))


def areas(count: int, width: int, height: int) -> list[Box]:
    """The plot areas of `count` panels in two columns, in an image of width x height."""
    em = _font_size(width, height)
    head, rows = 2.4 * em, -(-count // COLUMNS)
    across, down = width / COLUMNS, (height - head) / rows
    return [
        (
            column * across + 3.6 * em,
            head + row * down + 1.7 * em,
            (column + 1) * across - 1.2 * em,
            head + (row + 1) * down - 2.9 * em,
        )
        for row, column in (divmod(i, COLUMNS) for i in range(count))
    ]


def draw_panels(panels: Sequence[Panel], title: str, x_label: str, width: int, height: int) -> Image.Image:
    """The panels in two columns under a title, as an RGB image of width x height (256 x 256 or more)."""
    scale = 4 if width * height <= 2**20 else 2  # pillow draws hard edges: drawn larger, and made smaller again
    boxes = areas(len(panels), width, height)
    large = Image.new("RGB", (width * scale, height * scale), PAPER)
    pen = _Pen(ImageDraw.Draw(large), scale)
    for panel, box in zip(panels, boxes, strict=True):
        _draw_lines(pen, panel, box, _font_size(width, height))
    picture = large.resize((width, height), Image.Resampling.BOX)
    writer = _Writer(ImageDraw.Draw(picture), _font_size(width, height))
    em = writer.em
    writer.write((3.6 * em, 1.2 * em), title, INK, "lm", width - 4.8 * em)
    for panel, box in zip(panels, boxes, strict=True):
        _write_panel(writer, panel, box, x_label)
    return picture


@dataclass(frozen=True)
class _Pen:
    """Draws in the small image's pixels on the large one."""

    draw: ImageDraw.ImageDraw
    scale: int

    def _up(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * self.scale, y * self.scale) for x, y in points]

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        self.draw.line(self._up(points), colour, max(1, round(width * self.scale)), joint="curve")

    def area(self, points: Sequence[tuple[float, float]], colour: Colour) -> None:
        self.draw.polygon(self._up(points), colour)

    def dot(self, point: tuple[float, float], radius: float, colour: Colour) -> None:
        ((x, y),) = self._up([point])
        radius *= self.scale
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


@dataclass(frozen=True)
class _Writer:
    """Writes text of one size, `em` pixels, on the small image."""

    draw: ImageDraw.ImageDraw
    em: int

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        return ImageFont.load_default(self.em)

    def width(self, text: str) -> float:
        return self.font.getlength(text)

    def write(self, at: tuple[float, float], text: str, colour: Colour, anchor: str, room: float = math.inf) -> float:
        """Write `text`, cut at a comma where there is no room for it; its width."""
        while self.width(text) > room and "," in text:
            text = text.rpartition(",")[0]
        self.draw.text((round(at[0]), round(at[1])), text, colour, self.font, anchor)
        return self.width(text)


def _marks(panel: Panel, box: Box, em: int) -> tuple[list[float], list[float]]:
    left, top, right, bottom = box
    across = ticks(*sorted(panel.x_range), max(2, int((right - left) / (3.2 * em))), whole=True)
    return across, ticks(*panel.y_range, max(1, min(5, int((bottom - top) / (1.5 * em)))))


def _draw_lines(pen: _Pen, panel: Panel, box: Box, em: int) -> None:
    left, top, right, bottom = box
    thick = max(1.6, em / 7)
    for x in _marks(panel, box, em)[0]:
        at = panel.place(box, x, 0)[0]
        pen.line([(at, bottom), (at, bottom + em / 3)], FAINT, thick / 2)
    for y in _marks(panel, box, em)[1]:
        at = panel.place(box, 0, y)[1]
        pen.line([(left, at), (right, at)], GRID, thick / 2)
    for line in panel.lines:
        _draw_line(pen, panel, line, box, thick)
    pen.line([(left, top), (left, bottom), (right, bottom)], FAINT, thick / 2)


def _draw_line(pen: _Pen, panel: Panel, line: Line, box: Box, thick: float) -> None:
    points = [panel.place(box, x, y) for x, y in line.corners]
    if line.filled:
        ground = [panel.place(box, x, 0.0) for x, _ in (line.corners[-1], line.corners[0])]
        pen.area([*points, *ground], _tint(panel.colour, 0.85))
    if line.dashed:
        for dash in _dashes(points, 3 * thick, 2 * thick):
            pen.line(dash, _faint(panel.colour), thick * 0.7)
        return
    pen.line(points, panel.colour, thick)
    room = (box[2] - box[0]) / max(len(points) - 1, 1)
    if line.dots and room > 3 * thick:
        for point in points:
            pen.dot(point, min(1.6 * thick, room / 2.5), panel.colour)


def _dashes(points: list[tuple[float, float]], on: float, off: float) -> list[list[tuple[float, float]]]:
    """Pieces of a line `on` pixels long with gaps of `off` pixels."""
    way = [0.0, *accumulate(math.dist(a, b) for a, b in pairwise(points))]
    xs, ys = zip(*points, strict=True)
    pieces = []
    for start in np.arange(0.0, way[-1], on + off):
        end = min(start + on, way[-1])
        at = [start, *(each for each in way if start < each < end), end]
        pieces.append(list(zip(np.interp(at, way, xs).tolist(), np.interp(at, way, ys).tolist(), strict=True)))
    return pieces


def _tint(colour: Colour, share: float) -> Colour:
    r, g, b = (round(c + (255 - c) * share) for c in colour)
    return r, g, b


def _faint(colour: Colour) -> Colour:
    return _tint(colour, 0.45)


def _write_panel(writer: _Writer, panel: Panel, box: Box, x_label: str) -> None:
    left, top, right, bottom = box
    em = writer.em
    across, up = _marks(panel, box, em)
    for x in across:
        writer.write((panel.place(box, x, 0)[0], bottom + 0.5 * em), f"{x:g}", INK, "mt")
    for y in up:
        writer.write((left - 0.5 * em, panel.place(box, 0, y)[1]), f"{y:g}", INK, "rm")
    writer.write(((left + right) / 2, bottom + 1.6 * em), x_label, FAINT, "mt")
    used = writer.write((left, top - 0.9 * em), panel.title, panel.colour, "lm")
    if used + writer.width(panel.readout) + em < right - left:
        writer.write((right, top - 0.9 * em), panel.readout, panel.colour, "rm")
    for row, name in enumerate(line.name for line in panel.lines if line.name):
        writer.write((right, top + (0.9 + 1.3 * row) * em), name, _faint(panel.colour), "rm")
