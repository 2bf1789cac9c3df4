"""Checking a prompt before anything runs: all faults at once, as ComfyUI reports them.

The prompt is corrected on the way: constants are converted to their input's type, and `{"__value__": x}` is
unwrapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .caller import Arguments, Caller, HiddenValues, Method, gather
from .node_check import Crash, NodeCheck, NodeFindings, OwnCheck, Prompt, Source
from .node_class import NodeClasses
from .rules import Rules
from .validation_errors import (
    Fault,
    crashed,
    cycle,
    no_class,
    no_outputs,
    outputs_failed,
    refused_by_node,
    unknown_class,
)


@dataclass(frozen=True)
class Verdict:
    """What validation says of a prompt.

    `outputs` are the output nodes that can be run; a prompt with any is accepted. `node_errors` is
    `{id: {"errors": [...], "dependent_outputs": [...], "class_type": ...}}`, also of those that can't. `crashes`
    says of each node whose entry is an exception what it was that could not be judged.
    """

    outputs: list[str]
    error: Fault | None = None
    node_errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    crashes: dict[str, Crash] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether there is anything to run."""
        return self.error is None


async def validate(
    prompt: Prompt, targets: Iterable[str] | None, classes: NodeClasses, caller: Caller, rules: Rules
) -> Verdict:
    """Check `prompt` for running `targets` (all output nodes if None)."""
    for node_id, node in prompt.items():
        if not isinstance(node, dict) or "class_type" not in node:
            return Verdict([], no_class(node_id, node, rules))
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


@dataclass
class _Visit:
    """A node whose sources are being checked."""

    findings: NodeFindings
    to_check: Iterator[Source]
    source: Source | None = None  # the one that is being checked
    is_in_cycle: bool = False


class _Validation:
    """One prompt's validation: depth first from the outputs, each node once, without recursion."""

    def __init__(self, prompt: Prompt, classes: NodeClasses, caller: Caller, rules: Rules):
        self._prompt = prompt
        self._check_node = NodeCheck(prompt, classes, rules)
        self._caller = caller
        self._rules = rules
        self._faults: dict[str, list[Fault]] = {}  # of every node checked; may be empty though the node is invalid
        self._invalid: dict[str, None] = {}
        self._crashes: dict[str, Crash] = {}

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
        return Verdict(good, None if good else outputs_failed(reasons), node_errors, self._crashes)

    async def _check(self, output: str) -> None:
        """Check a node and all it depends on: the path holds the nodes that wait for their sources."""
        path: dict[str, _Visit] = {} if output in self._faults else {output: self._visit(output)}
        while path:
            node_id, visit = next(reversed(path.items()))
            source = visit.source = next(visit.to_check, None)
            if source is None:
                crash = visit.findings.crash or await self._finish(node_id, visit)
                del path[node_id]
                if crash is not None:
                    self._crashed(node_id, crash, next(reversed(path.values()), None))
            elif source.node_id in self._faults:
                continue
            elif source.node_id in path:
                self._found_cycle(list(path), source.node_id)
                visit.is_in_cycle = True
            else:
                path[source.node_id] = self._visit(source.node_id)

    def _visit(self, node_id: str) -> _Visit:
        findings = self._check_node(node_id)
        return _Visit(findings, iter(findings.sources))

    async def _finish(self, node_id: str, visit: _Visit) -> Crash | None:
        """Judge a node whose sources have been: ask its class too; a crash if the class raises."""
        findings = visit.findings
        try:
            refusals = await self._ask_class(node_id, findings)
        except Exception as error:
            return Crash("raised", error)
        known = self._faults.get(node_id, [])  # a cycle's
        faults = known + [fault for fault in findings.faults + refusals if fault not in known]
        is_invalid = any(source.node_id in self._invalid for source in findings.sources)
        self._set(node_id, faults, not (faults or is_invalid or visit.is_in_cycle))
        return None

    def _crashed(self, node_id: str, crash: Crash, user: _Visit | None) -> None:
        """The fault is the node's own, told as found from the node that uses it."""
        source = user.source if user is not None else None
        told = crashed(crash.error) if source is None else source.at.source_crashed(crash.error, source.link)
        self._crashes[node_id] = crash
        self._set(node_id, [told], valid=False)

    def _found_cycle(self, path: list[str], node_id: str) -> None:
        if self._rules.dependency_cycle:
            nodes = path[path.index(node_id) :]
            shown = [f"{one} ({self._prompt[one]['class_type']})" for one in (*nodes, node_id)]
            for one in nodes:
                self._set(one, [cycle(one, nodes, " -> ".join(shown))], valid=False)

    def _set(self, node_id: str, faults: list[Fault], valid: bool) -> None:
        self._faults[node_id] = faults
        if not valid:
            self._invalid[node_id] = None

    async def _ask_class(self, node_id: str, findings: NodeFindings) -> list[Fault]:
        """Call VALIDATE_INPUTS, if there is one, with the constants it names."""
        node_class = findings.node_class
        own = OwnCheck(node_class)
        if not own.exists:
            return []
        given = gather(node_class, node_id, self._prompt[node_id]["inputs"], None, HiddenValues())
        columns = own.columns(given.columns, findings.received_types)
        arguments = Arguments(columns, hidden=given.hidden, v3_data=given.v3_data)
        answers = await self._caller.ask(Method(node_class, node_class.cls, node_id, own.method), arguments)
        refusals = [
            answer
            for answer in answers
            if answer is not True and not isinstance(answer, node_class.runtime.blockers)
        ]
        return [refused_by_node(name, answer) for name in columns for answer in refusals]
