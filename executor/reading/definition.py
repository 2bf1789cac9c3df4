"""What a node class declares, seen as the browser sees it: sockets, widgets in order, and what they hold at first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .graph import Slot, slot_type

WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
"""Input types the browser draws as a widget, unless `forceInput` is set."""

SEEDS = ("seed", "noise_seed")
"""Whole numbers of these names change from run to run unless their definition says no."""

UPLOADS = ("image_upload", "animated_image_upload", "video_upload", "audio_upload")
"""Options of a choice among files that put an upload button on the node."""


NOTHING: Any = object()
"""The default of a widget that holds nothing: it sends nothing, where None would be sent."""


@dataclass(frozen=True, slots=True)
class Widget:
    """One widget of a node: `sent` is False for those that only the browser uses (seed control, upload button)."""

    name: str
    type: str
    default: Any = NOTHING
    sent: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Definition:
    """A node class: inputs (sockets first, then the widgets' own), widgets in saved order, output types."""

    title: str
    inputs: tuple[Slot, ...]
    outputs: tuple[str, ...]
    widgets: tuple[Widget, ...]
    forced: tuple[bool, ...] = ()
    """One entry per value that saves from before forceInput lost its widget hold: True where it was a dummy."""

    @property
    def size(self) -> int:
        """How many inputs, outputs and widgets there are."""
        return len(self.inputs) + len(self.outputs) + len(self.widgets)


def parse_definition(class_type: str, info: Mapping[str, Any]) -> Definition:
    """Reads one entry of ComfyUI's /object_info."""
    sockets: list[Slot] = []
    widget_slots: list[Slot] = []
    widgets: list[Widget] = []
    buttons: list[Widget] = []
    forced: list[bool] = []
    for name, kind, options in _inputs(info):
        force = bool(options.get("forceInput"))
        kind = str(options.get("widgetType") or kind)
        if kind not in WIDGET_TYPES or force:
            sockets.append(Slot(name, kind))
        else:
            widget_slots.append(Slot(name, kind, widget=name))
            widgets += _widgets(name, kind, options)
            buttons += _buttons(options)
        if kind in WIDGET_TYPES:
            forced += [force, False] if options.get("control_after_generate") else [force]
    return Definition(
        title=str(info.get("display_name") or info.get("name") or class_type),
        inputs=(*sockets, *widget_slots),
        outputs=tuple(slot_type(kind) for kind in info.get("output") or ()),
        widgets=(*widgets, *buttons),
        forced=tuple(forced),
    )


def _inputs(info: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, type and options of every input in the order of the browser's widgets; a list of choices is a COMBO."""
    declared = info.get("input") or {}
    order = info.get("input_order") or {}
    for category in ("required", "optional"):
        specs = declared.get(category) or {}
        names = [name for name in order.get(category) or () if name in specs]
        for name in [*names, *(name for name in specs if name not in names)]:
            spec = specs[name]
            kind = spec[0] if isinstance(spec, list | tuple) and spec else spec
            options = dict(spec[1]) if isinstance(spec, list | tuple) and len(spec) > 1 and spec[1] else {}
            if isinstance(kind, list | tuple):
                options.setdefault("options", kind)
            yield name, slot_type(kind), options


def _widgets(name: str, kind: str, options: dict[str, Any]) -> Iterator[Widget]:
    """The widget of one input and those that the browser adds behind it."""
    yield Widget(name, kind, _default(kind, options), options=options)
    control = options.get("control_after_generate")
    if control or (control is None and kind == "INT" and name in SEEDS):
        yield from seed_control(kind)
    remote = options.get("remote")
    if isinstance(remote, Mapping) and remote.get("refresh_button"):
        yield Widget("Auto-refresh after generation", "BOOLEAN", False, sent=False)
        yield Widget("refresh", "BUTTON", "refresh")


def seed_control(kind: str) -> tuple[Widget, ...]:
    """The widgets behind one that changes by itself from run to run."""
    control = Widget("control_after_generate", "COMBO", "randomize", sent=False)
    if kind == "COMBO":
        return (control, Widget("control_filter_list", "STRING", "", sent=False))
    return (control,) if kind == "INT" else ()


def _buttons(options: dict[str, Any]) -> Iterator[Widget]:
    """The upload button, which comes after all widgets of the node."""
    if any(options.get(key) for key in UPLOADS):
        yield Widget("upload", "IMAGEUPLOAD", "image", sent=False)


def _default(kind: str, options: dict[str, Any]) -> Any:
    if options.get("multi_select"):
        return []
    if options.get("default") is not None:
        return options["default"]
    if kind == "COMBO":
        choices = options.get("options")
        return choices[0] if isinstance(choices, list | tuple) and choices else NOTHING
    return {"INT": 0, "FLOAT": 0, "BOOLEAN": False}.get(kind, "")
