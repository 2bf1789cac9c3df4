"""The check of one node's own inputs: constants converted and judged, links looked up; its sources come later."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .node_class import Input, NodeClass, NodeClasses
from .rules import Rules
from .validation_errors import Fault, InputFaults

Prompt = dict[str, dict[str, Any]]

_CONVERSIONS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


@dataclass(frozen=True)
class Crash:
    """Why a node can't be judged: where this is found, ComfyUI's validation raises `error`.

    - "no inputs": the node has no object of inputs;
    - "no link": the two values at `input_name` are not a node id and an output slot;
    - "no node": the link at `input_name` names a node that isn't in the prompt;
    - "no output": it names an output that the node there doesn't have;
    - "raised": the class, or a comparison with the limits it gives, raised.
    """

    reason: Literal["no inputs", "no link", "no node", "no output", "raised"]
    error: Exception
    input_name: str = ""


@dataclass(frozen=True)
class Source:
    """A link that leads to an output of a fitting type: the node there has to be checked too."""

    node_id: str
    link: list[Any]
    at: InputFaults


@dataclass
class NodeFindings:
    """What a node's own inputs say, in the order in which its class declares them; a crash ends the list."""

    node_class: NodeClass
    faults: list[Fault] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    received_types: dict[str, Any] = field(default_factory=dict)
    crash: Crash | None = None


class NodeCheck:
    """Checks the nodes of a prompt, one at a time; constants in it are converted on the way."""

    def __init__(self, prompt: Prompt, classes: NodeClasses, rules: Rules):
        self._prompt = prompt
        self._classes = classes
        self._rules = rules

    def __call__(self, node_id: str) -> NodeFindings:
        """What the node's own inputs say."""
        node = self._prompt[node_id]
        findings = NodeFindings(self._classes[node["class_type"]])
        try:
            self._check(node["inputs"], findings)
        except Exception as error:
            has_inputs = isinstance(node.get("inputs"), dict)
            findings.crash = Crash("raised" if has_inputs else "no inputs", error)
        return findings

    def _check(self, inputs: dict[str, Any], findings: NodeFindings) -> None:
        declaration = findings.node_class.declaration(inputs)
        own = OwnCheck(findings.node_class)
        for name, declared in declaration.inputs.items():
            at = InputFaults(name, declared)
            if declared.category == "hidden":
                continue
            if name not in inputs:
                if declared.category == "required":
                    findings.faults.append(at.missing(is_dynamic=bool(declaration.v3_data)))
            elif isinstance(inputs[name], list):
                self._check_link(name, inputs[name], declared, at, own, findings)
                if findings.crash is not None:
                    return
            else:
                found = self._check_constant(name, declared, inputs, at, own.covers(name))
                findings.faults += [found] if found is not None else []

    def _check_link(
        self, name: str, value: list, declared: Input, at: InputFaults, own: OwnCheck, findings: NodeFindings
    ) -> None:
        if len(value) != 2:
            findings.faults.append(at.bad_link(value))
            return
        source, slot = value
        try:
            received = self._classes[self._prompt[source]["class_type"]].return_types[slot]
        except Exception as error:  # kept, for ComfyUI reports it in Python's words
            findings.crash = Crash(self._link_fault(value), error, name)
            return
        findings.received_types[name] = received
        if not own.checks_types and not types_match(received, declared.type, self._rules.wildcard_types):
            findings.faults.append(at.wrong_type(received, value))
        else:
            findings.sources.append(Source(source, value, at))

    def _link_fault(self, link: list) -> Literal["no link", "no node", "no output", "raised"]:
        source, slot = link
        if not isinstance(source, str) or not isinstance(slot, int):
            return "no link"
        if source not in self._prompt:
            return "no node"
        types = self._classes[self._prompt[source]["class_type"]].return_types
        return "no output" if not -len(types) <= slot < len(types) else "raised"

    def _check_constant(
        self, name: str, declared: Input, inputs: dict[str, Any], at: InputFaults, is_covered: bool
    ) -> Fault | None:
        value = inputs[name]
        try:
            if isinstance(value, dict) and "__value__" in value:
                value = inputs[name] = value["__value__"]
            if isinstance(declared.type, str) and declared.type in _CONVERSIONS:
                value = inputs[name] = _CONVERSIONS[declared.type](value)
        except Exception as error:
            return at.not_convertible(value, error)
        if is_covered:
            return None
        if "min" in declared.options and value < declared.options["min"]:
            return at.too_small(value)
        if "max" in declared.options and value > declared.options["max"]:
            return at.too_big(value)
        choices = self._choices(declared)
        if choices is None:
            return None
        is_several = self._rules.several_choices and declared.options.get("multiselect") and isinstance(value, list)
        refused = [one for one in (value if is_several else [value]) if one not in choices]
        return at.not_in_list(value, refused, choices, self._rules) if refused else None

    def _choices(self, declared: Input) -> list[Any] | None:
        """What a combo's value must be among; None for other inputs."""
        if isinstance(declared.type, list):
            return declared.type
        if self._rules.v3_choices and declared.type == "COMBO":
            return declared.options.get("options", [])
        return None


class OwnCheck:
    """A class's own validation: VALIDATE_INPUTS, or validate_inputs in a v3 class."""

    def __init__(self, node_class: NodeClass):
        hook = node_class.hook("VALIDATE_INPUTS", "validate_inputs")
        self.method, function = hook if hook is not None else ("", None)
        spec = inspect.getfullargspec(function) if function is not None else None
        self._names = spec.args if spec is not None else []
        self._takes_all = spec is not None and spec.varkw is not None

    @property
    def exists(self) -> bool:
        """Whether it is to be called."""
        return bool(self._names) or self._takes_all

    @property
    def checks_types(self) -> bool:
        """Whether it also judges the types of links, in place of the usual check."""
        return "input_types" in self._names

    def covers(self, name: str) -> bool:
        """Whether it is handed this input, and so is alone to judge its value."""
        return self._takes_all or name in self._names

    def columns(
        self, given: Mapping[str, Any], received_types: dict[str, Any]
    ) -> dict[str, Any]:
        """What it is called with, of the node's inputs."""
        columns = {name: column for name, column in given.items() if self.covers(name)}
        return {**columns, "input_types": [received_types]} if self.checks_types else columns


def types_match(received: Any, wanted: Any, wildcards: bool = True) -> bool:
    """Whether an output of type `received` may go into an input of type `wanted` ("A,B" is A or B).

    Inequality is asked with `!=`, because packs make wildcard types out of strings whose `__ne__` says no.
    """
    if not received != wanted:  # noqa: SIM202
        return True
    if wildcards and (isinstance(received, list) and wanted == "COMBO"):
        return True
    if not isinstance(received, str) or not isinstance(wanted, str):
        return False
    if wildcards and "COMFY_MATCHTYPE_V3" in (received, wanted):
        return True
    received_set = {one.strip() for one in received.split(",")}
    wanted_set = {one.strip() for one in wanted.split(",")}
    if wildcards and "*" in (received_set | wanted_set):
        return True
    return not received_set.isdisjoint(wanted_set)
