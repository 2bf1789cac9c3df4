"""What a node returned, made uniform.

A method may return a tuple, `{"ui": ..., "result": ...}`, `{"expand": graph, "result": ...}`, the v3
`io.NodeOutput`, or a blocker for all its outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .caller import FindOutputs
from .graph import is_link
from .node_class import NodeClass


@dataclass(frozen=True)
class Return:
    """One call's outcome: `values` by slot; with `expansion`, values may be links into those new nodes."""

    values: Sequence[Any] | None
    expansion: dict[str, dict[str, Any]] | None = None


@dataclass(frozen=True)
class Returns:
    """All calls' outcomes of one node, and what it shows the user (`ui`: name -> list)."""

    calls: list[Return]
    ui: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def expands(self) -> bool:
        """Whether any call put new nodes in the node's place."""
        return any(call.expansion is not None for call in self.calls)

    def expansion_sources(self) -> list[str]:
        """The new nodes that values link to."""
        return [
            value[0]
            for call in self.calls
            if call.expansion is not None
            for value in call.values or ()
            if is_link(value)
        ]


def read_returns(results: Iterable[Any], node_class: NodeClass) -> Returns:
    """Sort out what the calls of a node returned."""
    calls, uis = [], []
    for result in results:
        values, expansion, ui = _parts(result, node_class)
        if ui is not None:
            uis.append(ui)
        if values is not _NO_VALUES or expansion is not None:
            calls.append(Return(None if values is _NO_VALUES else values, expansion))
    ui = {key: [item for one in uis for item in one[key]] for key in uis[0]} if uis else {}
    return Returns(calls, ui)


_NO_VALUES = object()


def _parts(result: Any, node_class: NodeClass) -> tuple[Any, dict | None, dict | None]:
    """`(values, expansion, ui)` of one call's result."""
    runtime = node_class.runtime
    if isinstance(result, dict):
        values = result.get("result", _NO_VALUES)
        expansion, ui = result.get("expand"), result.get("ui")
    elif runtime.is_v3_result(result):
        values = result.result if result.result is not None else _NO_VALUES
        if result.block_execution is not None and (values is not _NO_VALUES or result.expand is not None):
            values = runtime.blockers[-1](result.block_execution)
        expansion = result.expand
        ui = result.ui if result.ui is None or isinstance(result.ui, dict) else result.ui.as_dict()
    else:
        values, expansion, ui = result, None, None
    if isinstance(values, runtime.blockers):
        values = (values,) * len(node_class.return_types)
    return values, expansion, ui


def resolve(returns: Returns, find_outputs: FindOutputs) -> list[Sequence[Any]]:
    """The values of each call, with the links of expanded ones replaced by what those nodes gave."""
    resolved: list[Sequence[Any]] = []
    for call in returns.calls:
        if call.expansion is None:
            resolved.append(call.values)
            continue
        values: list[Any] = []
        for value in call.values or ():
            if is_link(value):
                values.extend(find_outputs(value[0])[value[1]])
            else:
                values.append(value)
        resolved.append(tuple(values))
    return resolved


def to_columns(values: Sequence[Sequence[Any]], node_class: NodeClass) -> list[Sequence[Any]]:
    """Values by call turned into columns by slot; outputs that are lists are joined, others collected."""
    if not values:
        return []
    if any(call is None for call in values):
        raise TypeError(f"{node_class.name}.{node_class.function} returned None, expected a tuple of outputs")
    columns: list[Sequence[Any]] = []
    flags = getattr(node_class.cls, "OUTPUT_IS_LIST", None)
    slots = range(len(values[0]) if flags is None else min(len(values[0]), len(flags)))
    for slot in slots:
        if node_class.returns_list(slot):
            column: list[Any] = []
            for call in values:
                value = call[slot]
                column.extend([value] if isinstance(value, node_class.runtime.blockers) else value)
        else:
            column = [call[slot] for call in values]
        columns.append(column)
    return columns
