"""Values that are set elsewhere than on the node that sends them: on a subgraph's host, or on a PrimitiveNode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .flatten import FlatNode, Source
from .widgets import widget_values


@dataclass(frozen=True, slots=True)
class Held:
    """A value that an input gets where no link feeds it."""

    value: Any


@dataclass(frozen=True, slots=True)
class HeldValues:
    """All such values of a flat graph.

    `slots` has those of a host's inputs and of a primitive's output, by (id, slot); `widgets` those that a host sets
    right on a widget inside, by (id, widget).
    """

    slots: dict[tuple[str, int], Held] = field(default_factory=dict)
    widgets: dict[str, dict[str, Any]] = field(default_factory=dict)


def held_values(flat: Mapping[str, FlatNode]) -> HeldValues:
    """The values of primitives and of the widgets that hosts show; an outer host's come before an inner one's."""
    held = HeldValues()
    promoted = _promoted(flat)
    for node in flat.values():
        values = node.node.values
        if node.definition is not None and node.subgraph is not None:  # a group node
            shows = widget_values(node.node, node.definition)
            for i, slot in enumerate(node.inputs):
                if slot.widget in shows:
                    held.slots[node.id, i] = Held(shows[slot.widget])
        elif node.subgraph is not None and isinstance(values, list):
            shown = [slot.name for i, slot in enumerate(node.inputs) if (node.id, i) in promoted]
            for (inner, name), value in zip(_shown(node, shown), values, strict=False):
                _hold(held, node if inner == "-1" else flat.get(f"{node.id}:{inner}"), name, value)
        elif node.node.type == "PrimitiveNode" and isinstance(values, list) and values:
            held.slots[node.id, 0] = Held(values[0])
    return held


def _shown(node: FlatNode, promoted: list[str]) -> Iterator[tuple[str, str]]:
    """What a host's values belong to, as (id inside, widget), where -1 is the host's own input of that name.

    That is `proxyWidgets`, and before them the promoted inputs unless they are among them.
    """
    entries = node.node.properties.get("proxyWidgets")
    pairs = [entry for entry in entries if isinstance(entry, list)] if isinstance(entries, list) else []
    proxies = [(str(pair[0]), str(pair[1])) for pair in pairs if len(pair) >= 2]
    if not any(inner == "-1" for inner, _ in proxies):
        yield from (("-1", name) for name in promoted)
    yield from proxies


def _hold(held: HeldValues, node: FlatNode | None, name: str, value: Any) -> None:
    if node is None:  # a preview, or a node that is gone
        return
    if node.subgraph is None:
        held.widgets.setdefault(node.id, {}).setdefault(name, value)
        return
    slot = next((i for i, slot in enumerate(node.inputs) if slot.name == name), None)
    if slot is not None:
        held.slots.setdefault((node.id, slot), Held(value))


def _promoted(flat: Mapping[str, FlatNode]) -> set[tuple[str, int]]:
    """The inputs of hosts that show a widget from inside: those that feed one."""
    promoted: set[tuple[str, int]] = set()
    for node in reversed(flat.values()):  # what is inside comes after its host
        for i, (slot, source) in enumerate(zip(node.inputs, node.sources, strict=True)):
            if isinstance(source, Source) and source.of_host and (slot.widget or (node.id, i) in promoted):
                promoted.add((source.id, source.slot))
    return promoted
