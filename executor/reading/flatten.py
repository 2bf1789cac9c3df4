"""One flat graph out of nested subgraphs: every node under its path of ids, `host:inner`, as ComfyUI names it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..errors import WorkflowError
from .definition import Definition
from .graph import BYPASS, NEVER, SUBGRAPH_INPUT, Graph, Node, Slot, Workflow
from .layout import Layouts
from .limits import MAX_DEPTH, MAX_NODES, MAX_SLOTS
from .virtual import VIRTUAL_TYPES


@dataclass(frozen=True, slots=True)
class Source:
    """The output `slot` of node `id`; or, with `of_host`, whatever feeds the input `slot` of that host."""

    id: str
    slot: int
    of_host: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """What an input is linked with, in words, when that isn't in the file."""

    what: str


@dataclass(frozen=True, slots=True)
class FlatNode:
    """A node in its place, its inputs in the order of its class, each with where it comes from.

    `stopped` says that its own mode, or that of a host around it, keeps it from running. `outlets` is, for the host of
    a subgraph, the inner source of each of its outputs.
    """

    id: str
    node: Node
    host: str
    stopped: bool
    inputs: tuple[Slot, ...]
    sources: tuple[Source | Missing | None, ...]
    outputs: tuple[str, ...]
    definition: Definition | None = None
    subgraph: Graph | None = None
    outlets: tuple[Source | Missing | None, ...] = ()

    @property
    def virtual(self) -> bool:
        """Never run itself: a host stands for what it holds, a Reroute for what it passes on."""
        return self.subgraph is not None or (self.definition is None and self.node.type in VIRTUAL_TYPES)

    def __str__(self) -> str:
        return f"node {self.id} ({self.node.type[:60]})"


def flatten(workflow: Workflow, layouts: Layouts) -> dict[str, FlatNode]:
    """All nodes of all levels by execution id, a host before what it holds.

    Raises WorkflowError for a subgraph that holds itself, and for too many nodes or levels.
    """
    flat: dict[str, FlatNode] = {}
    slots = 0
    # An explicit stack: how deep a file nests is its own choice and must not become the depth of Python's stack.
    levels = [_Level("", workflow.graph, iter(workflow.graph.nodes.values()), ())]
    while levels:
        level = levels[-1]
        node = next(level.rest, None)
        if node is None:
            levels.pop()
            continue
        subgraph = workflow.subgraphs.get(node.type)
        flat_node = _place(node, level, subgraph, layouts.of(node))
        flat[flat_node.id] = flat_node
        slots += len(flat_node.inputs) + len(flat_node.outputs)
        if len(flat) > MAX_NODES or slots > MAX_SLOTS:
            limits = f"{MAX_NODES} nodes or {MAX_SLOTS} slots"
            raise WorkflowError(f"more than {limits} once its subgraphs are unfolded; at most that many are read")
        if subgraph is not None:
            if node.type in level.inside:
                raise WorkflowError(f"{flat_node}: this subgraph contains itself")
            if len(levels) > MAX_DEPTH:
                raise WorkflowError(f"{node}: subgraphs are nested more than {MAX_DEPTH} deep")
            inside = (*level.inside, node.type)
            nodes = iter(subgraph.nodes.values())
            stopped = level.stopped if level.host else flat_node.stopped  # only the mode of a host at the top counts
            levels.append(_Level(flat_node.id, subgraph, nodes, inside, stopped))
    return flat


@dataclass(frozen=True, slots=True)
class _Level:
    host: str
    graph: Graph
    rest: Iterator[Node]
    inside: tuple[str, ...]
    stopped: bool = False

    def id_of(self, node_id: str) -> str:
        return f"{self.host}:{node_id}" if self.host else node_id

    def source(self, slot: Slot) -> Source | Missing | None:
        """Where the link in `slot` comes from."""
        if slot.link is None:
            return None
        link = self.graph.links.get(slot.link)
        if link is None:
            return Missing(f"link {slot.link}")
        if link.origin == SUBGRAPH_INPUT and self.host:
            return Source(self.host, link.origin_slot, of_host=True)
        origin = self.id_of(link.origin)
        return Source(origin, link.origin_slot) if link.origin in self.graph.nodes else Missing(f"node {origin}")


def _place(node: Node, level: _Level, subgraph: Graph | None, definition: Definition | None) -> FlatNode:
    inputs, outputs = node.inputs, tuple(slot.type for slot in node.outputs)
    declared: tuple[str, ...] = ()
    outlets: tuple[Source | Missing | None, ...] = ()
    node_id = level.id_of(node.id)
    if subgraph is not None:
        inputs = merge_slots(subgraph.inputs, inputs)
        declared = tuple(slot.type for slot in subgraph.outputs)
        inside = _Level(node_id, subgraph, iter(()), ())
        outlets = tuple(inside.source(slot) for slot in subgraph.outputs)
    elif definition is not None:
        inputs = merge_slots(definition.inputs, inputs)
        declared = definition.outputs
    return FlatNode(
        id=node_id,
        node=node,
        host=level.host,
        stopped=level.stopped or node.mode in (NEVER, BYPASS),
        inputs=inputs,
        sources=tuple(level.source(slot) for slot in inputs),
        outputs=declared + outputs[len(declared) :],
        definition=definition,
        subgraph=subgraph,
        outlets=outlets,
    )


def merge_slots(declared: Sequence[Slot], saved: Sequence[Slot]) -> tuple[Slot, ...]:
    """The declared inputs, each with the link that the file's input of the same name has; then the file's others.

    Where several have one name, the first declared is the first saved.
    """
    by_name: dict[str, list[Slot]] = {}
    for slot in reversed(saved):
        by_name.setdefault(slot.name, []).append(slot)
    names = {slot.name for slot in declared}
    known = [replace(s, link=by_name[s.name].pop().link) if by_name.get(s.name) else s for s in declared]
    return (*known, *(slot for slot in saved if slot.name not in names))
