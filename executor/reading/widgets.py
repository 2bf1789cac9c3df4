"""What a node's widgets hold: the saved values, by position or by name, laid over the class's own."""

from __future__ import annotations

import logging
from typing import Any

from .definition import Definition
from .graph import Node

logger = logging.getLogger(__name__)

def widget_values(node: Node, definition: Definition) -> dict[str, Any]:
    """Widget name -> value, for every widget of the class, in order; what the file doesn't say is the default."""
    names = [widget.name for widget in definition.widgets]
    values = {widget.name: widget.default for widget in definition.widgets}
    if isinstance(node.values, dict):
        return values | {name: value for name, value in node.values.items() if name in values}
    saved = _without_dummies(node.values or [], definition.forced)
    if len(saved) > len(names):
        extra = [value for value in saved[len(names) :] if value not in (None, "", "image")]
        if extra:
            logger.warning("%s holds %d more widget values than its class has widgets", node, len(extra))
    return values | dict(zip(names, saved, strict=False))


def _without_dummies(saved: list[Any], forced: tuple[bool, ...]) -> list[Any]:
    """Old saves gave an input with forceInput a value too; they are told by their number of values."""
    if len(saved) != len(forced):
        return saved
    return [value for value, dummy in zip(saved, forced, strict=True) if not dummy]
