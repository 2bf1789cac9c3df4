"""Node definitions in words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any


def allowed(declared: Any) -> str:
    """What values an input takes, from its definition `(type, options)`: "INT, 1 to 1000"; "" if it is unknown."""
    if not declared:
        return ""
    kind, options = declared[0], declared[1] if len(declared) > 1 else {}
    choices = kind if isinstance(kind, (list, tuple)) else options.get("options") if kind == "COMBO" else None
    if choices is not None:
        shown = ", ".join(map(str, choices[:8]))
        return f"one of {shown}" + (f" and {len(choices) - 8} more" if len(choices) > 8 else "")
    low, high = options.get("min"), options.get("max")
    limits = f", {low} to {high}" if low is not None and high is not None else ""
    return f"{kind}{limits}"


def node_lines(info: Mapping[str, Any]) -> Iterator[str]:
    """All about a node class, from its entry in object_info."""
    yield f"{info['name']}  {info['display_name']}  [{info['category']}]"
    if info.get("description"):
        yield from _wrapped(info["description"], "  ")
    for category in ("required", "optional"):
        for name, declared in info["input"].get(category, {}).items():
            options = declared[1] if len(declared) > 1 else {}
            notes = [allowed(declared)]
            if "default" in options:
                notes.append(f"default {options['default']!r}")
            if category == "optional":
                notes.append("optional")
            yield f"  {name}: {'; '.join(notes)}"
            if options.get("tooltip"):
                yield from _wrapped(options["tooltip"], "      ")
    tooltips = info.get("output_tooltips") or ()
    for slot, (kind, name) in enumerate(zip(info["output"], info["output_name"], strict=False)):
        many = " (a list)" if info["output_is_list"][slot] else ""
        yield f"  -> {slot} {name}" + (f": {kind}" if kind != name else "") + many
        if slot < len(tooltips) and tooltips[slot]:
            yield from _wrapped(tooltips[slot], "      ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 110, initial_indent=indent, subsequent_indent=indent)
