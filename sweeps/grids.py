"""`--grid`: which cells are laid out on which page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from ..atomic import write_whole
from ..executor.errors import WorkflowError
from .axes import Axis
from .cells import Cells
from .folder import PICTURES
from .pieces import split_items
from .sweep import Cell

__all__ = ["Layout", "read_layout", "write_grids"]

LARGEST = 6000
"""Pixels of a page's longer side, labels aside."""
LEAST = 48
"""Pixels that a picture keeps of its longer side, however many there are."""


@dataclass(frozen=True)
class Layout:
    """Which axis is where, by number: `rows` and `columns` (None: there is none), and of others only these steps."""

    columns: int | None
    rows: int | None
    only: Mapping[int, int] = field(default_factory=dict)


def read_layout(text: str | None, axes: Sequence[Axis]) -> Layout:
    """What `--grid-of` says, or the usual: the first axis in rows, the second in columns. Raises WorkflowError."""
    chosen: dict[str, int] = {}
    only: dict[int, int] = {}
    for item in split_items(text) if text else ():
        is_place = item.startswith(("columns=", "rows="))
        name, equals, value = item.partition("=") if is_place else item.rpartition("=")
        if not equals:
            raise WorkflowError(f'--grid-of "{text}": {item!r}: expected columns=AXIS, rows=AXIS or AXIS=VALUE')
        try:
            if name in ("columns", "rows"):
                chosen[name] = _axis(value.strip(), axes)
            else:
                number = _axis(name.strip(), axes)
                only[number] = _step(value.strip(), axes[number])
        except WorkflowError as error:
            raise WorkflowError(f'--grid-of "{text}": {error}') from None
    free = [number for number in range(len(axes)) if number not in chosen.values() and number not in only]
    if len(chosen.values()) != len(set(chosen.values())) or set(chosen.values()) & set(only):
        raise WorkflowError(f'--grid-of "{text}": an axis has two places')
    if "rows" not in chosen and len(free) + len(chosen) > 1:
        chosen["rows"] = free.pop(0)
    if "columns" not in chosen and free:
        chosen["columns"] = free.pop(0)
    return Layout(chosen.get("columns"), chosen.get("rows"), only)


def _axis(name: str, axes: Sequence[Axis]) -> int:
    """The axis of this name, or of an input of this name."""
    for names in (
        [{axis.name, *axis.names} for axis in axes],
        [{each.rpartition(".")[2] for each in axis.names} for axis in axes],
    ):
        found = [number for number, each in enumerate(names) if name in each]
        if len(found) == 1:
            return found[0]
        if found:
            raise WorkflowError(f"{len(found)} axes are called {name!r}: choose one of {_all_names(axes)}")
    raise WorkflowError(f"no axis {name!r}; there are {_all_names(axes)}")


def _all_names(axes: Sequence[Axis]) -> str:
    return ", ".join(axis.name for axis in axes)


def _step(text: str, axis: Axis) -> int:
    labels = step_labels(axis)
    found = [number for number, label in enumerate(labels) if label == text]
    if not found:
        known = ", ".join(labels[:12]) + (" ..." if len(labels) > 12 else "")
        raise WorkflowError(f"{text!r} is not a value of {axis.name}; it has {known}")
    return found[0]


def step_labels(axis: Axis) -> list[str]:
    """The values of an axis as they are shown."""
    return [", ".join(map(value_label, step)) for step in axis.steps]


def value_label(value: Any) -> str:
    """A value as it is shown."""
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


def write_grids(cells: Cells, layouts: Sequence[Layout], made: Mapping[int, Cell], folder: Path) -> list[Path]:
    """Draw all pages and write them as grid.png, grid-2.png and so on; returns the paths."""
    pages = [page for layout in layouts for page in _pages(cells, layout)]
    written = []
    for number, page in enumerate(pages, 1):
        path = folder / ("grid.png" if number == 1 else f"grid-{number}.png")
        data = BytesIO()
        page.draw(cells, made).save(data, format="PNG")
        write_whole(path, data.getvalue())
        written.append(path)
    return written


@dataclass(frozen=True)
class _Page:
    """One page: which step the axes have that are neither its columns nor its rows."""

    layout: Layout
    steps: Mapping[int, int]

    def draw(self, cells: Cells, made: Mapping[int, Cell]) -> Image.Image:
        """The page."""
        from ..nodes.grid import Grid, draw_grid

        columns, rows = self._of(cells, self.layout.columns), self._of(cells, self.layout.rows)
        size = self._size(cells, max(1, len(columns)), max(1, len(rows)))
        pictures = [
            _picture(made.get(self._index(cells, column, row)), size)
            for row in range(max(1, len(rows)))
            for column in range(max(1, len(columns)))
        ]
        title = "   ".join(f"{cells.axes[axis].name} = {self._label(cells, axis)}" for axis in self.steps)
        across = max(1, min(len(columns), math.ceil(math.sqrt(1.5 * len(columns)))))
        return draw_grid(
            Grid(
                pictures,
                columns or [""],
                rows,
                self._name(cells, self.layout.columns),
                self._name(cells, self.layout.rows),
                title,
                across=across,
            )
        )

    def _of(self, cells: Cells, axis: int | None) -> list[str]:
        return [] if axis is None else step_labels(cells.axes[axis])

    def _name(self, cells: Cells, axis: int | None) -> str:
        return "" if axis is None else cells.axes[axis].name

    def _label(self, cells: Cells, axis: int) -> str:
        return step_labels(cells.axes[axis])[self.steps[axis]]

    def _index(self, cells: Cells, column: int, row: int) -> int:
        at = [self.steps.get(axis, 0) for axis in range(len(cells.axes))]
        for axis, step in ((self.layout.columns, column), (self.layout.rows, row)):
            if axis is not None:
                at[axis] = step
        return cells.index(at)

    def _size(self, cells: Cells, columns: int, rows: int) -> int:
        """The most pixels that a picture may have on its longer side."""
        if self.layout.rows is None:
            columns = math.ceil(math.sqrt(1.5 * columns))
        return max(LEAST, LARGEST // max(columns, rows))


def _pages(cells: Cells, layout: Layout) -> Iterator[_Page]:
    placed = {layout.columns, layout.rows}
    others = [axis for axis in range(len(cells.axes)) if axis not in placed]
    choices = [[layout.only[axis]] if axis in layout.only else range(cells.shape[axis]) for axis in others]
    for steps in itertools.product(*choices):
        yield _Page(layout, dict(zip(others, steps, strict=True)))


def _picture(cell: Cell | None, size: int) -> Image.Image | str:
    """A cell's first picture, no larger than it may be; or why there is none."""
    if cell is None:
        return ""
    path = next((path for path in cell.files if path.suffix.lower() in PICTURES), None)
    if cell.state == "failed" or path is None:
        return "failed" if cell.state == "failed" else "no image"
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    if max(small.size) > size:
        small.thumbnail((size, size), Image.Resampling.LANCZOS)
    return small
