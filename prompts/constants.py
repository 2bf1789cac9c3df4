"""Values in place of links: an input that only another node can give, such as a MODEL, has no value a file could hold.

ComfyUI hands them on, and the node breaks; here it is told before. Only of this package's own nodes is it known which
inputs those are: a node pack may have widgets of any type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from ..executor.graph import is_link, links
from .overrides import Prompt, class_of, inputs_of

WIDGETS = frozenset(["INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"])
OWN = __name__.partition(".prompts")[0]


def misplaced_constants(
    prompt: Prompt, outputs: Iterable[str], classes: Mapping[str, type]
) -> Iterator[tuple[str, str, str, Any]]:
    """(node id, input, its type, the value there) for every such value among the nodes that the outputs need."""
    for node_id in _needed(prompt, outputs):
        node_class = classes.get(class_of(prompt[node_id]))
        if node_class is None or node_class.__module__.partition(".nodes")[0] != OWN:
            continue
        inputs = inputs_of(prompt[node_id])
        for name, (kind, is_required) in _sockets(node_class).items():
            if name not in inputs or is_link(inputs[name]):
                continue
            value = inputs[name]
            absent = value is None and not is_required
            fits = "FLOAT" in kind.split(",") and isinstance(value, int | float) and not isinstance(value, bool)
            if not absent and not fits:
                yield node_id, name, kind, value


@lru_cache(maxsize=1000)
def _sockets(node_class: Any) -> dict[str, tuple[str, bool]]:
    """Input -> (type, whether it is required), of the inputs without a widget."""
    declared = node_class.INPUT_TYPES()
    return {
        name: (config[0], category == "required")
        for category in ("required", "optional")
        for name, config in declared.get(category, {}).items()
        if isinstance(config[0], str) and config[0] not in WIDGETS
    }


def _needed(prompt: Prompt, outputs: Iterable[str]) -> Iterator[str]:
    seen, pending = set(outputs), list(outputs)
    while pending:
        node_id = pending.pop()
        yield node_id
        sources = {source for _, source in links(prompt[node_id]) if source in prompt} - seen
        seen |= sources
        pending += sources
