"""What of the packs no test has used: classes, inputs, choices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..executor.graph import is_link
from .results import Outcome
from .session import Comfy

Use = tuple[str, str, str]
"""`(class, input, choice)`; without an input, that the class ran; without a choice, that the input was given."""


class Tally:
    """What has been used so far."""

    def __init__(self, comfy: Comfy):
        self._classes = set(comfy.pack_classes)
        self._info = comfy.object_info
        self.used: set[Use] = set()

    def count(self, outcome: Outcome) -> None:
        """Add what a run used: the nodes that were called."""
        for node_id in outcome.ran:
            node = outcome.prompt.get(node_id, {})
            if node.get("class_type") in self._classes:
                self.used |= set(_uses(node, self._info))

    @property
    def all(self) -> set[Use]:
        """What there is to use."""
        return {use for name in self._classes for use in _possible(name, self._info.get(name, {}))}


def _declared(info: Mapping[str, Any]) -> dict[str, tuple[Any, Mapping[str, Any]]]:
    inputs = info.get("input", {})
    both = {**inputs.get("required", {}), **inputs.get("optional", {})}
    return {
        name: (entry[0], entry[1] if len(entry) > 1 and isinstance(entry[1], dict) else {})
        for name, entry in both.items()
        if entry
    }


def _choices(kind: Any, options: Mapping[str, Any]) -> list[str]:
    """The choices of a combo, up to 30: more are names of files, or the like."""
    if kind == "BOOLEAN":
        return ["True", "False"]
    listed = kind if isinstance(kind, (list, tuple)) else options.get("options") if kind == "COMBO" else ()
    plain = [str(one) for one in listed or () if isinstance(one, (str, int, float, bool))]
    return plain if len(plain) <= 30 else []


def _possible(name: str, info: Mapping[str, Any]) -> Iterator[Use]:
    yield name, "", ""
    for input_name, (kind, options) in _declared(info).items():
        choices = _choices(kind, options)
        yield from ((name, input_name, choice) for choice in choices)
        if not choices:
            yield name, input_name, ""


def _uses(node: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[Use]:
    name = node["class_type"]
    yield name, "", ""
    declared = _declared(info.get(name, {}))
    for input_name, value in node.get("inputs", {}).items():
        kind, options = declared.get(input_name, ("", {}))
        plain = value["__value__"] if isinstance(value, dict) and "__value__" in value else value
        if _choices(kind, options):
            yield name, input_name, str(plain)
        elif is_link(value) or "default" not in options or plain != options["default"]:
            yield name, input_name, ""


def coverage_lines(every: set[Use], used: set[Use]) -> tuple[float, list[str]]:
    """Per cent used, and a line per class with something unused."""
    missing = every - used
    percent = 100.0 if not every else 100 * (len(every) - len(missing)) / len(every)
    lines = []
    for name in sorted({use[0] for use in every}):
        own = {use for use in missing if use[0] == name}
        if (name, "", "") in own:
            lines.append(f"{name}: never run")
            continue
        never = sorted(use[1] for use in own if use[1] and not use[2])
        untaken = _by_input(use for use in own if use[2])
        parts = [f"never given: {', '.join(never)}"] * bool(never) + untaken
        if parts:
            lines.append(f"{name}: {'; '.join(parts)}")
    return percent, lines


def _by_input(uses: Iterable[Use]) -> list[str]:
    choices: dict[str, list[str]] = {}
    for _, name, choice in sorted(uses):
        choices.setdefault(name, []).append(choice)
    return [f"{name} never {' or '.join(listed)}" for name, listed in choices.items()]
