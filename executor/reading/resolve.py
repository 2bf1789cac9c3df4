"""Where an input's value really comes from: through reroutes, bypassed nodes and the walls of subgraphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import WorkflowError
from .editors import Editor
from .flatten import FlatNode, Missing, Source
from .graph import BYPASS, NEVER, Slot
from .limits import MAX_NAME, MAX_STEPS
from .promoted import Held


@dataclass(slots=True)
class Resolver:
    """Follows links in a flat graph; `held` gives the values that hosts and primitives hold, by (id, slot)."""

    flat: Mapping[str, FlatNode]
    held: Mapping[tuple[str, int], Held]
    editor: Editor = field(default_factory=Editor)
    steps: int = 0

    def input(self, node: FlatNode, index: int) -> Source | Held | None:
        """The running node's output that feeds the input, or the value held for it, or nothing.

        Raises WorkflowError for links that lead nowhere, or in a circle through nodes that pass them on.
        """
        seen: set[tuple[str, int, bool]] = set()
        held = None
        passed_on = False
        wanted = node.inputs[index].type
        source = node.sources[index]
        while source is not None:
            if isinstance(source, Missing):
                raise WorkflowError(
                    f"{node}: {node.inputs[index].name!r} is linked to {source.what}, which doesn't exist"
                )
            self._step(source, seen)
            origin = self.flat[source.id]
            slot: int | None = source.slot
            if source.of_host:  # out of the subgraph, through its host
                held, wanted = self.held.get((origin.id, source.slot), held), ""
            elif origin.node.mode == BYPASS:
                self.steps += len(origin.inputs)
                slot, wanted = bypassed_input(origin, source.slot, wanted), ""
                passed_on = True
            elif origin.subgraph is not None and origin.node.mode == NEVER:
                return None
            elif origin.subgraph is not None:  # into a subgraph
                source = origin.outlets[source.slot] if 0 <= source.slot < len(origin.outlets) else None
                continue
            elif origin.virtual:
                if not passed_on:  # a primitive writes into the widgets that it feeds itself
                    held = self.held.get((origin.id, source.slot), held)
                passed_on = True
                if held is None and self.editor.mutes_more and origin.node.mode == NEVER:
                    return None
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
            raise WorkflowError(f"{self.flat[source.id]}: its links form a loop")
        seen.add(key)
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise WorkflowError(f"its links take more than {MAX_STEPS} steps to follow; at most that many are followed")


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
    if a in ("", "*") or b in ("", "*") or a == b:
        return True
    if len(a) > MAX_NAME or len(b) > MAX_NAME:  # no list of types, but one of choices
        return False
    return not set(a.lower().split(",")).isdisjoint(b.lower().split(","))
