"""From what the browser saves to what ComfyUI runs: the work of the editor's "Export (API)", without the editor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import WorkflowError
from .definition import Definition, parse_definition
from .flatten import FlatNode, Source, flatten
from .graph import BYPASS, NEVER, Graph, Workflow, parse_workflow
from .resolve import Held, Resolver
from .widgets import widget_values


def convert_workflow(workflow: dict[str, Any], object_info: Mapping[str, Any]) -> dict[str, Any]:
    """The API form of a browser-saved workflow: {id: {"class_type", "inputs", "_meta"}}, inner nodes as `host:id`.

    `object_info` says what each node class declares, as ComfyUI's /object_info does. Raises WorkflowError for a
    workflow that is malformed or goes in circles, and for node types that `object_info` doesn't know.
    """
    parsed = parse_workflow(workflow)
    definitions = {kind: parse_definition(kind, object_info[kind]) for kind in _types(parsed) if kind in object_info}
    flat = flatten(parsed, definitions)
    running = {node.id: node for node in flat.values() if not node.virtual and node.node.mode not in (NEVER, BYPASS)}
    _refuse_unknown(node for node in running.values() if node.definition is None)
    resolver = Resolver(flat, _held(flat))
    return {node.id: _entry(node, resolver, running) for node in running.values()}


def _types(workflow: Workflow) -> set[str]:
    graphs: list[Graph] = [workflow.graph, *workflow.subgraphs.values()]
    return {node.type for graph in graphs for node in graph.nodes.values()}


def _refuse_unknown(nodes: Iterable[FlatNode]) -> None:
    unknown = []
    for node in nodes:
        pack = node.node.properties.get("cnr_id") or node.node.properties.get("aux_id")
        title = f', "{node.node.title}"' if node.node.title and node.node.title != node.node.type else ""
        unknown.append(f"node {node.id}: unknown type {node.node.type!r}{title}" + (f", from {pack}" if pack else ""))
    if unknown:
        more = f"; and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise WorkflowError("; ".join(unknown[:5]) + more)


def _entry(node: FlatNode, resolver: Resolver, running: Mapping[str, FlatNode]) -> dict[str, Any]:
    definition = node.definition
    assert isinstance(definition, Definition)
    found = {slot.name: resolver.input(node, i) for i, slot in enumerate(node.inputs)}
    values = widget_values(node.node, definition)
    values |= {name: at.value for name, at in found.items() if isinstance(at, Held)}
    inputs = {widget.name: _wrapped(values[widget.name]) for widget in definition.widgets if widget.sent}
    for name, at in found.items():
        if isinstance(at, Source):
            if at.id in running:
                inputs[name] = [at.id, at.slot]
            else:
                inputs.pop(name, None)
    return {
        "class_type": node.node.type,
        "inputs": inputs,
        "_meta": {"title": node.node.title or definition.title},
    }


def _wrapped(value: Any) -> Any:
    """A bare list would be read as a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _held(flat: Mapping[str, FlatNode]) -> dict[tuple[str, int], Held]:
    """The values of primitives and of widgets promoted to a subgraph's host, by node id and slot."""
    held: dict[tuple[str, int], Held] = {}
    promoted = _promoted(flat)
    for node in flat.values():
        values = node.node.values
        if not isinstance(values, list):
            continue
        if node.node.type == "PrimitiveNode" and values:
            held[node.id, 0] = Held(values[0])
        elif node.subgraph is not None:
            slots = [(node.id, i) for i in range(len(node.inputs)) if (node.id, i) in promoted]
            held |= {slot: Held(value) for slot, value in zip(slots, values, strict=False)}
    return held


def _promoted(flat: Mapping[str, FlatNode]) -> set[tuple[str, int]]:
    """The inputs of hosts that show a widget from inside: those that feed one."""
    promoted: set[tuple[str, int]] = set()
    for node in reversed(flat.values()):  # what is inside comes after its host
        for i, (slot, source) in enumerate(zip(node.inputs, node.sources, strict=True)):
            if source is not None and source.of_host and (slot.widget or (node.id, i) in promoted):
                promoted.add((source.id, source.slot))
    return promoted
