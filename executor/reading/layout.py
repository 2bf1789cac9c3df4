"""What one saved node has of all that its class may have: dynamic combos and growing rows depend on what was saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .definition import Declaration, Definition, Input, parse_declaration
from .graph import Node, Slot, parse_node
from .widget_types import AUTOGROW, BEFORE, BEHIND, DYNAMIC, GROWING, MATCHTYPE, NOTHING, WIDGET_TYPES, Widget

SEEDS = ("seed", "noise_seed")
"""Whole numbers of these names change from run to run unless their definition says no."""

UPLOADS = ("image_upload", "animated_image_upload", "video_upload", "audio_upload")
"""Options of a choice among files that put an upload button on the node."""


def lay_out(declaration: Declaration, node: Node, shows_next: bool = True) -> Definition:
    """The definition of this node: with the inputs of what its dynamic combos are set to, as far as rows are linked.

    `shows_next` says whether a row of which nothing is linked shows one input more than it has to.
    """
    layout = _Layout(declaration.class_type, node, shows_next)
    layout.add(sorted(declaration.inputs, key=lambda one: one.is_widget))  # sockets and rows first
    layout.add_behind()
    return Definition(
        title=declaration.title,
        inputs=tuple(layout.slots),
        outputs=_output_types(declaration.outputs, node),
        widgets=(*layout.widgets, *layout.buttons),
        forced=_forced(declaration.inputs),
        unknown=tuple(layout.unknown),
    )


def _forced(inputs: Iterable[Input]) -> tuple[bool, ...]:
    """`Definition.forced`; dynamic combos and rows are younger than such saves."""
    flags: list[bool] = []
    for one in inputs:
        if one.type in (DYNAMIC, AUTOGROW):
            return ()
        if one.type in WIDGET_TYPES:
            flags += [not one.is_widget, *([False] if one.options.get("control_after_generate") else [])]
    return tuple(flags)


def _output_types(declared: tuple[str, ...], node: Node) -> tuple[str, ...]:
    """The types of the outputs; one that follows an input's type has the type that it was saved with."""
    saved = dict(enumerate(slot.type for slot in node.outputs))
    return tuple(saved.get(i, "*") if kind == MATCHTYPE else kind for i, kind in enumerate(declared))


@dataclass(slots=True)
class Layouts:
    """The definitions of a file's nodes, each class laid out once where what was saved makes no difference."""

    declarations: Mapping[str, Declaration]
    groups: Mapping[str, Definition]
    shows_next: bool = True
    _fixed: dict[str, Definition | None] = field(default_factory=dict)

    def of(self, node: Node) -> Definition | None:
        """The definition of a node; None for a type that has none."""
        if node.type in self.groups or node.type not in self.declarations:
            return self.groups.get(node.type)
        declaration = self.declarations[node.type]
        if node.type not in self._fixed:
            depends = any(one.type in (DYNAMIC, AUTOGROW) for one in declaration.inputs) or node.type in GROWING
            depends |= MATCHTYPE in declaration.outputs
            self._fixed[node.type] = None if depends else lay_out(declaration, replace(node, inputs=()))
        fixed = self._fixed[node.type]
        if fixed is None:
            return lay_out(declaration, node, self.shows_next)
        sockets = {slot.name for slot in fixed.inputs if slot.widget is None}
        was_widget = any(slot.widget is not None and slot.name in sockets for slot in node.inputs)
        return lay_out(declaration, node) if was_widget else fixed


def widget_names(node: dict[str, Any], info: Any) -> list[str]:
    """The widgets that the values of a saved node belong to, in order; `info` is its class's entry of /object_info."""
    parsed = parse_node(node)
    return [widget.name for widget in lay_out(parse_declaration(parsed.type, info), parsed).widgets if widget.saved]


