"""The record of a sweep: a line of JSON for each cell that is done or failed, only ever added to.

A line is written once its cell is on the disk, not only in the operating system's memory, and is itself flushed to the
disk. A thread does that for all cells that have come in meanwhile, so that nobody waits for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Entry", "Ledger", "read_ledger"]

MANY = 16
"""Files at once from which one flush of everything costs less than one of each."""


@dataclass(frozen=True)
class Entry:
    """A line: how a cell went.

    `state` is "done" or "failed", `fault` says why it failed; `files` are `(path below the cell's folder, bytes)`;
    `ran` nodes were run for it, and `shared` results were there already; `ended` is the time, in UTC.
    """

    cell: str
    at: tuple[int, ...]
    state: str
    ended: str
    seconds: float
    node: str
    ran: int = 0
    shared: int = 0
    files: tuple[tuple[str, int], ...] = ()
    fault: str = ""

    def line(self) -> str:
        """The line."""
        return json.dumps(self.__dict__, ensure_ascii=False, separators=(",", ":")) + "\n"


def read_ledger(path: Path) -> Iterator[Entry]:
    """The entries in the order they were written; a line that was cut off as it was written is none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            entry = _entry(line)
            if entry is not None:
                yield entry


def _entry(line: bytes) -> Entry | None:
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
        files = tuple((str(name), int(size)) for name, size in found.pop("files"))
        return Entry(**{**found, "at": tuple(found["at"]), "files": files})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


@dataclass
class _Waiting:
    """What is to be recorded next."""

    entries: list[Entry] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)


class Ledger:
    """Adds to the ledger at `path`, in a thread of its own, until it is closed.

    Everything that went wrong there (a full disk) is raised by the next call.
    """

    def __init__(self, path: Path):
        self._file = path.open("ab")
        if self._file.tell() and not _ends_a_line(path):
            self._file.write(b"\n")  # the last line was cut off
        self._wake = threading.Condition()
        self._waiting = _Waiting()
        self._error: BaseException | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    def add(self, entry: Entry, paths: Iterable[Path] = ()) -> None:
        """Record a cell, whose files and folders are at `paths`; raises OSError."""
        with self._wake:
            self._raise()
            self._waiting.entries.append(entry)
            self._waiting.paths.extend(paths)
            self._wake.notify()

    def close(self) -> None:
        """Wait until all is recorded; raises OSError."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._file.close()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._waiting.entries and not self._closing:
                    self._wake.wait()
                if not self._waiting.entries:
                    return
                now, self._waiting = self._waiting, _Waiting()
            try:
                _flush(now.paths)
                self._file.write("".join(entry.line() for entry in now.entries).encode("utf-8", "surrogatepass"))
                self._file.flush()
                os.fsync(self._file.fileno())
            except BaseException as error:
                self._error = error
                return


def _flush(paths: list[Path]) -> None:
    """Have the disk hold what is at these paths."""
    if len(paths) >= MANY and hasattr(os, "sync"):
        os.sync()
        return
    for path in paths:
        with contextlib.suppress(FileNotFoundError, PermissionError, IsADirectoryError):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
