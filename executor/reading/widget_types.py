"""The widget types of ComfyUI's editor, one row each: what such a widget holds at first, and what comes with it.

An input whose type is here is a widget, unless its definition says `forceInput`; any other is a socket, or the widget
of a node pack's own script, which nobody outside the editor can lay out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NOTHING: Any = object()
"""The default of a widget that holds nothing: it sends nothing, where None would be sent."""

DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
"""A choice that brings inputs of its own, named `combo.part`."""

AUTOGROW = "COMFY_AUTOGROW_V3"
"""A row of inputs, named `row.item`, of which one more shows than is linked."""

MATCHTYPE = "COMFY_MATCHTYPE_V3"
"""A socket of any of the types that its template allows."""


@dataclass(frozen=True, slots=True)
class Widget:
    """One widget of a node: `sent` is False for those that only the editor uses (seed control, upload button).

    `saved` is False for those that take no place among the saved values.
    """

    name: str
    type: str
    default: Any = NOTHING
    sent: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    saved: bool = True


@dataclass(frozen=True, slots=True)
class WidgetType:
    """A row of the table: `default` where the definition gives none, and always if `fixed`.

    `behind` are the widgets that the editor puts behind one of this type.
    """

    default: Any = NOTHING
    fixed: bool = False
    saved: bool = True
    behind: tuple[Widget, ...] = ()


_LINE = {"points": [[0, 0], [1, 1]], "interpolation": "monotone_cubic"}
_CORNERS = tuple(Widget(name, "INT", 0, sent=False) for name in ("x", "y", "width", "height"))
_BOX = {"x": 0, "y": 0, "width": 512, "height": 512}
_CUT = {"trim": {"start_time": 0, "duration": 0}, "crop": {"x": 0, "y": 0, "width": 0, "height": 0}}

WIDGET_TYPES: Mapping[str, WidgetType] = {
    "INT": WidgetType(0),
    "FLOAT": WidgetType(0),
    "STRING": WidgetType(""),
    "BOOLEAN": WidgetType(False),
    "COMBO": WidgetType(),
    DYNAMIC: WidgetType(),
    "COLOR": WidgetType("#000000"),
    "COLORS": WidgetType([]),
    "CURVE": WidgetType(_LINE),
    "RANGE": WidgetType({"min": 0, "max": 1}),
    "BOUNDING_BOX": WidgetType(_BOX, behind=_CORNERS),
    "BOUNDING_BOXES": WidgetType([]),
    "IMAGECOMPARE": WidgetType(["", ""], fixed=True, saved=False),
    "PAINTER": WidgetType("", fixed=True),
    "COMPOSITOR": WidgetType({}),
    "VIDEO_EDIT": WidgetType(_CUT),
    "MARKDOWN": WidgetType("", fixed=True),
    "TEXTAREA": WidgetType("", fixed=True),
    "CHART": WidgetType({}),
    "GALLERIA": WidgetType([]),
    "LOAD_3D": WidgetType(""),
    "LOAD_3D_ANIMATION": WidgetType(""),
    "PREVIEW_3D": WidgetType(""),
    "WEBCAM": WidgetType(""),
    "AUDIO_RECORD": WidgetType("", behind=(Widget("record", "BUTTON", "", sent=False),)),
}

LOAD_BUTTONS = tuple(
    Widget(name, "BUTTON", value)
    for name, value in (
        ("upload 3d model", "upload3dmodel"),
        ("upload extra resources", "uploadExtraResources"),
        ("clear", "clear"),
    )
)

BEFORE: Mapping[tuple[str, str], tuple[Widget, ...]] = {
    ("Load3D", "image"): LOAD_BUTTONS,
    ("Load3DAnimation", "image"): LOAD_BUTTONS,
}
"""Widgets that the editor itself puts on nodes of a class, before the widget of that input; they are sent too."""

BEHIND: Mapping[tuple[str, str], tuple[Widget, ...]] = {("CustomCombo", "choice"): (Widget("index", "INT", 0),)}
"""The same, behind the widget of that input."""

GROWING: Mapping[str, Widget] = {"CustomCombo": Widget("option", "STRING", "")}
"""Classes whose nodes end in a row of widgets like this, numbered from 1: as many as were saved, and at least one."""
