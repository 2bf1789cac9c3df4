"""Changes of a prompt carried over into the browser-saved workflow that pictures take along.

A picture's `workflow` is what the browser opens. It must not say something else than the `prompt` that made the
picture, so a change that has no place in it (a value in place of a link, a node inside a subgraph) drops it: the
browser then opens the prompt.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from ..executor.errors import WorkflowError
from ..executor.reading import convert_workflow
from ..executor.reading.definition import parse_definition
from .overrides import Change, Prompt, inputs_of


def carry_over(
    workflow: dict[str, Any], prompt: Prompt, changes: Iterable[Change], object_info: Mapping[str, Any]
) -> dict[str, Any] | None:
    """A copy of `workflow` with the changed inputs' values from `prompt`; None if it can't say the same."""
    wanted = {(node_id, name): inputs_of(prompt[node_id])[name] for node_id, name in changes}
    if not wanted:
        return workflow
    changed = copy.deepcopy(workflow)
    for (node_id, name), value in wanted.items():
        for node in changed["nodes"]:
            if isinstance(node, dict) and str(node.get("id")) == node_id and node.get("type") in object_info:
                _set_widget(node, name, value, object_info[node["type"]])
    try:
        converted = convert_workflow(changed, object_info)
    except WorkflowError:
        return None
    said = {key: inputs_of(converted.get(key[0], {})).get(key[1]) for key in wanted}
    return changed if said == wanted else None


def _set_widget(node: dict[str, Any], name: str, value: Any, info: Mapping[str, Any]) -> None:
    values = node.get("widgets_values")
    if isinstance(values, dict):
        values[name] = value
        return
    names = [widget.name for widget in parse_definition(node["type"], info).widgets]
    if isinstance(values, list) and name in names and names.index(name) < len(values):
        values[names.index(name)] = value
