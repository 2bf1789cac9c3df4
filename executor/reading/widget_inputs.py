"""The values that a node's widgets send: what they hold, with the browser's finishing touches."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .dynamic_text import PREFIXED, as_text, choose, fill_in
from .editors import Editor
from .flatten import FlatNode, Source
from .promoted import Held
from .resolve import Resolver
from .widget_types import DYNAMIC, NOTHING, Widget
from .widgets import widget_values


@dataclass(slots=True)
class Filler:
    """Fills in the widgets of a flat graph's nodes; `now` and `rng` are for texts that ask for them.

    `changes` (node id -> input -> value) take the place of what widgets hold, and are sent as they are.
    """

    flat: Mapping[str, FlatNode]
    resolver: Resolver
    set_by_hosts: Mapping[str, Mapping[str, Any]]
    editor: Editor
    now: datetime
    rng: random.Random
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    _names: dict[str, FlatNode] = field(default_factory=dict)

    def found(self, node: FlatNode) -> dict[str, Source | Held]:
        """Input name -> where its value comes from, for the inputs that get one from elsewhere."""
        sources = {slot.name: self.resolver.input(node, i) for i, slot in enumerate(node.inputs)}
        return {name: source for name, source in sources.items() if source is not None}

    def held(self, node: FlatNode, found: Mapping[str, Source | Held]) -> dict[str, Any]:
        """Widget name -> value of a node that has a class: its own, or what is held for it elsewhere."""
        assert node.definition is not None
        elsewhere = {name: source.value for name, source in found.items() if isinstance(source, Held)}
        return widget_values(node.node, node.definition) | self.set_by_hosts.get(node.id, {}) | elsewhere

    def sent(self, node: FlatNode, found: Mapping[str, Source | Held]) -> dict[str, Any]:
        """Input name -> value, of the widgets that send one; `found` as above."""
        assert node.definition is not None
        held = self.held(node, found)
        on_host = {name for name, source in found.items() if isinstance(source, Held) and source.on_host}
        on_host |= self.set_by_hosts.get(node.id, {}).keys()
        values = {}
        for widget in node.definition.widgets:
            if not widget.sent or widget.name not in held:
                continue
            value = held[widget.name]
            if widget.name not in on_host:
                value = self._finished(widget, value, node)
            if widget.type == "CURVE" and self.editor.names_curves and isinstance(value, dict):
                value = {"__type__": "CURVE", "__value__": value}
            values[widget.name] = value
        return values

    def _finished(self, widget: Widget, value: Any, node: FlatNode) -> Any:
        """The value as the widget itself sends it; one on a subgraph's host has no such touches."""
        is_text = value is not None and (self.editor.keeps_kinds or isinstance(value, str | list | dict))
        if widget.type == "STRING" and widget.options.get("multiline") and not is_text:
            value = as_text(value)
        if widget.type in ("COMBO", DYNAMIC) and value is None and self.editor.fills_null_choices:
            value = None if widget.default is NOTHING else widget.default
        if widget.type == "STRING" and widget.options.get("dynamicPrompts") and isinstance(value, str):
            value = choose(value, self.rng)
        return self._filled_in(node, widget.name, value)

    def changed(self, node: FlatNode) -> dict[str, Any]:
        """Input name -> value, of the inputs that were changed."""
        changes = self.changes.get(node.id, {})
        return {name: self._filled_in(node, name, value) for name, value in changes.items()}

    def _filled_in(self, node: FlatNode, name: str, value: Any) -> Any:
        if name == "filename_prefix" and node.node.type in PREFIXED and isinstance(value, str):
            return fill_in(value, self._widget, self.now)
        return value

    def _widget(self, name: str, widget: str) -> Any:
        """The value of a widget of the node that is named so for search and replace, or else titled so."""
        if not self._names:
            for node in reversed(self.flat.values()):
                if node.definition is not None:
                    self._names[node.node.title or node.definition.title] = node
            for node in reversed(self.flat.values()):
                known_as = node.node.properties.get("Node name for S&R")
                if node.definition is not None and isinstance(known_as, str):
                    self._names[known_as] = node
        node = self._names[name]
        return (self.held(node, self.found(node)) | dict(self.changes.get(node.id, {})))[widget]
