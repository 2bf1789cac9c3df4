"""Who makes the cells, and how: one worker in this process; `cluster` has those on Ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from .worker import CellWorker, Interrupted, Made

__all__ = ["LocalPool", "Options", "Pool"]


@dataclass(frozen=True)
class Options:
    """How to go about it.

    ray: None to make the cells in this process; "local" to start Ray on this machine, or a cluster's address
    workers: how many, on Ray (None: one per GPU, or one per four cores where there are none); gpus_per_worker: the
    share of a GPU that each has (None: a whole one where there are any)
    """

    retry_failed: bool = False
    fail_fast: bool = False
    ray: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None


class Pool(Protocol):
    """Makes cells."""

    def make(self, indexes: Iterator[int]) -> Iterator[Made]:
        """The cells of these indexes, as they are made; ends early after `interrupt`."""

    def interrupt(self) -> None:
        """Stop soon; what isn't made by then is not."""

    def close(self) -> None:
        """Let go of workers."""


class LocalPool:
    """One worker, in this process."""

    def __init__(self, worker: CellWorker):
        self._worker = worker
        self._stop = False

    def make(self, indexes: Iterator[int]) -> Iterator[Made]:
        """One after the other."""
        for index in indexes:
            if self._stop:
                return
            try:
                yield self._worker.make(index)
            except Interrupted:
                return

    def interrupt(self) -> None:
        """At the next step of the node that runs."""
        self._stop = True
        self._worker.interrupt()

    def close(self) -> None:
        """Nothing to let go of."""
