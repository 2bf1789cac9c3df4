"""Checking all cells before the first one runs, at the cost of the values and not of their combinations.

A value can only be at fault in the node that it stands in: validation looks at a node's own inputs, at the types of its
links, which don't vary, and at its class. So it is enough to check

- for an input that only has a type and a range, the least and the greatest value of its axis;
- for a text that nothing restricts, one value;
- for any other input, each value of its axis;
- for inputs that their class judges together (VALIDATE_INPUTS that takes several of them, or a class of the newer form,
  whose inputs may depend on each other), each combination of these.

Each of those is checked by the executor's own validation, in a whole prompt.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..executor.errors import WorkflowError
from ..executor.executor import Executor
from ..executor.graph import links
from ..prompts.messages import fault_lines, name_node
from .axes import Prompt, Target
from .cells import Cells
from .values import Kind

__all__ = ["check_cells", "needed_nodes"]


def check_cells(
    cells: Cells, executor: Executor, targets: Sequence[str] | None, object_info: Mapping[str, Any]
) -> None:
    """Raises WorkflowError for the first fault that any cell has."""
    first = cells.nodes(0)
    lines = fault_lines(first, executor.check(first, targets), executor.node_classes)
    if lines and not _blamed(cells, 0, executor, targets):
        raise WorkflowError(lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""))
    for index in dict.fromkeys(_representatives(cells, executor.node_classes, object_info)):
        nodes = cells.nodes(index)
        lines = fault_lines(nodes, executor.check(nodes, targets), executor.node_classes)
        if lines:
            axis = _blamed(cells, index, executor, targets)
            raise WorkflowError(f"{axis}: {lines[0]}" if axis else lines[0])
    needed = needed_nodes(first, executor.node_classes, targets)
    for axis in cells.axes:
        for (node_id, _), name in zip(axis.targets, axis.names, strict=True):
            if node_id not in needed:
                node = name_node(first, node_id)
                raise WorkflowError(f"{name} changes nothing: no output that is run depends on {node}")


def needed_nodes(nodes: Prompt, node_classes: Mapping[str, type], targets: Iterable[str] | None) -> set[str]:
    """The output nodes (only those in `targets`, if given) and all they depend on."""
    wanted = None if targets is None else set(targets)
    stack = [
        node_id
        for node_id, node in nodes.items()
        if getattr(node_classes.get(node.get("class_type", "")), "OUTPUT_NODE", False) is True
        and (wanted is None or node_id in wanted)
    ]
    found = set(stack)
    while stack:
        for _, source in links(nodes[stack.pop()]):
            if source in nodes and source not in found:
                found.add(source)
                stack.append(source)
    return found


def _blamed(cells: Cells, index: int, executor: Executor, targets: Sequence[str] | None) -> str:
    """The text of the axis whose value is at fault in a cell, "" if it is none's."""
    verdict = executor.check(cells.nodes(index), targets)
    faults: set[tuple[str, Any]] = {
        (node_id, fault["extra_info"].get("input_name"))
        for node_id, entry in verdict.node_errors.items()
        for fault in entry["errors"]
    }
    for axis in cells.axes:
        if faults & set(axis.targets):
            return axis.text if axis.text.startswith("--") else f'--over "{axis.text}"'
    return ""


def _representatives(
    cells: Cells, node_classes: Mapping[str, type], object_info: Mapping[str, Any]
) -> Iterator[int]:
    origin = [0] * len(cells.shape)
    for axis, steps in enumerate(_worth_checking(cells, node_classes, object_info)):
        for step in steps:
            yield cells.index([*origin[:axis], step, *origin[axis + 1 :]])
    for node_id in cells.touched:
        together = _judged_together(cells, node_id, node_classes)
        if len(together) < 2:
            continue
        for steps in itertools.product(*(range(cells.shape[axis]) for axis in together)):
            at = list(origin)
            for axis, step in zip(together, steps, strict=True):
                at[axis] = step
            yield cells.index(at)


def _worth_checking(
    cells: Cells, node_classes: Mapping[str, type], object_info: Mapping[str, Any]
) -> Iterator[Iterable[int]]:
    """For each axis the steps that stand for all."""
    for axis in cells.axes:
        steps: dict[int, None] = {0: None}
        for slot, target in enumerate(axis.targets):
            kind = _plain_kind(cells, target, node_classes, object_info)
            if kind in ("INT", "FLOAT"):
                values = [step[slot] for step in axis.steps]
                if all(isinstance(value, (int, float)) for value in values):
                    steps |= {values.index(min(values)): None, values.index(max(values)): None}
                    continue
            elif kind == "STRING" and all(isinstance(step[slot], str) for step in axis.steps):
                continue
            steps |= dict.fromkeys(range(len(axis)))
        yield steps


def _plain_kind(
    cells: Cells, target: Target, node_classes: Mapping[str, type], object_info: Mapping[str, Any]
) -> str:
    """The kind of an input that only its type and its range judge; "" where its class has a say too."""
    node_id, name = target
    class_type = cells.base[node_id]["class_type"]
    if _own_check(node_classes.get(class_type), [name]):
        return ""
    inputs = object_info.get(class_type, {}).get("input", {})
    return Kind.of({**inputs.get("required", {}), **inputs.get("optional", {})}.get(name)).name


def _judged_together(cells: Cells, node_id: str, node_classes: Mapping[str, type]) -> list[int]:
    """The axes of which a node's class sees the values side by side when it judges them."""
    changes = cells.changes_of(node_id)
    names = _own_check(node_classes.get(cells.base[node_id]["class_type"]), [name for name, _, _ in changes])
    return list(dict.fromkeys(axis for name, axis, _ in changes if name in names))


def _own_check(node_class: type | None, names: Sequence[str]) -> set[str]:
    """Those of the inputs that a class judges itself."""
    if not hasattr(node_class, "INPUT_TYPES") or hasattr(node_class, "define_schema"):
        return set(names)
    function = getattr(node_class, "VALIDATE_INPUTS", None)
    if function is None:
        return set()
    spec = inspect.getfullargspec(function)
    return set(names) if spec.varkw is not None else set(names) & set(spec.args)
