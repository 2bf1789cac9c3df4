"""Faults and failures in words: one line each, that names the node and the input."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..executor.node_check import Crash
from ..executor.validation import Verdict
from ..executor.validation_errors import type_name
from .constants import misplaced_constants
from .escape import escape
from .overrides import class_of, title_of

Prompt = dict[str, dict[str, Any]]

COMFYUI_HELPS = "--comfyui DIR loads the nodes of a ComfyUI checkout and of the packs in it"


def name_node(prompt: Prompt, node_id: str) -> str:
    """`node 3 (KSampler)`, with its title if it has one of its own."""
    node = prompt.get(node_id, {})
    kind, title = class_of(node), title_of(node)
    return escape(f"node {node_id} ({kind})" if title == kind else f'node {node_id} ({kind} "{title}")')


def fault_lines(prompt: Prompt, verdict: Verdict, known_classes: Mapping[str, type]) -> list[str]:
    """Everything that validation found, a line each."""
    if verdict.error is not None and verdict.error["type"] in ("invalid_prompt", "missing_node_type"):
        return list(_class_faults(prompt, known_classes))
    outputs = dict.fromkeys(verdict.outputs)
    for entry in verdict.node_errors.values():
        outputs |= dict.fromkeys(entry["dependent_outputs"])
    unfit = {
        (node_id, name): f"{name_node(prompt, node_id)}, input {name}: {wrong.format(shown(value))}"
        for node_id, name, wrong, value in misplaced_constants(prompt, outputs, known_classes)
    }
    lines = [
        line
        for node_id, entry in verdict.node_errors.items()
        for fault in entry["errors"]
        if (node_id, fault["extra_info"].get("input_name")) not in unfit
        for line in _fault(prompt, node_id, fault, verdict)
    ]
    lines += unfit.values()
    if lines or verdict.error is None:
        return list(dict.fromkeys(lines))
    if verdict.error["type"] == "prompt_no_outputs":
        return ["nothing to run: there is no output node, such as SaveImage"]
    return [" ".join(f"{verdict.error['message']}: {verdict.error['details']}".split())]


def _class_faults(prompt: Prompt, known_classes: Collection[str]) -> Iterator[str]:
    """Nodes without a class, or of classes that aren't there: validation stops at the first, this tells of all."""
    for node_id, node in prompt.items():
        kind = node.get("class_type")
        if kind is None:
            yield f"node {node_id}: has no class_type"
        elif not isinstance(kind, str):
            yield f"node {node_id}: class_type is {shown(kind)}, expected the name of a node class"
        elif kind not in known_classes:
            title, meta = title_of(node), node.get("_meta")
            called = "" if title == kind else f' "{title}"'
            pack = meta.get("cnr_id") or meta.get("aux_id") if isinstance(meta, dict) else None
            near = difflib.get_close_matches(kind, known_classes, 1, 0.8)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            origin = f", from {pack}" if pack else ""
            yield f"node {node_id}{called}: unknown node class {kind!r}{origin}{hint}"


def has_unknown_class(prompt: Prompt, known_classes: Collection[str]) -> bool:
    """Whether a node is of a class that nobody knows."""
    kinds = [node.get("class_type") for node in prompt.values()]
    return any(isinstance(kind, str) and kind not in known_classes for kind in kinds)


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
    return f"{first}: depends on itself" + (", through " + ", ".join(way) if way else "")


def _input_fault(prompt: Prompt, kind: str, info: Mapping[str, Any], fault: Mapping[str, Any]) -> str:
    value = info.get("received_value")
    wanted, options = info.get("input_config") or (None, {})
    if kind == "required_input_missing":
        return "required, but missing"
    if kind == "bad_linked_input":
        return f"{shown(value)} is not a link, expected [node id, output slot]"
    if kind == "return_type_mismatch":
        source, slot = info["linked_node"]
        given = info["received_type"]
        return f"expected {wanted}, but output {slot} of {name_node(prompt, source)} gives {given}"
    if kind == "invalid_input_type":
        return f"{shown(value)} is not of type {wanted}"
    if kind == "value_smaller_than_min":
        return f"{shown(value)} is smaller than the minimum of {options['min']}"
    if kind == "value_bigger_than_max":
        return f"{shown(value)} is larger than the maximum of {options['max']}"
    if kind == "value_not_in_list":
        return _not_in_list(value, wanted, fault)
    return fault["details"].removeprefix(info["input_name"]).removeprefix(" - ") or "refused by the node"


def _not_in_list(value: Any, wanted: Any, fault: Mapping[str, Any]) -> str:
    choices = wanted if isinstance(wanted, list) else None
    if choices is None:
        length = fault["details"].rpartition("(list of length ")[2].rstrip(")")
        return f"{shown(value)} is not one of the {length} choices; comfyui-ddim nodes CLASS lists some"
    if not choices:
        return f"{shown(value)} can't be chosen: there is nothing to choose from"
    near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    known = (choice if isinstance(choice, str) else shown(choice) for choice in choices)
    return f"{shown(value)} is not one of {', '.join(known)}{hint}"


def _crash(prompt: Prompt, node_id: str, crash: Crash) -> str:
    """Why a node could not be judged; mostly a link that leads nowhere."""
    inputs = prompt[node_id].get("inputs")
    if crash.reason == "no inputs":
        return ": has no inputs" if inputs is None else f": inputs is {shown(inputs)}, expected an object"
    if crash.reason == "raised":
        return f": can't be checked: {type_name(crash.error)}: {crash.error}"
    link, at = inputs[crash.input_name], f", input {crash.input_name}: "
    if crash.reason == "no link":
        return f"{at}{shown(link)} is not a link, expected [node id, output slot]"
    if crash.reason == "no node":
        return f"{at}is linked to node {link[0]}, which doesn't exist"
    return f"{at}is linked to output {link[1]} of {name_node(prompt, link[0])}, which has no such output"


def shown(value: Any) -> str:
    """A value as the file has it, not too long: texts in quotes, null and true as in JSON."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."
