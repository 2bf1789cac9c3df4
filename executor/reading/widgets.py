"""What a node's widgets hold: the saved values, by position or by name, laid over the class's own."""

from __future__ import annotations

import logging
from typing import Any

from .definition import Definition
from .graph import Node
from .widget_types import NOTHING

logger = logging.getLogger(__name__)


def widget_values(node: Node, definition: Definition) -> dict[str, Any]:
    """Widget name -> value, for every widget that holds one; what the file doesn't say is the class's default."""
    names = [widget.name for widget in definition.widgets if widget.saved]
    values = {widget.name: widget.default for widget in definition.widgets if widget.default is not NOTHING}
    if isinstance(node.values, dict):
        return values | {name: node.values[name] for name in names if name in node.values}
    saved = _without_dummies(node.values or [], definition.forced)
    if node.named and len(saved) != len(names):
        return values | {name: node.named[name] for name in names if name in node.named}
    if node.values_by_name.keys() == set(names):
        names = list(node.named)  # what came to a growing row stands behind all others
    if len(saved) > len(names) and saved[len(names)] not in (None, "", "image"):
        logger.warning("%s holds %d widget values, its class has %d widgets", node, len(saved), len(names))
    values |= zip(names, saved, strict=False)
    sampler = values.get("sampler_name")
    if node.type in ("KSampler", "KSamplerAdvanced") and isinstance(sampler, str):
        values["sampler_name"] = sampler.removeprefix("sample_")  # as the first saves named them
    return values


def _without_dummies(saved: list[Any], forced: tuple[bool, ...]) -> list[Any]:
    """Old saves gave an input with forceInput a value too; they are told by their number of values."""
    if len(saved) != len(forced):
        return saved
    return [value for value, dummy in zip(saved, forced, strict=True) if not dummy]