@dataclass(slots=True)
class _Layout:
    class_type: str
    node: Node
    shows_next: bool
    slots: list[Slot] = field(default_factory=list)
    widgets: list[Widget] = field(default_factory=list)
    buttons: list[Widget] = field(default_factory=list)
    grown: list[Input] = field(default_factory=list)
    unknown: list[Slot] = field(default_factory=list)
    places: int = 0
    by_name: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.by_name = self.node.values_by_name

    def add(self, inputs: Iterable[Input], prefix: str = "") -> None:
        """The inputs, in their order; those inside a dynamic combo or a row have its name before theirs."""
        for declared in inputs:
            one = replace(declared, name=prefix + declared.name)
            if one.type == AUTOGROW:
                self._add_row(one)
            elif one.is_widget:
                self._add_widgets(one)
                self.slots.append(Slot(one.name, one.type, widget=one.name))
            else:
                self.slots.append(Slot(one.name, one.type))
                if self._is_unknown_widget(one):
                    self.unknown.append(Slot(one.name, one.type))

    def add_behind(self) -> None:
        """The widgets behind all others: those by which rows have grown, and the row that some classes end in."""
        for one in self.grown:
            self._add_widgets(one)
        kind = GROWING.get(self.class_type)
        if kind is not None:
            values = self.node.values or ()
            rest = len(values) - self.places  # by name, too: the rest of the names is theirs
            for i in range(max(rest, 1)):
                self._place(replace(kind, name=f"{kind.name}{i + 1}"))

    def _add_widgets(self, one: Input) -> None:
        """An input's widget, the inputs that it brings, and the widgets around it."""
        for widget in BEFORE.get((self.class_type, one.name), ()):
            self._place(widget)
        kind = WIDGET_TYPES[one.type]
        own = Widget(one.name, one.type, _default(one), options=one.options, saved=kind.saved)
        value = self._value(own)
        self._place(own)
        if one.type == DYNAMIC:
            self.add(one.choices.get(value, ()) if isinstance(value, str) else (), f"{one.name}.")
        for widget in (*BEHIND.get((self.class_type, one.name), ()), *kind.behind, *_behind(one)):
            self._place(widget)
        self.buttons += _buttons(one.options)

    def _add_row(self, row: Input) -> None:
        """The inputs that a row shows: one more than is linked, and than the least or just those."""
        assert row.item is not None
        linked = {slot.name for slot in self.node.inputs if slot.link is not None}
        last = max((i + 1 for i, name in enumerate(row.items) if f"{row.name}.{name}" in linked), default=0)
        first = row.least + 1 if self.shows_next else row.least
        for i, name in enumerate(row.items[: max(first, last + 1 if last else 0)]):
            one = replace(row.item, name=f"{row.name}.{name}")
            if one.is_widget and i >= first:
                self.slots.append(Slot(one.name, one.type, widget=one.name))
                self.grown.append(one)
            else:
                self.add([one])

    def _is_unknown_widget(self, one: Input) -> bool:
        """Whether the definition says that an input of an unknown type is a widget, or the file that it was one."""
        if one.type in WIDGET_TYPES or "," in one.type or one.type == "*":
            return False
        was_widget = any(slot.name == one.name and slot.widget is not None for slot in self.node.inputs)
        return was_widget or bool(one.options.get("socketless") or one.options.get("widgetType"))

    def _place(self, widget: Widget) -> None:
        self.widgets.append(widget)
        self.places += widget.saved

    def _value(self, widget: Widget) -> Any:
        """What the next widget was saved with."""
        values = self.node.values
        if isinstance(values, dict):
            return values.get(widget.name, widget.default)
        if widget.name in self.by_name:
            return self.by_name[widget.name]
        return values[self.places] if values and self.places < len(values) else widget.default


def seed_control(kind: str) -> tuple[Widget, ...]:
    """The widgets behind one that changes by itself from run to run."""
    control = Widget("control_after_generate", "COMBO", "randomize", sent=False)
    if kind == "COMBO":
        return (control, Widget("control_filter_list", "STRING", "", sent=False))
    return (control,) if kind == "INT" else ()


def _behind(one: Input) -> Iterable[Widget]:
    """The widgets that the editor adds behind an input's own."""
    control = one.options.get("control_after_generate")
    if control or (control is None and one.type == "INT" and one.name in SEEDS):
        yield from seed_control(one.type)
    remote = one.options.get("remote")
    if isinstance(remote, Mapping) and remote.get("refresh_button"):
        yield Widget("Auto-refresh after generation", "BOOLEAN", False, sent=False)
        yield Widget("refresh", "BUTTON", "refresh")


def _buttons(options: Mapping[str, Any]) -> Iterable[Widget]:
    """The upload button, which comes after all widgets of the node."""
    if any(options.get(key) for key in UPLOADS):
        yield Widget("upload", "IMAGEUPLOAD", "image", sent=False)


def _default(one: Input) -> Any:
    kind, options = WIDGET_TYPES[one.type], one.options
    if options.get("multi_select"):
        return []
    if options.get("default") is not None and not kind.fixed:
        return options["default"]
    if kind.default is NOTHING:
        choices = options.get("options")
        return choices[0] if isinstance(choices, list | tuple) and choices else NOTHING
    return kind.default
