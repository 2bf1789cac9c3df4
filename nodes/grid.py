"""Pictures in rows and columns, with what each row and column stands for at the edges."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from .sockets import rare, socket, text, whole

__all__ = ["DDIMGrid", "Grid", "draw_grid"]

PAPER, INK, FAINT, EMPTY = (255, 255, 255), (31, 41, 55), (107, 114, 128), (229, 231, 235)
SMALLEST = 13
"""Pixels of the smallest letters."""
MOST_LINES = 8
"""Lines of one value; what is longer ends in three dots."""
FONTS = ("NotoSansCJK-Regular.ttc", "msyh.ttc", "malgun.ttf", "PingFang.ttc", "AppleSDGothicNeo.ttc", "DejaVuSans.ttf")
"""Tried in turn for letters that pillow's own font doesn't have."""


@dataclass(frozen=True)
class Grid:
    """What `draw_grid` lays out.

    pictures: row by row; None, or a text that says why, where there is none
    columns, rows: the values at the edges; without rows `columns` has a value for each picture, which stands above it,
    and `across` says how many pictures are in a row
    column_name, row_name: what the values are of; title: what holds for all
    """

    pictures: Sequence[Image.Image | str | None]
    columns: Sequence[str]
    rows: Sequence[str] = ()
    column_name: str = ""
    row_name: str = ""
    title: str = ""
    gap: int = 4
    across: int = 0

    def cell_size(self) -> tuple[int, int]:
        """Width and height that every picture fits in."""
        sizes = [picture.size for picture in self.pictures if isinstance(picture, Image.Image)]
        return max((w for w, _ in sizes), default=64), max((h for _, h in sizes), default=64)


def draw_grid(grid: Grid) -> Image.Image:
    """The pictures with their labels, as one RGB picture.

    Letters grow with the whole, so that they can be read where it is shown on a screen.
    """
    return _Sheet(grid).draw()


class _Sheet:
    """The sizes of a grid's parts, and the drawing of it."""

    def __init__(self, grid: Grid):
        self._grid = grid
        self._across = len(grid.columns) if grid.rows else min(grid.across, len(grid.columns))
        self._width, self._height = grid.cell_size()
        self._em = max(SMALLEST, round(min(self._width, self._height) / 12), round(self._across * self._width / 110))
        self._cell_width = max(self._width, 4 * self._em)  # room for a few letters above a narrow picture
        self._caption = [self._wrap(label, self._cell_width - self._em // 2) for label in grid.columns]
        side = max((self._measure(label) for label in grid.rows), default=0)
        self._side = min(side, max(self._cell_width, 12 * self._em)) + self._em if side else 0
        fits = max(1, int(self._height / self._line))
        self._labels = [self._wrap(label, self._side - self._em)[:fits] for label in grid.rows]

    @property
    def _line(self) -> int:
        return round(self._em * 1.3)

    def _measure(self, words: str) -> int:
        return round(_font(words, self._em).getlength(words))

    def _wrap(self, words: str, room: int) -> list[str]:
        """The text in lines of at most `room` pixels, broken between words where that is possible."""
        lines: list[str] = []
        for paragraph in words.split("\n"):
            rest = paragraph
            while len(lines) <= MOST_LINES:
                fits = self._fitting(rest, room)
                lines.append(rest[:fits].rstrip())
                rest = rest[fits:].lstrip()
                if not rest:
                    break
        if len(lines) > MOST_LINES:
            lines = [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1][:-1]}\u2026"]
        return lines

    def _fitting(self, words: str, room: int) -> int:
        """How many letters of a text go into a line: to its end, to a space, or at least one."""
        letters = len(words)
        fits = bisect.bisect_right(range(1, min(letters, 400) + 1), room, key=lambda n: self._measure(words[:n]))
        if fits >= letters:
            return letters
        space = words.rfind(" ", 0, fits + 1)
        return space if space > 0 else max(1, fits)

    def draw(self) -> Image.Image:
        grid, em, line = self._grid, self._em, self._line
        bands = max(len(grid.rows), -(-len(grid.pictures) // max(1, self._across)))
        caption = max((len(lines) for lines in self._caption), default=0) * line + em // 2
        has_values = any(grid.columns)
        header = (caption if has_values else 0) if grid.rows else 0
        band = self._height + grid.gap + (0 if grid.rows or not has_values else caption)
        left = self._side + grid.gap
        width = left + self._across * (self._cell_width + grid.gap)
        title = self._wrap(grid.title, width - 2 * em) if grid.title else []
        names = self._names()
        top = grid.gap + len(title) * line + (line + em // 4 if names else 0)
        sheet = Image.new("RGB", (width, top + header + bands * band + (0 if grid.rows else em // 4)), PAPER)
        pen = ImageDraw.Draw(sheet)
        self._write(pen, title, width / 2, grid.gap, FAINT)
        self._write(pen, [names] if names else [], width / 2, grid.gap + len(title) * line, FAINT)
        for place, picture in enumerate(grid.pictures):
            row, column = divmod(place, self._across)
            x = left + column * (self._cell_width + grid.gap)
            y = top + header + row * band
            if not grid.rows and has_values:
                y += caption
                self._write_above(pen, self._caption[place], x, y)
            self._paste(sheet, pen, picture, x, y)
        if grid.rows:
            for column, lines in enumerate(self._caption):
                self._write_above(pen, lines, left + column * (self._cell_width + grid.gap), top + header)
            for row, lines in enumerate(self._labels):
                middle = top + header + row * band + (self._height - len(lines) * line) / 2
                self._write(pen, lines, self._side / 2, middle)
        return sheet

    def _names(self) -> str:
        grid = self._grid
        named = ((grid.column_name, "\u2192"), (grid.row_name, "\u2193"))
        both = [f"{name} {arrow}" if name else "" for name, arrow in named]
        if not grid.rows:
            return grid.column_name
        return "    ".join(name for name in both if name)

    def _write(
        self, pen: ImageDraw.ImageDraw, lines: Sequence[str], x: float, y: float, colour: tuple = INK
    ) -> None:
        for number, words in enumerate(lines):
            at = (round(x), round(y + number * self._line + self._line / 2))
            pen.text(at, words, colour, _font(words, self._em), "mm")

    def _write_above(self, pen: ImageDraw.ImageDraw, lines: Sequence[str], x: float, y: float) -> None:
        """Over the picture at (x, y), the last line next to it."""
        self._write(pen, lines, x + self._cell_width / 2, y - self._em // 4 - len(lines) * self._line)

    def _paste(self, sheet: Image.Image, pen: ImageDraw.ImageDraw, picture: object, x: int, y: int) -> None:
        x += (self._cell_width - self._width) // 2
        if isinstance(picture, Image.Image):
            at = x + (self._width - picture.width) // 2, y + (self._height - picture.height) // 2
            sheet.paste(picture.convert("RGB"), at)
            return
        pen.rectangle((x, y, x + self._width - 1, y + self._height - 1), EMPTY)
        lines = self._wrap(str(picture or ""), self._width - self._em // 2)
        self._write(pen, lines, x + self._width / 2, y + (self._height - len(lines) * self._line) / 2, FAINT)


@functools.lru_cache(4096)
def _font(words: str, em: int) -> ImageFont.FreeTypeFont:
    """A font that has all letters of the text, if there is one."""
    usual = _named_font("", em)
    letters = sorted({letter for letter in words if not letter.isspace()})
    if all(letter.isascii() or _has(usual, letter) for letter in letters):
        return usual
    for name in FONTS:
        font = _named_font(name, em)
        if font is not None and all(_has(font, letter) for letter in letters):
            return font
    return usual


@functools.lru_cache(64)
def _named_font(name: str, em: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, em) if name else ImageFont.load_default(em)
    except OSError:
        return None


def _has(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    """Whether a font draws something of its own for a letter, and not what it draws for letters it doesn't have."""
    missing = font.getmask("\U0010fffe")
    drawn = font.getmask(letter)
    return drawn.size != missing.size or bytes(drawn) != bytes(missing)


def _labels(lines: str, count: int, what: str) -> list[str]:
    """A label for each of `count`: a line each, or none at all."""
    found = lines.strip("\n").split("\n") if lines.strip() else []
    if found and len(found) != count:
        raise ValueError(f"{len(found)} {what} labels, expected {count}, one per line")
    return found or [""] * count


class DDIMGrid:
    DISPLAY_NAME = "Grid (DDIM)"
    CATEGORY = "DDIM/images"
    DESCRIPTION = "Arranges images in rows and columns, with a label for each row and column."
    FUNCTION = "lay_out"
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("All the images as one, with the labels.",)
    SEARCH_ALIASES = ("XY plot", "image grid", "comparison", "contact sheet with labels")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        more = {f"images_{i}": socket("IMAGE", "More images, after the others.") for i in range(2, 7)}
        return {
            "required": {
                "images": socket("IMAGE", "The images, row by row."),
                "columns": whole(4, 1, 1000, "Images in a row."),
                "column_labels": text("", "A label for each column, one per line; empty for none."),
                "row_labels": text("", "A label for each row, one per line; empty for none."),
                "title": text("", "A title above the images; empty for none.", multiline=False),
                "gap": rare(whole(4, 0, 256, "White pixels between two images.")),
            },
            "optional": more,
        }

    def lay_out(
        self,
        images,
        columns,
        column_labels,
        row_labels,
        title,
        gap,
        images_2=None,
        images_3=None,
        images_4=None,
        images_5=None,
        images_6=None,
    ) -> tuple:
        """Return IMAGE (1, H, W, 3)."""
        batches = [b for b in (images, images_2, images_3, images_4, images_5, images_6) if b is not None]
        pictures = [_picture(image) for batch in batches for image in batch]
        columns = min(columns, len(pictures))
        across = _labels(column_labels, columns, "column")
        down = _labels(row_labels, -(-len(pictures) // columns), "row")
        sheet = draw_grid(Grid(pictures, across, down, title=title.strip(), gap=gap))
        return (torch.from_numpy(np.asarray(sheet, dtype=np.float32) / 255)[None],)


def _picture(image: torch.Tensor) -> Image.Image:
    """An IMAGE (h, w, c) as a picture."""
    pixels = (image[..., :3].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(pixels)
