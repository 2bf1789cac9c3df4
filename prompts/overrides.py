"""`--set NODE.INPUT=VALUE`, `--seed N` and `--only NODE`, applied to a prompt. A NODE is named by id or by title."""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from ..executor.errors import WorkflowError
from ..executor.graph import is_link

Prompt = dict[str, dict[str, Any]]
Changes = dict[str, dict[str, Any]]
"""Node id -> input -> the value it was given."""

_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_NUMBERS = {"INT": int, "FLOAT": float}
RANDOM = "random"
"""The seed that asks for one to be drawn."""

_SEEDS = ("seed", "noise_seed")
_EXACT = 2**53 - 1  # the largest seed that the editor keeps exactly: its numbers are doubles


def title_of(node: Mapping[str, Any]) -> str:
    """What the node is called in the browser."""
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return title if isinstance(title, str) and title else class_of(node)


def class_of(node: Mapping[str, Any]) -> str:
    """Its class; a text also where the file has none or something else there (which validation tells)."""
    kind = node.get("class_type")
    return kind if isinstance(kind, str) else "?"


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
        ids = ", ".join(found[:12]) + (" ..." if len(found) > 12 else "")
        raise WorkflowError(f"{len(found)} nodes are called {name!r}: choose one by its id, {ids}")
    known = ", ".join(f"{node_id} ({title_of(node)})" for node_id, node in list(prompt.items())[:12])
    raise WorkflowError(f"no node {name!r}; there are {known}{' ...' if len(prompt) > 12 else ''}")


def set_inputs(prompt: Prompt, settings: Iterable[str], object_info: Mapping[str, Any]) -> Changes:
    """Apply each "NODE.INPUT=VALUE" to the prompt, in place; the changes. Raises WorkflowError."""
    changes: Changes = {}
    for setting in settings:
        try:
            node_id, name, text = _parse(prompt, setting, object_info)
            declared = _declared(prompt[node_id], object_info).get(name)
            inputs = inputs_of(prompt[node_id])
            if _is_socket(declared) and (name not in inputs or is_link(inputs[name])):
                raise WorkflowError(f"expected a link: only another node can give {_with_article(declared[0])}")
            inputs[name] = changes.setdefault(node_id, {})[name] = _value(text, declared)
        except WorkflowError as error:
            raise WorkflowError(f"--set {setting}: {error}") from None
    return changes


def parse_seed(text: str) -> int | str:
    """The value of --seed: a whole number, or `RANDOM`; raises argparse's error for anything else."""
    if text == RANDOM:
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is neither a whole number nor 'random'") from None


def set_seed(prompt: Prompt, seed: int | str, object_info: Mapping[str, Any]) -> Changes:
    """Give every node with a seed of its own this one, in place; the changes.

    `RANDOM` draws one that all of them take. Raises WorkflowError if no node has a seed.
    """
    places = [
        (node_id, name, declared[name])
        for node_id, node in prompt.items()
        for declared in (_declared(node, object_info),)
        for name in _SEEDS
        if name in declared and not is_link(inputs_of(node).get(name))
    ]
    if not places:
        raise WorkflowError(f"--seed {seed}: no node has an unlinked seed input")
    if seed == RANDOM:
        most = min(declared[1].get("max", _EXACT) if len(declared) > 1 else _EXACT for *_, declared in places)
        seed = secrets.randbelow(int(min(most, _EXACT)) + 1)
    changes: Changes = {}
    for node_id, name, _ in places:
        inputs_of(prompt[node_id])[name] = changes.setdefault(node_id, {})[name] = seed
    return changes


def _declared(node: Mapping[str, Any], object_info: Mapping[str, Any]) -> dict[str, Any]:
    inputs = object_info.get(class_of(node), {}).get("input", {})
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
    raise WorkflowError(f"{class_of(node)} has no input {left[len(name) + 1 :]!r}; it has {known}")


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
            shown = repr(text) if len(text) <= 60 else f"{text[:57]!r}..."
            raise WorkflowError(f"{shown} is not {_with_article(kind)}") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _is_socket(declared: Any) -> bool:
    """Whether the type is one that no value can be typed in for; of a type in small letters nothing is known."""
    kind = declared[0] if declared else "*"
    return isinstance(kind, str) and kind.isupper() and kind not in (*_NUMBERS, "STRING", "BOOLEAN", "COMBO")


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "AEIOU" else f"a {kind}"
