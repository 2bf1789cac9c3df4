"""What a run gave, by the names that people use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..executor.errors import WorkflowError
from ..executor.executor import RunResult
from ..prompts.messages import name_node
from ..prompts.overrides import find_node, title_of
from .taps import PREFIX, Link, Prompt


class NodeValues(Sequence):
    """A node's outputs (of a node that has none: what goes into it), by name or position.

    An output of one item is that item, a list of several is a list. `ui` is what the node shows.
    """

    def __init__(self, name: str, columns: list[tuple[str, Sequence[Any]]], ui: dict[str, list[Any]]):
        self._name = name
        self._columns = columns
        self.ui = ui

    @property
    def names(self) -> list[str]:
        """The names of what there is, in order."""
        return [name for name, _ in self._columns]

    def items(self, name: str | int) -> list[Any]:
        """All items of an output; raises KeyError or IndexError, which say what there is."""
        if isinstance(name, int):
            return list(self._columns[name][1])
        for known, column in self._columns:
            if known == name:
                return list(column)
        raise KeyError(f"{self._name} has no {name!r}; it has {', '.join(self.names) or 'nothing'}")

    def __getitem__(self, name: Any) -> Any:
        items = self.items(name)
        return items[0] if len(items) == 1 else items

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<{self._name}: {', '.join(self.names) or 'nothing'}>"


@dataclass(frozen=True)
class Outcome:
    """A run: by title or id, what its nodes gave.

    `refused` and `failed` are lines, None if it wasn't; `ran` and `cached` are ids; `files` those that nodes wrote.
    """

    prompt: Prompt
    result: RunResult | None = None
    columns: Mapping[Link, Sequence[Any]] = field(default_factory=dict)
    wanted: Mapping[str, list[tuple[str, Link]]] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    refused: str | None = None
    failed: str | None = None
    display_names: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    megabytes: float | None = None
    files: list[Path] = field(default_factory=list)

    @property
    def ran(self) -> list[str]:
        """The nodes that were called, in order."""
        return [node_id for node_id in self.result.ran if not node_id.startswith(PREFIX)] if self.result else []

    @property
    def cached(self) -> list[str]:
        """The nodes whose results were there already."""
        return [node_id for node_id in self.result.cached if not node_id.startswith(PREFIX)] if self.result else []

    @property
    def ui(self) -> dict[str, dict[str, list[Any]]]:
        """What nodes show, by id."""
        return self.result.outputs if self.result else {}

    def columns_of(self, node_id: str) -> list[tuple[str, Sequence[Any]]]:
        """`(name, items)` of what a node gave."""
        wanted = self.wanted.get(node_id, [])
        return [(name, self.columns[link]) for name, link in wanted if link in self.columns]

    def reaching(self, node_id: str) -> list[tuple[str, Sequence[Any]]]:
        """`(name, items)` of what other nodes gave to a node."""
        links = [(name, link) for name, link in self.wanted.get(node_id, []) if link[0] != node_id]
        return [(name, self.columns[link]) for name, link in links if link in self.columns]

    def __getitem__(self, node: Any) -> NodeValues:
        node_id = find_node(self.prompt, str(node))
        columns = self.columns_of(node_id)
        if not columns and node_id not in self.ran:
            raise WorkflowError(f"{name_node(self.prompt, node_id)} was not run")
        return NodeValues(title_of(self.prompt[node_id]), columns, self.ui.get(node_id, {}))
