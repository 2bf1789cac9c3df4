"""The graph of one run: the nodes of the prompt, and those that nodes put in their own place while running.

An API-form prompt is `{id: {"class_type": name, "inputs": {name: value}}}`; a value `[id, slot]` is a link.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from .errors import DuplicateNodeError, NodeNotFoundError
from .node_class import NodeClass, NodeClasses


def is_link(value: object) -> TypeGuard[list]:
    """Whether an input's value is a link, `[node id, output slot]`, rather than a constant."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], (int, float))
    )


def links(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """`(input name, source id)` of every linked input of a node."""
    inputs = node.get("inputs")
    for name, value in inputs.items() if isinstance(inputs, dict) else ():
        if is_link(value):
            yield name, value[0]


class Graph:
    """The prompt's nodes and the expanded ones, with who expanded into what.

    Nodes get this very object by the hidden input DYNPROMPT, so the names of its methods are ComfyUI's.
    """

    def __init__(self, prompt: dict[str, dict[str, Any]], unique_ids: bool = False):
        self.original_prompt = prompt
        self._unique_ids = unique_ids
        self.ephemeral_prompt: dict[str, dict[str, Any]] = {}
        self._parents: dict[str, str] = {}
        self._displays: dict[str, str] = {}
        self._roots: dict[str, str] = {}

    def get_original_prompt(self) -> dict[str, dict[str, Any]]:
        """The prompt as submitted, without expanded nodes."""
        return self.original_prompt

    def has_node(self, node_id: str) -> bool:
        """Whether there is such a node."""
        return node_id in self.original_prompt or node_id in self.ephemeral_prompt

    def get_node(self, node_id: str) -> dict[str, Any]:
        """The node's class_type and inputs; raises NodeNotFoundError."""
        node = self.ephemeral_prompt.get(node_id) or self.original_prompt.get(node_id)
        if node is None:
            raise NodeNotFoundError(f"Node {node_id} not found")
        return node

    def all_node_ids(self) -> set[str]:
        """Ids of all nodes, expanded ones included."""
        return {*self.original_prompt, *self.ephemeral_prompt}

    def get_parent_node_id(self, node_id: str) -> str | None:
        """The node whose expansion brought this one, or None."""
        return self._parents.get(node_id)

    def get_real_node_id(self, node_id: str) -> str:
        """The node of the original prompt that, at one remove or several, brought this one."""
        return self._roots.get(node_id, node_id)

    def get_display_node_id(self, node_id: str) -> str:
        """The node under whose name this one's progress is shown."""
        return self._displays.get(node_id, node_id)

    def add_ephemeral_node(self, node_id: str, node: dict[str, Any], parent_id: str, display_id: str) -> None:
        """Add a node that `parent_id` expanded into, in place of one with its id; with `unique_ids` that raises
        DuplicateNodeError.
        """
        if self._unique_ids and self.has_node(node_id):
            raise DuplicateNodeError(
                f"Attempt to add duplicate node {node_id}. "
                "Ensure node ids are unique and deterministic or use graph_utils.GraphBuilder."
            )
        self.ephemeral_prompt[node_id] = node
        self._parents[node_id] = parent_id
        self._displays[node_id] = display_id if display_id == node_id else self.get_display_node_id(display_id)
        self._roots[node_id] = self.get_real_node_id(parent_id)


class Wiring:
    """Answers about the nodes of one run's graph."""

    def __init__(self, graph: Graph, classes: NodeClasses):
        self.graph = graph
        self.classes = classes

    def class_of(self, node_id: str) -> NodeClass:
        """The node's class."""
        return self.classes[self.graph.get_node(node_id)["class_type"]]

    def is_output(self, node_id: str) -> bool:
        """Whether the node is run for its own sake."""
        return self.class_of(node_id).is_output

    def is_urgent(self, node_id: str) -> bool:
        """Whether the node goes first among those that can run: it shows something, or only waits."""
        node_class = self.class_of(node_id)
        return node_class.is_output or node_class.is_async

    def all_sources(self, node_id: str) -> Iterator[str]:
        """The nodes that this one is linked to."""
        return (source for _, source in links(self.graph.get_node(node_id)) if self.graph.has_node(source))

    def needed_sources(self, node_id: str) -> Iterator[str]:
        """Those of them that must have run before it is asked anything: all but the lazy ones.

        Raises NodeNotFoundError for a link to nowhere.
        """
        node = self.graph.get_node(node_id)
        lazy = self.class_of(node_id).lazy_inputs
        for name, source in links(node):
            if not self.graph.has_node(source):
                raise NodeNotFoundError(
                    f"input {name} of node {node_id} is linked to node {source}, which doesn't exist"
                )
            if name not in lazy:
                yield source
