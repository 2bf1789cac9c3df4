"""Checking a prompt before anything runs: all faults at once, as ComfyUI reports them.

The prompt is corrected on the way: constants are converted to their input's type, and `{"__value__": x}` is
unwrapped.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from typing import Any

from .caller import Arguments, Caller, HiddenValues, Method, gather
from .node_class import Input, NodeClass, NodeClasses
from .validation_errors import (
    Fault,
    InputFaults,
    Rules,
    crashed,
    cycle,
    no_class,
    no_outputs,
    outputs_failed,
    refused_by_node,
    unknown_class,
)

Prompt = dict[str, dict[str, Any]]

_CONVERSIONS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


@dataclass(frozen=True)
class Verdict:
    """What validation says of a prompt.

    `outputs` are the output nodes that can be run; a prompt with any is accepted. `node_errors` is
    `{id: {"errors": [...], "dependent_outputs": [...], "class_type": ...}}`, also of those that can't.
    """

    outputs: list[str]
    error: Fault | None = None
    node_errors: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether there is anything to run."""
        return self.error is None


async def validate(
    prompt: Prompt, targets: Iterable[str] | None, classes: NodeClasses, caller: Caller, rules: Rules = "current"
) -> Verdict:
    """Check `prompt` for running `targets` (all output nodes if None).

    With the rules "current": missing_node_type, dependency_cycle, "*" as an input's type, choices of v3 combos checked.
    """
    for node_id, node in prompt.items():
        if not isinstance(node, dict) or "class_type" not in node:
            return Verdict([], no_class(node_id))
        if not isinstance(node["class_type"], str) or node["class_type"] not in classes:
            return Verdict([], unknown_class(node_id, node, rules))
    wanted = None if targets is None else set(targets)
    outputs = [
        node_id
        for node_id, node in prompt.items()
        if classes[node["class_type"]].is_output and (wanted is None or node_id in wanted)
    ]
    if not outputs:
        return Verdict([], no_outputs())
    return await _Validation(prompt, classes, caller, rules).of(outputs)


