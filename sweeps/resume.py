"""What of a sweep is there already: cells that are done or failed, and what has become of the others."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .cells import Cells
from .folder import SweepFolder, files_of, is_whole
from .ledger import Entry, read_ledger

__all__ = ["Stock", "count_done", "take_stock"]


@dataclass
class Stock:
    """Entries of cells by index: those in `done` need not be made; `unrecorded` are those of them to be recorded."""

    done: dict[int, Entry] = field(default_factory=dict)
    failed: dict[int, Entry] = field(default_factory=dict)
    unrecorded: dict[int, Entry] = field(default_factory=dict)
    put_aside: int = 0


def count_done(cells: Cells, folder: SweepFolder) -> int:
    """How many cells the ledger has as done, without touching anything."""
    done = {entry.cell: entry.state == "done" for entry in read_ledger(folder.ledger)}
    return sum(done.get(cells.key(index), False) for index in range(len(cells))) if any(done.values()) else 0


def take_stock(cells: Cells, folder: SweepFolder) -> Stock:
    """Find the cells that are there, give their folders their present names, and put the others aside.

    A cell counts if its folder is there with all files as the ledger has them. A whole folder that the ledger doesn't
    have was made just before an end: it counts too. What doesn't count is removed.
    """
    entries = {entry.cell: entry for entry in read_ledger(folder.ledger)}
    paths = folder.found()
    stock = Stock()
    if not entries and not paths:
        return stock
    for index in range(len(cells)):
        key = cells.key(index)
        entry, path = entries.get(key), paths.pop(key, None)
        if path is not None:
            _take(stock, index, cells, folder, entry, path)
        elif entry is not None and entry.state == "failed":
            stock.failed[index] = entry
    for path in paths.values():
        if path.parent == folder.cells:
            folder.put_aside(path)
            stock.put_aside += 1
    return stock


def _take(stock: Stock, index: int, cells: Cells, folder: SweepFolder, entry: Entry | None, path: Path) -> None:
    if entry is not None and entry.state == "done" and _has_files(path, dict(entry.files)):
        stock.done[index] = entry
    elif (entry is None or entry.state == "failed") and is_whole(path):
        key = cells.key(index)
        files = tuple((each.relative_to(path).as_posix(), each.stat().st_size) for each in files_of(path))
        ended = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="milliseconds")
        stock.done[index] = stock.unrecorded[index] = Entry(
            key, cells.at(index), "done", ended, 0.0, platform.node(), files=files
        )
    else:
        shutil.rmtree(path)
        return
    folder.move(path, cells.name(index, cells.key(index)))


def _has_files(path: Path, sizes: Mapping[str, int]) -> bool:
    try:
        return all((path / name).stat().st_size == size for name, size in sizes.items())
    except OSError:
        return False
