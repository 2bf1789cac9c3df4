"""The cells of a sweep: every combination of the axes' steps, made one at a time, never all at once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from .axes import Axis, Prompt

__all__ = ["Cells"]

SUM = 2**256


class Cells:
    """The combinations of `axes` over the prompt `nodes`, by index; the last axis's steps come one after the other.

    `file_hashes` has the SHA-256 of files by the name that inputs call them: two cells are the same if their nodes,
    their values and the files that these name are.
    """

    def __init__(self, nodes: Prompt, axes: Sequence[Axis], file_hashes: Mapping[str, str] | None = None):
        self.base = nodes
        self.axes = tuple(axes)
        self.shape = tuple(len(axis) for axis in axes)
        self.file_hashes = dict(file_hashes or {})
        # node -> (input, axis, which of the axis's values)
        self._changes: dict[str, list[tuple[str, int, int]]] = {}
        for number, axis in enumerate(self.axes):
            for slot, (node_id, name) in enumerate(axis.targets):
                self._changes.setdefault(node_id, []).append((name, number, slot))

    def __len__(self) -> int:
        return math.prod(self.shape)

    def __getstate__(self) -> dict[str, Any]:
        return {"nodes": self.base, "axes": self.axes, "file_hashes": self.file_hashes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def touched(self) -> list[str]:
        """The nodes of which an input varies."""
        return list(self._changes)

    def changes_of(self, node_id: str) -> list[tuple[str, int, int]]:
        """`(input, number of its axis, position among the axis's values)` of what varies in a node."""
        return self._changes[node_id]

    def at(self, index: int) -> tuple[int, ...]:
        """The cell's position along each axis."""
        place = []
        for size in reversed(self.shape):
            index, step = divmod(index, size)
            place.append(step)
        return tuple(reversed(place))

    def index(self, at: Sequence[int]) -> int:
        """The number of the cell at these positions."""
        number = 0
        for size, step in zip(self.shape, at, strict=True):
            number = number * size + step
        return number

    def settings(self, index: int) -> list[tuple[str, str, Any]]:
        """`(node id, input, value)` of all that varies."""
        steps = [axis.steps[step] for axis, step in zip(self.axes, self.at(index), strict=True)]
        return [
            (node_id, name, value)
            for axis, step in zip(self.axes, steps, strict=True)
            for (node_id, name), value in zip(axis.targets, step, strict=True)
        ]

    def changes(self, index: int) -> dict[str, dict[str, Any]]:
        """The same as node id -> input -> value."""
        changes: dict[str, dict[str, Any]] = {}
        for node_id, name, value in self.settings(index):
            changes.setdefault(node_id, {})[name] = value
        return changes

    def values(self, index: int) -> dict[str, Any]:
        """What varies, by name."""
        names = [name for axis in self.axes for name in axis.names]
        return dict(zip(names, (value for _, _, value in self.settings(index)), strict=True))

    def nodes(self, index: int) -> Prompt:
        """The cell's prompt; nodes that don't vary are those of the base."""
        nodes = dict(self.base)
        for node_id in self._changes:
            nodes[node_id] = {**nodes[node_id], "inputs": dict(nodes[node_id]["inputs"])}
        for node_id, name, value in self.settings(index):
            nodes[node_id]["inputs"][name] = value
        return nodes

    def key(self, index: int) -> str:
        """The cell's hash: 16 hexadecimal digits that depend on nodes, values and files, and on nothing else.

        It is the sum of a hash for each input of each node, so that a cell costs an addition for each axis.
        """
        total = self._fixed
        for axis, step in enumerate(self.at(index)):
            known = self._step_hashes[axis].get(step)
            total += self._step_hash(axis, step) if known is None else known
        return f"{total % SUM:064x}"[:16]

    @cached_property
    def _fixed(self) -> int:
        """The hash of all that doesn't vary."""
        varied = {target for axis in self.axes for target in axis.targets}
        total = 0
        for node_id, node in self.base.items():
            total += _hash([node_id, node["class_type"]])
            for name, value in node["inputs"].items():
                if (node_id, name) not in varied:
                    total += self._input_hash(node_id, name, value)
        return total

    @cached_property
    def _step_hashes(self) -> list[dict[int, int]]:
        return [{} for _ in self.axes]

    def _step_hash(self, number: int, step: int) -> int:
        axis = self.axes[number]
        values = zip(axis.targets, axis.steps[step], strict=True)
        found = sum(self._input_hash(node_id, name, value) for (node_id, name), value in values)
        self._step_hashes[number][step] = found
        return found

    def _input_hash(self, node_id: str, name: str, value: Any) -> int:
        file = self.file_hashes.get(value) if isinstance(value, str) else None
        return _hash([node_id, name, _plain(value), file])

    def name(self, index: int, key: str) -> str:
        """What the cell's folder is called: its position along each axis, and its hash."""
        widths = (len(str(size - 1)) for size in self.shape)
        place = "-".join(f"{step:0{width}}" for step, width in zip(self.at(index), widths, strict=True))
        return f"{place}_{key}"


def _hash(parts: list[Any]) -> int:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())


def _plain(value: Any) -> Any:
    """A value in which equal numbers are written alike: 5.0 as 5."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value
