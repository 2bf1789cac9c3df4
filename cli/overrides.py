"""`--set NODE.INPUT=VALUE`, `--seed N` and `--only NODE`, applied to a prompt. A NODE is named by id or by title."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..executor.errors import WorkflowError
from ..executor.graph import is_link

Prompt = dict[str, dict[str, Any]]
Change = tuple[str, str]
"""`(node id, input)` of an input that was given another value."""

_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_NUMBERS = {"INT": int, "FLOAT": float}
_SEEDS = ("seed", "noise_seed")


def title_of(node: Mapping[str, Any]) -> str:
    """What the node is called in the browser."""
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return str(title or node.get("class_type"))


def inputs_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """The node's inputs; none if they are malformed (which validation tells)."""
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def find_node(prompt: Prompt, name: str) -> str:
    """The id of the node with this id or, if there is none, with this title; raises WorkflowError."""
    if name in prompt:
        return name
    found = [node_id for node_id, node in prompt.items() if title_of(node) == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise WorkflowError(f"{len(found)} nodes are called {name!r}: say which by id, {', '.join(found)}")
    known = ", ".join(f"{node_id} ({title_of(node)})" for node_id, node in list(prompt.items())[:12])
    raise WorkflowError(f"no node {name!r}; there are {known}{' ...' if len(prompt) > 12 else ''}")


def set_inputs(prompt: Prompt, settings: Iterable[str], object_info: Mapping[str, Any]) -> list[Change]:
    """Apply each "NODE.INPUT=VALUE" to the prompt, in place; the changes. Raises WorkflowError."""
    changes = []
    for setting in settings:
        try:
            node_id, name, text = _parse(prompt, setting, object_info)
            declared = _declared(prompt[node_id], object_info).get(name)
            inputs = inputs_of(prompt[node_id])
            if _is_socket(declared) and (name not in inputs or is_link(inputs[name])):
                raise WorkflowError(f"takes {_with_article(declared[0])}, which only another node can give")
            inputs[name] = _value(text, declared)
            changes.append((node_id, name))
        except WorkflowError as error:
            raise WorkflowError(f"--set {setting}: {error}") from None
    return changes


def set_seed(prompt: Prompt, seed: int, object_info: Mapping[str, Any]) -> list[Change]:
    """Give every node with a seed of its own this one; the changes. Raises WorkflowError if there is none."""
    changes = []
    for node_id, node in prompt.items():
        declared = _declared(node, object_info)
        for name in _SEEDS:
            if name in declared and not is_link(inputs_of(node).get(name)):
                inputs_of(node)[name] = seed
                changes.append((node_id, name))
    if not changes:
        raise WorkflowError(f"--seed {seed}: no node has a seed")
    return changes


def _declared(node: Mapping[str, Any], object_info: Mapping[str, Any]) -> dict[str, Any]:
    inputs = object_info.get(str(node.get("class_type")), {}).get("input", {})
    return {**inputs.get("required", {}), **inputs.get("optional", {})}


def _parse(prompt: Prompt, setting: str, object_info: Mapping[str, Any]) -> tuple[str, str, str]:
    """`(node id, input, text)`. Ids and titles may hold dots and equal signs: whatever fits the prompt counts."""
    left, equals, _ = setting.partition("=")
    name, dot, _ = left.rpartition(".")
    if not equals or not dot:
        raise WorkflowError("expected NODE.INPUT=VALUE")
    for node_id, node in prompt.items():
        inputs = {**_declared(node, object_info), **inputs_of(node)}
        for called in (node_id, title_of(node)):
            for input_name in inputs:
                start = f"{called}.{input_name}="
                if setting.startswith(start):
                    return find_node(prompt, called), input_name, setting[len(start) :]
    node = prompt[find_node(prompt, name)]
    known = ", ".join({**_declared(node, object_info), **inputs_of(node)}) or "none"
    raise WorkflowError(f"{node['class_type']} has no input {left[len(name) + 1 :]!r}; it has {known}")


def _value(text: str, declared: Any) -> Any:
    """The text as a value of the declared type; what doesn't fit is left to validation, which says why."""
    kind = declared[0] if declared else "*"
    options = declared[1] if declared and len(declared) > 1 else {}
    choices = kind if isinstance(kind, (list, tuple)) else options.get("options") if kind == "COMBO" else None
    if choices is not None:
        return next((choice for choice in choices if str(choice) == text), text)
    if kind == "STRING":
        return text
    if kind == "BOOLEAN":
        if text.lower() not in _TRUTHS:
            raise WorkflowError(f"{text!r} is neither true nor false")
        return _TRUTHS[text.lower()]
    if kind in _NUMBERS:
        try:
            return _NUMBERS[kind](text)
        except ValueError:
            raise WorkflowError(f"{text!r} is not {_with_article(kind)}") from None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_socket(declared: Any) -> bool:
    """Whether the type is one that no value can be typed in for; of a type in small letters nothing is known."""
    kind = declared[0] if declared else "*"
    return isinstance(kind, str) and kind.isupper() and kind not in (*_NUMBERS, "STRING", "BOOLEAN", "COMBO")


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "AEIOU" else f"a {kind}"
