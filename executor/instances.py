"""The objects of the node classes, one per node, which live on while prompts contain the node."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from .node_class import NodeClass


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
