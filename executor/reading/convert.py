"""From what the browser saves to what ComfyUI runs: the work of the editor's "Export (API)", without the editor."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..errors import UnknownClassError, WorkflowError
from .definition import Declaration, Definition, parse_declaration
from .flatten import FlatNode, Source, flatten
from .graph import Graph, Workflow, parse_workflow, short
from .group_nodes import PREFIXES, unfold_group
from .layout import Layouts
from .limits import MAX_SLOTS
from .promoted import held_values
from .renames import with_current_types
from .renumber import renumbered, with_opened_groups
from .resolve import Resolver
from .set_get_nodes import join_by_name
from .widget_inputs import Filler

Changes = Mapping[str, Mapping[str, Any]]
"""Node id -> input -> the value it shall have."""


def convert_workflow(
    workflow: dict[str, Any],
    object_info: Mapping[str, Any],
    *,
    now: datetime | None = None,
    rng: random.Random | None = None,
    changes: Changes | None = None,
) -> dict[str, Any]:
    """The API form of a browser-saved workflow: {id: {"class_type", "inputs", "_meta"}}, inner nodes as `host:id`.

    `object_info` says what each node class declares, as ComfyUI's /object_info does. `now` is the time for %date:...%
    in file names, and `rng` decides between the {alternatives} of prompts, by default always in the same way. `changes`
    are values in place of the workflow's, set before anything is derived from them. Raises WorkflowError for a workflow
    that is malformed or goes in circles, and for types that `object_info` doesn't know.
    """
    parsed = renumbered(with_current_types(parse_workflow(workflow), object_info))
    editor = parsed.editor
    declarations = _declarations(parsed, object_info)
    groups = _unfold_groups(parsed, declarations)
    if editor.opens_groups:
        parsed, groups = with_opened_groups(parsed, groups)
    flat = join_by_name(flatten(parsed, Layouts(declarations, groups, editor.shows_next_of_row)))
    running = {node.id: node for node in flat.values() if not node.virtual and not node.stopped}
    _refuse_unknown(node for node in running.values() if node.definition is None)
    _refuse_unknown_widgets(running.values())
    held = held_values(flat, nulls=editor.sends_shown_nulls)
    resolver = Resolver(flat, held.slots, editor)
    time, choice = now or datetime.now(), rng or random.Random(0)
    filler = Filler(flat, resolver, held.widgets, editor, time, choice, changes or {})
    return {node.id: _entry(node, filler, running, keeps_values=editor.mutes_more) for node in running.values()}


def _declarations(workflow: Workflow, object_info: Mapping[str, Any]) -> dict[str, Declaration]:
    graphs: list[Graph] = [workflow.graph, *workflow.subgraphs.values()]
    types = {node.type for graph in graphs for node in graph.nodes.values()}
    for group in workflow.groups.values():
        nodes = group.get("nodes")
        entries = nodes if isinstance(nodes, list) else ()
        types |= {str(entry.get("type")) for entry in entries if isinstance(entry, dict)}
    return {kind: parse_declaration(kind, object_info[kind]) for kind in types if kind in object_info}


def _unfold_groups(workflow: Workflow, declarations: Mapping[str, Declaration]) -> dict[str, Definition]:
    """Adds the group nodes to the subgraphs, in the file's order: a later may hold an earlier. Their definitions."""
    slots = 0
    groups: dict[str, Definition] = {}
    graphs = (workflow.graph, *workflow.subgraphs.values())
    held = {node.type: len(node.values or ()) for graph in graphs for node in graph.nodes.values()}
    for name, data in workflow.groups.items():
        saved = max(held.get(prefix + name, 0) for prefix in PREFIXES)
        graph, definition = unfold_group(name, data, declarations, groups, saved)
        for prefix in PREFIXES:
            workflow.subgraphs[prefix + name], groups[prefix + name] = graph, definition
        slots += definition.size
        if slots > MAX_SLOTS:
            raise WorkflowError(f"its group nodes show more than {MAX_SLOTS} inputs and outputs")
    return groups


def _refuse_unknown(nodes: Iterable[FlatNode]) -> None:
    unknown = []
    for node in nodes:
        pack = node.node.properties.get("cnr_id") or node.node.properties.get("aux_id")
        title = f", titled {short(node.node.title)}" if node.node.title not in (None, node.node.type) else ""
        origin = f", from {short(pack)}" if pack else ""
        unknown.append(f"node {node.id}: unknown type {short(node.node.type)}{title}{origin}")
    if unknown:
        more = f"; and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UnknownClassError("; ".join(unknown[:5]) + more)


def _refuse_unknown_widgets(nodes: Iterable[FlatNode]) -> None:
    for node in nodes:
        if node.definition is not None and node.definition.unknown and isinstance(node.node.values, list):
            slot = node.definition.unknown[0]
            raise WorkflowError(
                f"{node}: input {slot.name!r} is a widget of unknown type {short(slot.type)}, so "
                "the saved values can't be told apart from there on"
            )


def _entry(node: FlatNode, filler: Filler, running: Mapping[str, FlatNode], keeps_values: bool) -> dict[str, Any]:
    assert node.definition is not None
    found = filler.found(node)
    inputs = {name: _wrapped(value) for name, value in filler.sent(node, found).items()}
    for name, source in found.items():
        if isinstance(source, Source) and source.id in running:
            inputs[name] = [source.id, source.slot]
        elif isinstance(source, Source):
            if not keeps_values:
                inputs.pop(name, None)
        else:  # also for an input that is no widget: then the widget is on a host
            inputs.setdefault(name, _wrapped(source.value))
    inputs |= filler.changed(node)
    title = node.node.title or node.definition.title
    return {"class_type": node.node.type, "inputs": inputs, "_meta": {"title": title}}


def _wrapped(value: Any) -> Any:
    """A bare list would be read as a link."""
    return {"__value__": value} if isinstance(value, list) else value
