"""Where an input's value really comes from: through reroutes, bypassed nodes and the walls of subgraphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import WorkflowError
from .flatten import FlatNode, Missing, Source
from .graph import BYPASS, Slot
from .widgets import widget_values

MAX_STEPS = 5_000_000
"""Links followed for one workflow before it is refused as too tangled."""


@dataclass(frozen=True, slots=True)
class Held:
    """A value held by a widget elsewhere: one promoted to a subgraph's host, or a PrimitiveNode's own."""

    value: Any


@dataclass(slots=True)
class Resolver:
    """Follows links in a flat graph. `held` gives the values that hosts and primitives hold, by (id, slot)."""

    flat: Mapping[str, FlatNode]
    held: Mapping[tuple[str, int], Held]
    steps: int = 0

    def input(self, node: FlatNode, index: int) -> Source | Held | None:
        """The running node's output that feeds the input, or the value held for it, or nothing.

        Raises WorkflowError for links that lead nowhere, or in a circle through nodes that pass them on.
        """
        seen: set[tuple[str, int, bool]] = set()
        held = None
        wanted = node.inputs[index].type
        source = node.sources[index]
        while source is not None:
            if isinstance(source, Missing):
                raise WorkflowError(f"{node}: {node.inputs[index].name!r} leads to {source.what}, which isn't there")
            self._step(source, seen)
            origin = self.flat[source.id]
            slot: int | None = source.slot
            if source.of_host:  # out of the subgraph, through its host
                held, wanted = self.held.get((origin.id, source.slot), held), ""
            elif origin.node.mode == BYPASS:
                slot, wanted = bypassed_input(origin, source.slot, wanted), ""
            elif origin.subgraph is not None:  # into a subgraph
                source = origin.outlets[source.slot] if 0 <= source.slot < len(origin.outlets) else None
                continue
            elif origin.virtual:
                held = self.held.get((origin.id, source.slot), held)
            else:
                return source
            if slot is None or not 0 <= slot < len(origin.inputs):
                break
            wanted = wanted or origin.inputs[slot].type
            source = origin.sources[slot]
        return held

    def _step(self, source: Source, seen: set[tuple[str, int, bool]]) -> None:
        key = (source.id, source.slot, source.of_host)
        if key in seen:
            raise WorkflowError(f"{self.flat[source.id]}: its links lead in a circle")
        seen.add(key)
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise WorkflowError(f"following its links takes more than {MAX_STEPS} steps")


def bypassed_input(node: FlatNode, slot: int, wanted: str) -> int | None:
    """The input that stands in for output `slot` of a bypassed node when `wanted` is the type asked for.

    The input of the same number if its type fits; else the first of exactly that type; else the first that fits.
    """
    inputs: Sequence[Slot] = node.inputs
    if wanted in ("*", ""):
        return slot if slot < len(inputs) else 0
    output = node.outputs[slot] if 0 <= slot < len(node.outputs) else "*"

    def fits(candidate: Slot) -> bool:
        return types_match(candidate.type, output) and types_match(candidate.type, wanted)

    if 0 <= slot < len(inputs) and fits(inputs[slot]):
        return slot
    exact = (i for i, candidate in enumerate(inputs) if candidate.type == wanted)
    fitting = (i for i, candidate in enumerate(inputs) if fits(candidate))
    return next(exact, next(fitting, None))


def types_match(a: str, b: str) -> bool:
    """Whether the editor would join the two types: equal, either one any, or a comma-separated part in common."""
    if a in ("", "*") or b in ("", "*"):
        return True
    return not set(a.lower().split(",")).isdisjoint(b.lower().split(","))


def held_values(flat: Mapping[str, FlatNode]) -> dict[tuple[str, int], Held]:
    """The values of primitives and of the widgets that hosts show, by node id and slot."""
    held: dict[tuple[str, int], Held] = {}
    promoted = _promoted(flat)
    for node in flat.values():
        values = node.node.values
        if node.definition is not None and node.subgraph is not None:  # a group node
            shows = widget_values(node.node, node.definition)
            slots = enumerate(slot.widget for slot in node.inputs)
            held |= {(node.id, i): Held(shows[name]) for i, name in slots if name in shows}
        elif node.subgraph is not None and isinstance(values, list):
            shown = [(node.id, i) for i in range(len(node.inputs)) if (node.id, i) in promoted]
            held |= {key: Held(value) for key, value in zip(shown, values, strict=False)}
        elif node.node.type == "PrimitiveNode" and isinstance(values, list) and values:
            held[node.id, 0] = Held(values[0])
    return held


def _promoted(flat: Mapping[str, FlatNode]) -> set[tuple[str, int]]:
    """The inputs of hosts that show a widget from inside: those that feed one."""
    promoted: set[tuple[str, int]] = set()
    for node in reversed(flat.values()):  # what is inside comes after its host
        for i, (slot, source) in enumerate(zip(node.inputs, node.sources, strict=True)):
            if isinstance(source, Source) and source.of_host and (slot.widget or (node.id, i) in promoted):
                promoted.add((source.id, source.slot))
    return promoted
