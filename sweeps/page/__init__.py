"""`index.html`: the cells of a sweep to look through, in one file that needs no server and fetches nothing."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...atomic import write_whole
from ..cells import Cells
from ..folder import PICTURES, SweepFolder
from ..ledger import Entry

__all__ = ["Page"]

HERE = Path(__file__).parent
STATES = {"done": 1, "failed": 2}


class Page:
    """The page of a sweep, written anew now and then as cells come in.

    `extra` may have "name", what the sweep is of, and "command", the words that make a cell again before its values.
    """

    def __init__(self, folder: SweepFolder, cells: Cells, extra: Mapping[str, Any]):
        self._folder = folder
        self._cells = cells
        self._extra = extra
        self._entries: dict[int, list[Any]] = {}
        self._next = 0.0

    def add(self, index: int, entry: Entry) -> None:
        """Take in a cell."""
        files = [name for name, _ in entry.files]
        has_picture = any(name.lower().endswith(PICTURES) for name in files)
        known: list[Any] = [entry.cell, STATES[entry.state], entry.seconds, files, int(has_picture)]
        self._entries[index] = [*known, entry.fault] if entry.fault else known

    def write_now_and_then(self) -> None:
        """Write it if that takes little of the time that has passed since."""
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write it."""
        began = time.monotonic()
        template = (HERE / "page.html").read_text(encoding="utf-8")
        for name in ("page.css", "cells.js", "page.js"):
            template = template.replace(f"/*{name}*/", (HERE / name).read_text(encoding="utf-8"))
        page = template.replace("/*data*/", self._data())
        with contextlib.suppress(FileNotFoundError):
            write_whole(self._folder.page, page.encode("utf-8", "surrogatepass"))
        self._next = time.monotonic() + max(2.0, 30 * (time.monotonic() - began))

    def _data(self) -> str:
        axes = [
            {
                "name": axis.name,
                "inputs": list(axis.names),
                "targets": [list(target) for target in axis.targets],
                "steps": [[_text(value) for value in step] for step in axis.steps],
            }
            for axis in self._cells.axes
        ]
        data = {
            "name": self._extra.get("name", self._folder.path.name),
            "command": self._extra.get("command"),
            "axes": axes,
            "cells": self._entries,
            "written": time.time(),
        }
        text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
        return text.replace("<", "\\u003c")  # no value may end the script it stands in


def _text(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value)
