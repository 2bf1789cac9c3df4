"""What a node class declares, and what a saved node of it has: sockets, widgets in order, what they hold at first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import WorkflowError
from .graph import Slot, short, slot_type
from .limits import MAX_DEPTH, MAX_GROUP_SLOTS
from .widget_types import AUTOGROW, DYNAMIC, MATCHTYPE, WIDGET_TYPES, Widget


@dataclass(frozen=True, slots=True)
class Definition:
    """What a node has: inputs (sockets first, then the widgets' own), widgets in saved order, output types."""

    title: str
    inputs: tuple[Slot, ...]
    outputs: tuple[str, ...]
    widgets: tuple[Widget, ...]
    forced: tuple[bool, ...] = ()
    """One entry per value that saves from before forceInput lost its widget hold: True where it was a dummy."""
    unknown: tuple[Slot, ...] = ()
    """Inputs that are widgets of a type that isn't known, as the file or the definition tells."""

    @property
    def size(self) -> int:
        """How many inputs, outputs and widgets there are."""
        return len(self.inputs) + len(self.outputs) + len(self.widgets)


@dataclass(frozen=True, slots=True)
class Input:
    """One declared input. `choices` are the inputs that each choice of a dynamic combo brings.

    `items` are the names that the inputs of a growing row may have, `least` how many of them there are at least; each
    is like `item`.
    """

    name: str
    type: str
    options: Mapping[str, Any]
    choices: Mapping[str, tuple[Input, ...]] = field(default_factory=dict)
    items: tuple[str, ...] = ()
    item: Input | None = None
    least: int = 0

    @property
    def is_widget(self) -> bool:
        """Whether the editor draws it as a widget."""
        return self.type in WIDGET_TYPES and not self.options.get("forceInput")


@dataclass(frozen=True, slots=True)
class Declaration:
    """A node class as /object_info tells it."""

    class_type: str
    title: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]


def parse_declaration(class_type: str, info: Any) -> Declaration:
    """Reads one entry of ComfyUI's /object_info; raises WorkflowError for what isn't one."""
    try:
        return Declaration(
            class_type=class_type,
            title=str(info.get("display_name") or info.get("name") or class_type),
            inputs=tuple(_inputs(info.get("input") or {}, info.get("input_order") or {})),
            outputs=tuple(slot_type(kind) for kind in info.get("output") or ()),
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise WorkflowError(f"the definition of {short(class_type)} isn't as /object_info gives it: {error}") from None


def _inputs(declared: Mapping[str, Any], order: Mapping[str, Any], depth: int = 0) -> Iterator[Input]:
    """Every input in the order of the editor's widgets; a list of choices is a COMBO."""
    if depth > MAX_DEPTH:
        raise ValueError(f"its dynamic combos are nested more than {MAX_DEPTH} deep")
    for category in ("required", "optional"):
        specs = declared.get(category) or {}
        names = [name for name in order.get(category) or () if name in specs]
        for name in [*names, *(name for name in specs if name not in names)]:
            yield _input(name, specs[name], depth)


def _input(name: str, spec: Any, depth: int) -> Input:
    kind = spec[0] if isinstance(spec, list | tuple) and spec else spec
    options = dict(spec[1]) if isinstance(spec, list | tuple) and len(spec) > 1 and spec[1] else {}
    if isinstance(kind, list | tuple):
        options.setdefault("options", kind)
    kind = str(options.get("widgetType") or slot_type(kind))
    if kind == DYNAMIC:
        offered = options["options"]
        choices = {str(one["key"]): tuple(_inputs(one.get("inputs") or {}, {}, depth + 1)) for one in offered}
        return Input(name, kind, {**options, "options": list(choices)}, choices=choices)
    if kind == AUTOGROW:
        return _row(name, options, depth)
    if kind == MATCHTYPE:
        kind = str((options.get("template") or {}).get("allowed_types") or "*")
    return Input(name, kind, options)


def _row(name: str, options: dict[str, Any], depth: int) -> Input:
    template = options["template"]
    least = int(template.get("min") or 0)
    most = min(int(template.get("max") or 100), MAX_GROUP_SLOTS)
    items = tuple(template.get("names") or (f"{template.get('prefix') or ''}{i}" for i in range(most)))
    item = next(_inputs(template["input"], {}, depth + 1))
    return Input(name, AUTOGROW, options, items=tuple(map(str, items)), item=item, least=least)
