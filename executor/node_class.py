"""What the executor reads off a node class, once per run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from .runtime import Runtime


class Input(NamedTuple):
    """One declared input. `type` is a type's name, or the list of choices of a combo."""

    type: Any
    category: str  # "required", "optional" or "hidden"
    options: Mapping[str, Any]

    @property
    def is_raw(self) -> bool:
        """Whether the node wants the link itself, not the value at its other end."""
        return bool(self.options.get("rawLink"))


@dataclass(frozen=True)
class Declaration:
    """The inputs a class declares: `inputs` by name, `hidden` as name -> kind (UNIQUE_ID, PROMPT, ...)."""

    inputs: Mapping[str, Input]
    hidden: Mapping[str, str]
    v3_data: Any = None  # what a v3 class wants back at each call

    @classmethod
    def of(
        cls, declared: Mapping[str, Mapping[str, Any]], hidden: Mapping[str, str], v3_data: Any = None
    ) -> Declaration:
        """Read the mapping that INPUT_TYPES returns."""
        inputs: dict[str, Input] = {}
        for category in ("required", "optional", "hidden"):
            for name, config in declared.get(category, {}).items():
                is_pair = category != "hidden" and len(config) > 1
                inputs.setdefault(name, Input(config[0], category, config[1] if is_pair else {}))
        return cls(inputs, hidden, v3_data)


class NodeClass:
    """A node class and its declarations, each read when first asked for."""

    def __init__(self, name: str, node_class: type, runtime: Runtime):
        self.name = name
        self.cls = node_class
        self.runtime = runtime
        self.is_v3 = runtime.is_v3_class(node_class)

    def declaration(self, inputs: Mapping[str, Any]) -> Declaration:
        """The inputs declared for a node with these input values; only v3 classes look at the values."""
        if self.is_v3:
            declared, hidden, data = self.runtime.v3_inputs(self.cls, inputs)
            return Declaration.of(declared, hidden, data)
        return self._classic_declaration

    @cached_property
    def _classic_declaration(self) -> Declaration:
        declared = self.cls.INPUT_TYPES()
        return Declaration.of(declared, declared.get("hidden", {}))

    @cached_property
    def is_output(self) -> bool:
        """Whether its nodes are run for their own sake."""
        return getattr(self.cls, "OUTPUT_NODE", False) is True

    @cached_property
    def function(self) -> str:
        """Name of the method that does the work."""
        return self.cls.FUNCTION

    @cached_property
    def is_async(self) -> bool:
        """Whether that method is a coroutine function."""
        return inspect.iscoroutinefunction(getattr(self.cls, getattr(self.cls, "FUNCTION", ""), None))

    @cached_property
    def takes_lists(self) -> bool:
        """Whether one call gets the whole lists."""
        return bool(getattr(self.cls, "INPUT_IS_LIST", False))

    @cached_property
    def lazy_inputs(self) -> frozenset[str]:
        """The inputs of which the node itself says when it needs them; as in ComfyUI, no parts of dynamic inputs."""
        declared = self.cls.INPUT_TYPES()
        return frozenset(
            name
            for category in ("required", "optional")
            for name, config in declared.get(category, {}).items()
            if len(config) > 1 and config[1].get("lazy")
        )

    @cached_property
    def accepts_all(self) -> bool:
        """Whether its nodes are handed inputs that the class doesn't declare."""
        return self.is_v3 and bool(getattr(self.cls, "ACCEPT_ALL_INPUTS", False))

    @cached_property
    def shows_again(self) -> bool:
        """Whether what its nodes show is announced in every run, also when nothing asked for them."""
        return bool(getattr(self.cls, "HAS_INTERMEDIATE_OUTPUT", False))

    @cached_property
    def return_types(self) -> tuple:
        """The output types, by slot."""
        return self.cls.RETURN_TYPES

    def returns_list(self, slot: int) -> bool:
        """Whether the value of this output is a list of items rather than one item."""
        flags = getattr(self.cls, "OUTPUT_IS_LIST", None)
        return bool(flags[slot]) if flags is not None else False

    @cached_property
    def is_keyed_by_id(self) -> bool:
        """Whether two of its nodes with equal inputs are still two different computations."""
        if getattr(self.cls, "NOT_IDEMPOTENT", False):
            return True
        return not self.is_v3 and "UNIQUE_ID" in self._classic_declaration.hidden.values()

    def hook(self, classic_name: str, v3_name: str) -> tuple[str, Any] | None:
        """`(method name, method)` of an optional method of the class, or None if the class has none."""
        if self.is_v3:
            method = self.runtime.v3_override(self.cls, v3_name)
            return (v3_name, method) if method is not None else None
        method = getattr(self.cls, classic_name, None)
        return (classic_name, method) if method is not None else None


class NodeClasses:
    """The classes of one run by name, wrapped when first asked for."""

    def __init__(self, node_classes: Mapping[str, type], runtime: Runtime):
        self._classes = node_classes
        self._runtime = runtime
        self._wrapped: dict[str, NodeClass] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __getitem__(self, name: str) -> NodeClass:
        """Raises KeyError for a class that isn't there."""
        wrapped = self._wrapped.get(name)
        if wrapped is None:
            wrapped = self._wrapped[name] = NodeClass(name, self._classes[name], self._runtime)
        return wrapped
