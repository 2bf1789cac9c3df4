"""Values that an input can't take: null and objects, and any for what only another node can give, such as a MODEL.

ComfyUI hands them on, null and true in Python's words as texts, and the node breaks or does what nobody asked for; here
it is told before. Only of this package's own nodes is it known which inputs those are: a node pack may have widgets of
any type.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from ..executor.graph import is_link, links
from .overrides import Prompt, class_of, inputs_of

WIDGETS = {
    "INT": "a whole number",
    "FLOAT": "a number",
    "STRING": "text",
    "BOOLEAN": "true or false",
    "COMBO": "one of its choices",
}
OWN = __name__.partition(".prompts")[0]


def misplaced_constants(
    prompt: Prompt, outputs: Iterable[str], classes: Mapping[str, type]
) -> Iterator[tuple[str, str, str, Any]]:
    """(node id, input, what is wrong with {}, the value) for every such value among the nodes that the outputs need."""
    for node_id in _needed(prompt, outputs):
        node_class = classes.get(class_of(prompt[node_id]))
        if node_class is None or node_class.__module__.partition(".nodes")[0] != OWN:
            continue
        inputs = inputs_of(prompt[node_id])
        for name in _unknown_links(node_class, inputs):
            known = ", ".join(_inputs(node_class)) or "none"
            yield node_id, name or "''", f"linked to {{}}, but the node has no such input; it has {known}", inputs[name]
        for name, (kind, is_required) in _inputs(node_class).items():
            if name not in inputs or is_link(inputs[name]):
                continue
            value = inputs[name]
            if kind in WIDGETS:
                if _is_no_value(value, kind):
                    yield node_id, name, f"{{}}, expected {WIDGETS[kind]}", value
                continue
            absent = value is None and not is_required
            fits = "FLOAT" in kind.split(",") and isinstance(value, int | float) and not isinstance(value, bool)
            if not absent and not fits:
                yield node_id, name, f"expected a link to a {kind} output, not the value {{}}", value


def _unknown_links(node_class: Any, inputs: Mapping[str, Any]) -> list[str]:
    """Linked inputs that the class doesn't have: its function would be called with them."""
    known = {name for part in node_class.INPUT_TYPES().values() for name in part}
    unknown = [name for name, value in inputs.items() if is_link(value) and name not in known]
    takes_any = unknown and inspect.getfullargspec(getattr(node_class, node_class.FUNCTION)).varkw is not None
    return [] if takes_any else unknown


def _is_no_value(value: Any, kind: str) -> bool:
    return (
        value is None
        or (isinstance(value, dict) and "__value__" not in value)
        or (kind == "STRING" and isinstance(value, bool))
    )


@lru_cache(maxsize=1000)
def _inputs(node_class: Any) -> dict[str, tuple[str, bool]]:
    """Input -> (type, whether it is required); a list of choices is COMBO."""
    declared = node_class.INPUT_TYPES()
    return {
        name: (config[0] if isinstance(config[0], str) else "COMBO", category == "required")
        for category in ("required", "optional")
        for name, config in declared.get(category, {}).items()
    }


def _needed(prompt: Prompt, outputs: Iterable[str]) -> Iterator[str]:
    seen, pending = set(outputs), list(outputs)
    while pending:
        node_id = pending.pop()
        yield node_id
        sources = {source for _, source in links(prompt[node_id]) if source in prompt} - seen
        seen |= sources
        pending += sources
