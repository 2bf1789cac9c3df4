"""What an executor keeps from run to run: results, the table of their signatures, and the objects of nodes."""

from __future__ import annotations

from collections.abc import Container, Sized
from typing import Protocol

from .cache import make_cache
from .instances import Instances
from .signature import SignatureTable


class _NodeIds(Container[str], Sized, Protocol):
    """The ids of a prompt."""


class Memory:
    """Kept results by one of the caches (see `cache`); raises ValueError for an unknown one."""

    def __init__(self, kind: str, size: int):
        self.cache = make_cache(kind, size)
        self.table = SignatureTable()
        self.instances = Instances()
        self._keeps_instances = kind != "none"
        self._usual_table_size = 1000

    def begin_run(self, node_ids: _NodeIds) -> None:
        """Let go of what only earlier prompts needed."""
        self.instances.keep_only(node_ids if self._keeps_instances else ())
        if len(self.table) > 2 * self._usual_table_size:
            self.table.keep(self.cache.live_signatures())
            self._usual_table_size = max(1000, len(self.table))
