"""Faults and failures in words: one line each, that names the node and the input."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterator, Mapping
from typing import Any

from ..executor.node_check import Crash
from ..executor.validation import Verdict
from ..executor.validation_errors import type_name
from .output import escape
from .overrides import class_of, title_of

Prompt = dict[str, dict[str, Any]]


def name_node(prompt: Prompt, node_id: str) -> str:
    """`node 3 (KSampler)`, with its title if it has one of its own."""
    node = prompt.get(node_id, {})
    kind, title = class_of(node), title_of(node)
    return escape(f"node {node_id} ({kind})" if title == kind else f'node {node_id} ({kind} "{title}")')


def fault_lines(prompt: Prompt, verdict: Verdict, known_classes: Container[str]) -> list[str]:
    """Everything that validation found, a line each."""
    if verdict.error is not None and verdict.error["type"] in ("invalid_prompt", "missing_node_type"):
        return list(_class_faults(prompt, known_classes))
    lines = [
        line
        for node_id, entry in verdict.node_errors.items()
        for fault in entry["errors"]
        for line in _fault(prompt, node_id, fault, verdict)
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


def _fault(prompt: Prompt, node_id: str, fault: Mapping[str, Any], verdict: Verdict) -> Iterator[str]:
    info = fault["extra_info"]
    kind, node = fault["type"], name_node(prompt, node_id)
    if kind.startswith("exception_during"):
        yield f"{node}{_crash(prompt, node_id, verdict.crashes[node_id])}"
    elif kind == "dependency_cycle":
        yield _cycle(prompt, info["cycle_nodes"])  # the same line for every node of the cycle, told once
    else:
        yield f"{node}, input {info['input_name']}: {_input_fault(prompt, kind, info, fault)}"


def _cycle(prompt: Prompt, node_ids: list[str]) -> str:
    first = name_node(prompt, node_ids[0])
    way = [name_node(prompt, node_id) for node_id in node_ids[1:]]
    if len(way) > 8:
        way = [*way[:3], f"{len(way) - 6} more", *way[-3:]]
    return f"{first}: depends on itself" + (", by way of " + ", ".join(way) if way else "")


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


def _crash(prompt: Prompt, node_id: str, crash: Crash) -> str:
    """Why a node could not be judged; mostly a link that leads nowhere."""
    inputs = prompt[node_id].get("inputs")
    if crash.reason == "no inputs":
        return ": has no inputs" if inputs is None else f": inputs is {_short(inputs)}, expected an object"
    if crash.reason == "raised":
        return f": {type_name(crash.error)}: {crash.error}"
    link, at = inputs[crash.input_name], f", input {crash.input_name}: "
    if crash.reason == "no link":
        return f"{at}{_short(link)} is not a link, expected [node id, output slot]"
    if crash.reason == "no node":
        return f"{at}is linked to node {link[0]}, which isn't there"
    return f"{at}is linked to output {link[1]} of {name_node(prompt, link[0])}, which has no such output"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
