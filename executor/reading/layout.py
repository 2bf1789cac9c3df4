"""What one saved node has of all that its class may have: dynamic combos and growing rows depend on what was saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .definition import Declaration, Definition, Input, parse_declaration
from .graph import Node, Slot, parse_node
from .widget_types import AUTOGROW, BEFORE, BEHIND, DYNAMIC, GROWING, NOTHING, WIDGET_TYPES, Widget

SEEDS = ("seed", "noise_seed")
"""Whole numbers of these names change from run to run unless their definition says no."""

UPLOADS = ("image_upload", "animated_image_upload", "video_upload", "audio_upload")
"""Options of a choice among files that put an upload button on the node."""


def lay_out(declaration: Declaration, node: Node, shows_next: bool = True) -> Definition:
    """The definition of this node: with the inputs of what its dynamic combos are set to, as far as rows are linked.

    `shows_next` says whether a row of which nothing is linked shows one input more than it has to.
    """
    layout = _Layout(declaration.class_type, node, shows_next)
    layout.add(declaration.inputs)
    layout.add_growing()
    return Definition(
        title=declaration.title,
        inputs=(*layout.sockets, *layout.widget_slots),
        outputs=declaration.outputs,
        widgets=(*layout.widgets, *layout.buttons),
        forced=tuple(layout.forced),
        unknown=tuple(layout.unknown),
    )


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
    sockets: list[Slot] = field(default_factory=list)
    widget_slots: list[Slot] = field(default_factory=list)
    widgets: list[Widget] = field(default_factory=list)
    buttons: list[Widget] = field(default_factory=list)
    forced: list[bool] = field(default_factory=list)
    unknown: list[Slot] = field(default_factory=list)
    places: int = 0

    def add(self, inputs: Iterable[Input], prefix: str = "") -> None:
        """The inputs, in their order; those inside a dynamic combo or a row have its name before theirs."""
        for declared in inputs:
            one = replace(declared, name=prefix + declared.name)
            if one.type == AUTOGROW:
                self.add(self._row(one), f"{one.name}.")
            elif one.is_widget:
                self._add_widget(one)
            else:
                (self.widget_slots if prefix else self.sockets).append(Slot(one.name, one.type))
                if self._is_unknown_widget(one):
                    self.unknown.append(Slot(one.name, one.type))
            if one.type in WIDGET_TYPES:
                self.forced += [not one.is_widget, *([False] if one.options.get("control_after_generate") else [])]

    def _add_widget(self, one: Input) -> None:
        for widget in BEFORE.get((self.class_type, one.name), ()):
            self._place(widget)
        kind = WIDGET_TYPES[one.type]
        own = Widget(one.name, one.type, _default(one), options=one.options, saved=kind.saved)
        value = self._value(own)
        self._place(own)
        if one.type == DYNAMIC:
            self.add(one.choices.get(value, ()) if isinstance(value, str) else (), f"{one.name}.")
        self.widget_slots.append(Slot(one.name, one.type, widget=one.name))
        for widget in (*BEHIND.get((self.class_type, one.name), ()), *kind.behind, *_behind(one)):
            self._place(widget)
        self.buttons += _buttons(one.options)

    def add_growing(self) -> None:
        """The row of widgets that nodes of some classes end in."""
        kind = GROWING.get(self.class_type)
        if kind is not None:
            values = self.node.values or ()
            rest = len(values) - self.places  # by name, too: the rest of the names is theirs
            for i in range(max(rest, 1)):
                self._place(replace(kind, name=f"{kind.name}{i + 1}"))

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
        return values[self.places] if values and self.places < len(values) else widget.default

    def _row(self, row: Input) -> list[Input]:
        """The inputs that a row shows: one more than is linked, and than the least or just those."""
        assert row.item is not None
        linked = {slot.name for slot in self.node.inputs if slot.link is not None}
        last = max((i + 1 for i, name in enumerate(row.items) if f"{row.name}.{name}" in linked), default=0)
        shown = max(row.least, last) + 1 if self.shows_next else max(row.least, last + 1 if last else 0)
        return [replace(row.item, name=name) for name in row.items[:shown]]


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
