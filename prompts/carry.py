"""Changes of a prompt carried over into the browser-saved workflow that pictures take along.

A picture's `workflow` is what the browser opens. It must not say something else than the `prompt` that made the
picture, so a change that has no place in it (a value in place of a link, a node inside a subgraph) drops it: the
browser then opens the prompt.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..executor.errors import WorkflowError
from ..executor.reading import convert_workflow
from ..executor.reading.layout import widget_names
from .overrides import Changes, Prompt, inputs_of


def carry_over(
    workflow: dict[str, Any], prompt: Prompt, changes: Changes, object_info: Mapping[str, Any]
) -> dict[str, Any] | None:
    """A copy of `workflow` with the changes; None if it can't say the same as `prompt`, which has them."""
    if not changes:
        return workflow
    changed = copy.deepcopy(workflow)
    for node in changed["nodes"]:
        kind = node.get("type") if isinstance(node, dict) else None
        if isinstance(kind, str) and kind in object_info:
            for name, value in changes.get(str(node.get("id")), {}).items():
                _set_widget(node, name, value, object_info[kind])
    try:
        converted = convert_workflow(changed, object_info)
    except WorkflowError:
        return None
    same = all(
        inputs_of(converted.get(node_id, {})).get(name) == inputs_of(prompt[node_id])[name]
        for node_id, values in changes.items()
        for name in values
    )
    return changed if same else None


def _set_widget(node: dict[str, Any], name: str, value: Any, info: Mapping[str, Any]) -> None:
    values = node.get("widgets_values")
    if isinstance(values, dict):
        values[name] = value
        return
    names = widget_names(node, info)
    if isinstance(values, list) and name in names and names.index(name) < len(values):
        values[names.index(name)] = value
        named = node.get("widgets_values_named")
        if isinstance(named, dict) and name in named:
            named[name] = value