class _Validation:
    """One prompt's validation: depth first from the outputs, each node once, without recursion."""

    def __init__(self, prompt: Prompt, classes: NodeClasses, caller: Caller, rules: Rules):
        self._prompt = prompt
        self._classes = classes
        self._caller = caller
        self._current = rules == "current"
        self._faults: dict[str, list[Fault]] = {}  # of every node seen; may be empty though the node is invalid
        self._invalid: dict[str, None] = {}

    async def of(self, outputs: list[str]) -> Verdict:
        good = []
        reasons: list[Fault] = []
        node_errors: dict[str, dict[str, Any]] = {}
        for output in outputs:
            await self._check(output)
            if output not in self._invalid:
                good.append(output)
                continue
            reasons += self._faults[output]
            for node_id in self._invalid:
                if self._faults[node_id]:  # without any, it is invalid only because of its sources
                    entry = node_errors.setdefault(
                        node_id,
                        {
                            "errors": self._faults[node_id],
                            "dependent_outputs": [],
                            "class_type": self._prompt[node_id]["class_type"],
                        },
                    )
                    entry["dependent_outputs"].append(output)
        return Verdict(good, None if good else outputs_failed(reasons), node_errors)

    async def _check(self, output: str) -> None:
        """Check a node and all it depends on. Checks of nodes are suspended while their sources are checked."""
        path: dict[str, AsyncGenerator[str, bool | Exception]] = {}
        answer: bool | Exception | None = None
        node_id: str | None = output
        while True:
            if node_id is not None:  # a node to look at
                if node_id in self._faults:
                    answer, node_id = node_id not in self._invalid, None
                elif node_id in path:
                    answer, node_id = self._found_cycle(list(path), node_id), None
                else:
                    path[node_id] = self._check_node(node_id)
                    answer = None
            if not path:
                return
            current, check = next(reversed(path.items()))
            try:
                node_id = await check.asend(answer)  # type: ignore[arg-type]
                continue
            except StopAsyncIteration:
                answer = current not in self._invalid
            except Exception as error:
                answer = error
            node_id = None
            del path[current]
            if isinstance(answer, Exception) and not path:
                self._set(current, [crashed(answer)], valid=False)

    def _found_cycle(self, path: list[str], node_id: str) -> bool:
        if self._current:
            nodes = path[path.index(node_id) :]
            self._set(node_id, [cycle(node_id, nodes)], valid=False)
        return False

    def _set(self, node_id: str, faults: list[Fault], valid: bool) -> None:
        self._faults[node_id] = self._faults.get(node_id, []) + faults
        if not valid:
            self._invalid[node_id] = None

    async def _check_node(self, node_id: str) -> AsyncGenerator[str, bool | Exception]:
        """Check one node; yields each source it wants checked, and is told if it is valid or what it raised."""
        node = self._prompt[node_id]
        inputs, node_class = node["inputs"], self._classes[node["class_type"]]
        declared = node_class.declaration(inputs).inputs
        own = _OwnCheck(node_class)
        faults: list[Fault] = []
        valid = True
        received_types: dict[str, Any] = {}
        for name, an_input in declared.items():
            if an_input.category == "hidden":
                continue
            at = InputFaults(name, an_input)
            if name not in inputs:
                if an_input.category == "required":
                    faults.append(at.missing())
                continue
            value = inputs[name]
            if not isinstance(value, list):
                found = self._check_constant(name, an_input, inputs, at, own.covers(name))
                faults += [found] if found is not None else []
                continue
            if len(value) != 2:
                faults.append(at.bad_link(value))
                continue
            source, slot = value
            received = self._classes[self._prompt[source]["class_type"]].return_types[slot]
            received_types[name] = received
            if not own.checks_types and not types_match(received, an_input.type, self._current):
                faults.append(at.wrong_type(received, value))
                continue
            answer = yield source
            if isinstance(answer, Exception):
                self._set(source, [at.source_crashed(answer, value)], valid=False)
            valid = valid and answer is True
        if own.exists:
            faults += await self._ask_class(node_id, node_class, own, received_types)
        self._set(node_id, faults, valid and not faults)

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
        several = self._current and bool(declared.options.get("multi_select")) and isinstance(value, list)
        if choices is not None and any(one not in choices for one in (value if several else [value])):
            return at.not_in_list(value, choices)
        return None

    def _choices(self, declared: Input) -> list[Any] | None:
        """What a combo's value must be among; None for other inputs, and for choices that a server would list."""
        if isinstance(declared.type, list):
            return declared.type
        if self._current and declared.type == "COMBO" and not declared.options.get("remote"):
            return declared.options.get("options", [])
        return None

    async def _ask_class(
        self, node_id: str, node_class: NodeClass, own: _OwnCheck, received_types: dict[str, Any]
    ) -> list[Fault]:
        """Call VALIDATE_INPUTS with the constants it names."""
        inputs = self._prompt[node_id]["inputs"]
        given = gather(node_class, node_id, inputs, None, HiddenValues())
        columns = {name: column for name, column in given.columns.items() if own.covers(name)}
        if own.checks_types:
            columns["input_types"] = [received_types]
        arguments = Arguments(columns, hidden=given.hidden, v3_data=given.v3_data)
        answers = await self._caller.ask(Method(node_class, node_class.cls, node_id, own.method), arguments)
        refusals = [
            answer
            for answer in answers
            if answer is not True and not isinstance(answer, node_class.runtime.blockers)
        ]
        return [refused_by_node(name, answer) for name in columns for answer in refusals]


class _OwnCheck:
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


def types_match(received: Any, wanted: Any, current: bool = True) -> bool:
    """Whether an output of type `received` may go into an input of type `wanted` ("A,B" is A or B).

    Inequality is asked with `!=`, because packs make wildcard types out of strings whose `__ne__` says no.
    """
    if not received != wanted:  # noqa: SIM202
        return True
    if current and (isinstance(received, list) and wanted == "COMBO"):
        return True
    if not isinstance(received, str) or not isinstance(wanted, str):
        return False
    received_set = {one.strip() for one in received.split(",")}
    wanted_set = {one.strip() for one in wanted.split(",")}
    if current and ({"*", "COMFY_MATCHTYPE_V3"} & (received_set | wanted_set)):
        return True
    return not received_set.isdisjoint(wanted_set)
