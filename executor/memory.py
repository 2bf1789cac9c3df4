"""What an executor keeps from run to run: results, the table of their signatures, and the objects of nodes."""

from __future__ import annotations

from collections.abc import Container, Sized
from typing import Any, Protocol

from .cache import make_cache
from .node_class import NodeClass
from .signature import SignatureTable


class _NodeIds(Container[str], Sized, Protocol):
    """The ids of a prompt."""


class Memory:
    """Kept results by one of the caches (see `cache`); raises ValueError for an unknown one.

    With `rerun_outputs` an output node's result is never taken from an earlier run.
    """

    def __init__(
        self, kind: str, size: float, rerun_outputs: bool = False, keep: Container[str] | None = None
    ):
        self.rerun_outputs = rerun_outputs
        self.cache = make_cache(kind, size, keep)
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


class Instances:
    """Node objects by node id and class."""

    def __init__(self):
        self._objects: dict[tuple[str, str], tuple[str, Any]] = {}

    def keep_only(self, root_ids: Container[str]) -> None:
        """Forget the objects of nodes that aren't, or don't come out of, one of these."""
        self._objects = {key: entry for key, entry in self._objects.items() if entry[0] in root_ids}

    def get(self, node_id: str, root_id: str, node_class: NodeClass) -> Any:
        """The node's object, made at first use; `root_id` is the node of the prompt it comes out of."""
        key = (node_id, node_class.name)
        if key not in self._objects:
            self._objects[key] = (root_id, node_class.cls())
        return self._objects[key][1]
