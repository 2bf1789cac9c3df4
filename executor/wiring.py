"""The graph together with the classes of its nodes: what a node is, and what it depends on."""

from __future__ import annotations

from collections.abc import Iterator

from .graph import Graph, NodeNotFoundError, links
from .node_class import NodeClass, NodeClasses


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
        declared = self.class_of(node_id).declaration(node["inputs"]).inputs
        for name, source in links(node):
            if not self.graph.has_node(source):
                raise NodeNotFoundError(f"input {name} of node {node_id} is linked to node {source}, which isn't there")
            if name not in declared or not declared[name].is_lazy:
                yield source
