"""Axes: which inputs of a workflow vary, and through which values."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..executor.errors import WorkflowError
from ..executor.graph import is_link
from ..prompts.overrides import find_node, inputs_of, title_of
from .values import Kind, Source, distinct, draws, parse_steps, parse_value

__all__ = ["Axis", "AxisReader", "Target"]

Prompt = dict[str, dict[str, Any]]
Target = tuple[str, str]
"""`(node id, input)`."""


@dataclass(frozen=True)
class Axis:
    """Inputs that move together.

    text: as it was written, for messages
    targets: the inputs; names: how they are called, NODE.INPUT
    steps: a tuple of values for each step, one per target
    is_drawn: whether some of them are random numbers
    """

    text: str
    targets: tuple[Target, ...]
    names: tuple[str, ...]
    steps: Sequence[tuple[Any, ...]]
    is_drawn: bool = False

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def name(self) -> str:
        """All its inputs' names."""
        return ", ".join(self.names)


class AxisReader:
    """Reads axes over the inputs of one prompt.

    `drawn` are the steps that axes with random values were given before, by their text: they are taken again.
    """

    def __init__(
        self,
        prompt: Prompt,
        object_info: Mapping[str, Any],
        input_dir: Path,
        drawn: Mapping[str, Sequence[Sequence[Any]]] | None = None,
    ):
        self._prompt = prompt
        self._object_info = object_info
        self._source = Source(input_dir, random.SystemRandom())
        self._drawn = drawn or {}

    def read(self, texts: Iterable[str], tables: Iterable[Path] = ()) -> list[Axis]:
        """The axes of `--over` texts and `--rows` tables; raises WorkflowError, one line that names the option."""
        axes = [self._over(text) for text in texts] + [self._rows(path) for path in tables]
        return _apart(axes)

    def mapping(self, axes: Mapping[str, Iterable[Any]]) -> list[Axis]:
        """The axes of `{"NODE.INPUT": values}`, or of several inputs with tuples; raises WorkflowError."""
        return _apart([self._given(key, values) for key, values in axes.items()])

    def _over(self, text: str) -> Axis:
        with _about(f'--over "{text}"'):
            targets, names, rest = self._targets(text)
            kinds = self._kinds(targets)
            steps = [tuple(step) for step in self._drawn.get(text, ())] or parse_steps(rest, kinds, self._source)
            return Axis(text, targets, names, steps, draws(rest, kinds))

    def _given(self, key: str, values: Iterable[Any]) -> Axis:
        with _about(f"axis {key!r}"):
            targets, names, rest = self._targets(f"{key}=")
            if rest:
                raise WorkflowError("expected NODE.INPUT, or several separated by commas")
            rows = [value if len(targets) > 1 else (value,) for value in values]
            wrong = next((row for row in rows if not isinstance(row, (tuple, list)) or len(row) != len(targets)), None)
            if wrong is not None:
                raise WorkflowError(f"{wrong!r}: expected a tuple of {len(targets)} values")
            kinds = self._kinds(targets)
            steps = [tuple(_as(value, kind) for value, kind in zip(row, kinds, strict=True)) for row in rows]
            return Axis(key, targets, names, distinct(steps))

    def _rows(self, path: Path) -> Axis:
        with _about(f"--rows {path}"):
            try:
                with path.open(encoding="utf-8-sig", newline="") as file:
                    rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
            except (OSError, ValueError, csv.Error) as error:
                raise WorkflowError(f"can't be read: {getattr(error, 'strerror', None) or error}") from None
            if len(rows) < 2:
                raise WorkflowError("expected a first line of NODE.INPUT names, and lines of values below it")
            found = [self._targets(f"{name.strip()}=") for name in rows[0]]
            if any(rest or len(targets) != 1 for targets, _, rest in found):
                raise WorkflowError("the first line: expected a NODE.INPUT in each column")
            targets = tuple(targets[0] for targets, _, _ in found)
            kinds = self._kinds(targets)
            steps = []
            for number, row in enumerate(rows[1:], 2):
                if len(row) != len(targets):
                    raise WorkflowError(f"line {number} has {len(row)} values, expected {len(targets)}")
                with _about(f"line {number}"):
                    steps.append(tuple(parse_value(text.strip(), kind) for text, kind in zip(row, kinds, strict=True)))
            return Axis(f"--rows {path}", targets, tuple(names[0] for _, names, _ in found), distinct(steps))

    # --- names

    def _targets(self, text: str) -> tuple[tuple[Target, ...], tuple[str, ...], str]:
        """`(targets, names, what comes after the equal sign)`. Whatever fits the prompt counts: names hold anything."""
        targets, names, at = [], [], 0
        while True:
            at += len(text[at:]) - len(text[at:].lstrip())
            fits = [
                (match.end(), node_id, called, name)
                for node_id, called, name in self._all_names()
                if (match := re.compile(re.escape(f"{called}.{name}") + r"\s*[,=]").match(text, at))
            ]
            if not fits:
                raise self._unknown(text[at:])
            at, _, called, name = max(fits, key=lambda fit: fit[0])
            node_id = find_node(self._prompt, called)
            if (node_id, name) in targets:
                raise WorkflowError(f"{called}.{name} comes twice")
            targets.append((node_id, name))
            names.append(f"{called}.{name}")
            if text[at - 1] == "=":
                return tuple(targets), tuple(names), text[at:]

    def _all_names(self) -> Iterator[tuple[str, str, str]]:
        for node_id, node in self._prompt.items():
            for called in dict.fromkeys((node_id, title_of(node))):
                for name in self._inputs(node):
                    yield node_id, called, name

    def _inputs(self, node: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._declared(node), **inputs_of(node)}

    def _declared(self, node: Mapping[str, Any]) -> dict[str, Any]:
        inputs = self._object_info.get(str(node.get("class_type")), {}).get("input", {})
        return {**inputs.get("required", {}), **inputs.get("optional", {})}

    def _unknown(self, text: str) -> WorkflowError:
        """What is wrong with a name that fits nothing."""
        left, equals, _ = text.partition("=")
        called, dot, name = left.strip().rpartition(".")
        if not equals or not dot:
            return WorkflowError("expected NODE.INPUT=VALUES")
        try:
            node = self._prompt[find_node(self._prompt, called)]
        except WorkflowError as error:
            return error
        known = ", ".join(self._inputs(node)) or "none"
        return WorkflowError(f"{node.get('class_type')} has no input {name!r}; it has {known}")

    def _kinds(self, targets: Iterable[Target]) -> list[Kind]:
        kinds = []
        for node_id, name in targets:
            node = self._prompt[node_id]
            declared = self._declared(node).get(name)
            value = inputs_of(node).get(name)
            if declared and _is_socket(declared[0]) and (value is None or is_link(value)):
                raise WorkflowError(f"{name}: expected a link: only another node can give {declared[0]}")
            kinds.append(Kind.of(declared))
        return kinds


class _about:
    """Puts what a WorkflowError is about before its text."""

    def __init__(self, what: str):
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, WorkflowError):
            raise WorkflowError(f"{self._what}: {error}") from None


def _is_socket(kind: Any) -> bool:
    words = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
    return isinstance(kind, str) and kind.isupper() and kind not in words


def _as(value: Any, kind: Kind) -> Any:
    """A value as the input has it: whole numbers for a FLOAT are floats."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind.name == "FLOAT" and is_number:
        return float(value)
    if value is not None and not isinstance(value, (str, int, float, bool, list, dict)):
        raise WorkflowError(f"{value!r}: expected a number, a text, true or false, a list or a dict")
    return value


def _apart(axes: list[Axis]) -> list[Axis]:
    """The axes, if no input is in two of them."""
    if not axes:
        raise WorkflowError('nothing varies: expected at least one --over "NODE.INPUT=VALUES"')
    taken: dict[Target, str] = {}
    for axis in axes:
        for target, name in zip(axis.targets, axis.names, strict=True):
            if target in taken:
                raise WorkflowError(f"{name} is in two axes, {taken[target]!r} and {axis.text!r}")
            taken[target] = axis.text
    return axes
