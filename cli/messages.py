"""Faults and failures in words: one line each, that names the node and the input."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterator, Mapping
from typing import Any

from ..executor.validation import Verdict
from .overrides import title_of

Prompt = dict[str, dict[str, Any]]


def name_node(prompt: Prompt, node_id: str) -> str:
    """`node 3 (KSampler)`, with its title if it has one of its own."""
    node = prompt.get(node_id, {})
    kind, title = node.get("class_type", "?"), title_of(node)
    return f"node {node_id} ({kind})" if title == kind else f'node {node_id} ({kind} "{title}")'


def fault_lines(prompt: Prompt, verdict: Verdict, known_classes: Container[str]) -> list[str]:
    """Everything that validation found, a line each."""
    if verdict.error is not None and verdict.error["type"] in ("invalid_prompt", "missing_node_type"):
        return list(_class_faults(prompt, known_classes))
    lines = [
        f"{name_node(prompt, node_id)}{line}"
        for node_id, entry in verdict.node_errors.items()
        for fault in entry["errors"]
        for line in _fault(prompt, node_id, fault)
    ]
    if lines or verdict.error is None:
        return list(dict.fromkeys(lines))
    if verdict.error["type"] == "prompt_no_outputs":
        return ["nothing to run: there is no output node, such as SaveImage"]
    return [" ".join(f"{verdict.error['message']}: {verdict.error['details']}".split())]


def _class_faults(prompt: Prompt, known_classes: Container[str]) -> Iterator[str]:
    """Nodes without a class, or of classes that aren't there: validation stops at the first, this tells of all."""
    for node_id, node in prompt.items():
        kind = node.get("class_type") if isinstance(node, dict) else None
        if not isinstance(kind, str):
            yield f"node {node_id}: has no class_type"
        elif kind not in known_classes:
            title, meta = title_of(node), node.get("_meta")
            called = "" if title == kind else f' "{title}"'
            pack = meta.get("cnr_id") or meta.get("aux_id") if isinstance(meta, dict) else None
            yield f"node {node_id}{called}: unknown node class {kind!r}" + (f", from {pack}" if pack else "")


def _fault(prompt: Prompt, node_id: str, fault: Mapping[str, Any]) -> Iterator[str]:
    info = fault["extra_info"]
    kind = fault["type"]
    if kind.startswith("exception_during"):
        yield from _crash(prompt, node_id, info, fault["details"])
    elif kind == "dependency_cycle":
        yield f": depends on itself: {fault['details']}"
    else:
        yield f", input {info['input_name']}: {_input_fault(prompt, kind, info, fault)}"


def _input_fault(prompt: Prompt, kind: str, info: Mapping[str, Any], fault: Mapping[str, Any]) -> str:
    value = info.get("received_value")
    wanted, options = info.get("input_config") or (None, {})
    if kind == "required_input_missing":
        return "required, but missing"
    if kind == "bad_linked_input":
        return f"{_short(value)} is not a link, expected [node id, output slot]"
    if kind == "return_type_mismatch":
        source, slot = info["linked_node"]
        given = info["received_type"]
        return f"takes {wanted}, but output {slot} of {name_node(prompt, source)} gives {given}"
    if kind == "invalid_input_type":
        return f"{_short(value)} is not of type {wanted}"
    if kind == "value_smaller_than_min":
        return f"{value} is smaller than {options['min']}, the least allowed"
    if kind == "value_bigger_than_max":
        return f"{value} is bigger than {options['max']}, the most allowed"
    if kind == "value_not_in_list":
        return _not_in_list(value, wanted, fault)
    return fault["details"].removeprefix(info["input_name"]).removeprefix(" - ") or "refused by the node"


def _not_in_list(value: Any, wanted: Any, fault: Mapping[str, Any]) -> str:
    choices = wanted if isinstance(wanted, list) else None
    if choices is None:
        return fault["details"].partition(": ")[2].replace("not in (list of length", "is none of the choices (")
    if not choices:
        return f"{_short(value)} can't be chosen: there is nothing to choose from"
    near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{_short(value)} is none of {', '.join(map(str, choices))}{hint}"


def _crash(prompt: Prompt, node_id: str, info: Mapping[str, Any], details: str) -> Iterator[str]:
    """Why validating a node raised; mostly a link that leads nowhere."""
    node = prompt[node_id]
    inputs = node.get("inputs")
    if not isinstance(inputs, dict):
        yield ": has no inputs" if inputs is None else f": inputs is {_short(inputs)}, expected an object"
        return
    found = False
    for name, value in inputs.items():
        if isinstance(value, list) and len(value) == 2:
            source, slot = value
            if not isinstance(source, str) or not isinstance(slot, int):
                found = True
                yield f", input {name}: {_short(value)} is not a link, expected [node id, output slot]"
            elif source not in prompt:
                found = True
                yield f", input {name}: is linked to node {source}, which isn't there"
            elif "list index out of range" in details or "tuple index out of range" in details:
                found = True
                yield f", input {name}: is linked to output {slot} of {name_node(prompt, source)}, if there is one"
    if not found:
        yield f": {info['exception_type']}: {details}"


def failure_line(prompt: Prompt, failure: Mapping[str, Any]) -> str:
    """What a node died of."""
    message = " ".join(str(failure["exception_message"]).split())
    return f"{name_node(prompt, failure['node_id'])}: {message or failure['exception_type']}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
