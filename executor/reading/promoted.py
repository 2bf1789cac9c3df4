"""Values that are set elsewhere than on the node that sends them: on a subgraph's host, or on a PrimitiveNode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .flatten import FlatNode, Source
from .widgets import widget_values


@dataclass(frozen=True, slots=True)
class Held:
    """A value that an input gets where no link feeds it; `on_host` says that a subgraph's host holds it."""

    value: Any
    on_host: bool = False


@dataclass(frozen=True, slots=True)
class HeldValues:
    """All such values of a flat graph.

    `slots` has those of a host's inputs and of a primitive's output, by (id, slot); `widgets` those that a host sets
    right on a widget inside, by (id, widget).
    """

    slots: dict[tuple[str, int], Held] = field(default_factory=dict)
    widgets: dict[str, dict[str, Any]] = field(default_factory=dict)


def held_values(flat: Mapping[str, FlatNode], *, nulls: bool) -> HeldValues:
    """The values of primitives and of the widgets that hosts show; an outer host's come before an inner one's.

    What a host has no value for is what the first widget inside holds; a null for a widget that is shown without being
    an input is a value only with `nulls`.
    """
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
            slots = [i for i in range(len(node.inputs)) if (node.id, i) in promoted]
            for (inner, shown), value in zip(_shown(node, slots, flat), values, strict=False):
                if value is None and not nulls and inner != node.id:
                    continue
                if isinstance(shown, int):
                    held.slots.setdefault((inner, shown), Held(value, on_host=True))
                else:
                    held.widgets.setdefault(inner, {}).setdefault(shown, value)
        elif node.node.type == "PrimitiveNode" and isinstance(values, list) and values:
            held.slots[node.id, 0] = Held(values[0])
    _hold_what_is_inside(flat, held)
    return held


def _hold_what_is_inside(flat: Mapping[str, FlatNode], held: HeldValues) -> None:
    first: dict[tuple[str, int], Held] = {}
    for node in reversed(flat.values()):  # what is inside comes after its host
        own: dict[str, Any] | None = None
        for i, (slot, source) in reversed(list(enumerate(zip(node.inputs, node.sources, strict=True)))):
            if not isinstance(source, Source) or not source.of_host:
                continue
            inside = held.slots.get((node.id, i), first.get((node.id, i)))
            if inside is None and slot.widget is not None and node.definition is not None and node.subgraph is None:
                if own is None:
                    own = widget_values(node.node, node.definition) | held.widgets.get(node.id, {})
                inside = Held(own[slot.widget], on_host=True) if slot.widget in own else None
            if inside is not None:
                first[source.id, source.slot] = inside
    for key, value in first.items():
        held.slots.setdefault(key, value)


def _shown(host: FlatNode, promoted: list[int], flat: Mapping[str, FlatNode]) -> Iterator[tuple[str, int | str]]:
    """What a host's values belong to, as (id, slot) of a host or (id, widget) of a node inside.

    That is `proxyWidgets`, and before them the promoted inputs unless they are among them.
    """
    proxies = list(_proxies(host))
    if not any(inner == "-1" for inner, _, _ in proxies):
        yield from ((host.id, slot) for slot in promoted)
    for inner, name, source in proxies:
        is_own = inner == "-1" or not _has(flat.get(f"{host.id}:{inner}"), name)
        yield _shown_by(host.id if is_own else f"{host.id}:{inner}", name, source, flat)


def _has(node: FlatNode | None, name: str) -> bool:
    """Whether there may be a widget of that name; where there is none, an input of the host is meant."""
    if node is None or node.definition is None or node.subgraph is not None:
        return node is not None
    return any(widget.name == name for widget in node.definition.widgets)


def _proxies(host: FlatNode) -> Iterator[tuple[str, str, str]]:
    """(id inside, widget, id further inside or "") of `proxyWidgets`, where -1 is the host's own input of that name."""
    entries = host.node.properties.get("proxyWidgets")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, list) and len(entry) >= 2:
            yield str(entry[0]), str(entry[1]), str(entry[2]) if len(entry) > 2 else ""


def _shown_by(node_id: str, name: str, source: str, flat: Mapping[str, FlatNode]) -> tuple[str, int | str]:
    """The slot or widget that node `node_id` calls `name`: where it is a host, what that host shows so."""
    while (node := flat.get(node_id)) is not None and node.subgraph is not None:
        names = [slot.name for slot in node.inputs]
        if name in names:
            return node_id, names.index(name)
        shown = [(inner, shown) for inner, shown, _ in _proxies(node) if name in (shown, f"{inner}: {shown}")]
        if not shown:
            break
        inner, name = max(shown, key=lambda pair: pair[0] == source)  # the first, where none is the source
        node_id = f"{node_id}:{inner}"
    return node_id, name


def _promoted(flat: Mapping[str, FlatNode]) -> set[tuple[str, int]]:
    """The inputs of hosts that show a widget from inside: those that feed one."""
    promoted: set[tuple[str, int]] = set()
    for node in reversed(flat.values()):  # what is inside comes after its host
        for i, (slot, source) in enumerate(zip(node.inputs, node.sources, strict=True)):
            if isinstance(source, Source) and source.of_host and (slot.widget or (node.id, i) in promoted):
                promoted.add((source.id, source.slot))
    return promoted
