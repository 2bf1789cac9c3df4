"""Taps: nodes put into a prompt that keep what others give, or give what a test has in hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..executor.graph import is_link

Prompt = dict[str, dict[str, Any]]
Link = tuple[str, int]
"""A node's id and one of its output slots."""

KEEP, GIVE, PREFIX = "ComfyTestKeep", "ComfyTestGive", "comfy-test:"


class _Anything(str):
    """A type that fits every other."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


ANYTHING = _Anything("*")


class Taps:
    """The taps of one run: `kept` is what has come in so far, the items of each link."""

    def __init__(self):
        self.kept: dict[Link, Sequence[Any]] = {}
        self._given: dict[str, Sequence[Any]] = {}

    @property
    def classes(self) -> dict[str, type]:
        """The two node classes, which belong to these taps."""
        return {KEEP: _keep_class(self.kept), GIVE: _give_class(self._given)}

    def keep(self, prompt: Prompt, links: Iterable[Link]) -> list[str]:
        """Add to the prompt, in place, what keeps these; the ids added."""
        added = []
        for source, slot in dict.fromkeys(links):
            node_id = f"{PREFIX}{source}:{slot}"
            inputs = {"value": [source, slot], "source": source, "slot": slot}
            prompt[node_id] = {"class_type": KEEP, "inputs": inputs}
            added.append(node_id)
        return added

    def give(self, prompt: Prompt, values: Sequence[Any]) -> list[Any]:
        """Add to the prompt, in place, a node that gives these items one by one; the link to it."""
        key = f"{PREFIX}given:{len(self._given)}"
        self._given[key] = values
        prompt[key] = {"class_type": GIVE, "inputs": {"key": key}}
        return [key, 0]


def _keep_class(kept: dict[Link, Sequence[Any]]) -> type:
    class Keep:
        RETURN_TYPES, FUNCTION, OUTPUT_NODE, INPUT_IS_LIST = (), "keep", True, True

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"value": (ANYTHING,), "source": ("STRING", {}), "slot": ("INT", {})}}

        @classmethod
        def IS_CHANGED(cls, **_: Any) -> float:
            return float("nan")

        def keep(self, value: Sequence[Any], source: Sequence[str], slot: Sequence[int]) -> dict[str, Any]:
            kept[source[0], slot[0]] = value
            return {}

    return Keep


def _give_class(given: Mapping[str, Sequence[Any]]) -> type:
    class Give:
        RETURN_TYPES, FUNCTION, OUTPUT_IS_LIST = (ANYTHING,), "give", (True,)

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"key": ("STRING", {})}}

        def give(self, key: str) -> tuple[Sequence[Any]]:
            return (given[key],)

    return Give


def output_names(info: Mapping[str, Any]) -> list[str]:
    """The names of a class's outputs, from its entry of object_info."""
    names = info.get("output_name") or info.get("output") or ()
    return [str(name) for name in names]


def outputs_of(prompt: Prompt, object_info: Mapping[str, Any], node_id: str) -> list[tuple[str, Link]]:
    """`(name, link)` of each output of a node."""
    names = output_names(object_info.get(prompt[node_id].get("class_type"), {}))
    return [(name, (node_id, slot)) for slot, name in enumerate(names)]


def linked_inputs(prompt: Prompt, object_info: Mapping[str, Any], node_id: str) -> list[tuple[str, Link]]:
    """`(name, link)` of each linked input of a node that isn't lazy: asking for it would compute it."""
    node = prompt[node_id]
    inputs = node["inputs"] if isinstance(node.get("inputs"), dict) else {}
    lazy = lazy_inputs(object_info.get(node.get("class_type"), {}))
    return [(name, (value[0], int(value[1]))) for name, value in inputs.items() if is_link(value) and name not in lazy]


def lazy_inputs(info: Mapping[str, Any]) -> set[str]:
    """The inputs that a class asks for only when it needs them."""
    declared = info.get("input", {})
    both = {**declared.get("required", {}), **declared.get("optional", {})}
    return {
        name for name, entry in both.items() if len(entry) > 1 and isinstance(entry[1], dict) and entry[1].get("lazy")
    }


def surely_run(prompt: Prompt, object_info: Mapping[str, Any], targets: Iterable[str]) -> list[str]:
    """The targets and all nodes that they need in any case, lazy inputs left out."""
    stack, found = list(targets), {}
    while stack:
        node_id = stack.pop()
        if node_id in found or node_id not in prompt:
            continue
        found[node_id] = None
        stack.extend(source for _, (source, _) in linked_inputs(prompt, object_info, node_id))
    return list(found)
