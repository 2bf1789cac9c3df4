"""The faults a prompt can have, in the words and shapes of ComfyUI's validation."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from .node_class import Input
from .rules import Rules

Fault = dict[str, Any]
"""`{"type", "message", "details", "extra_info"}`."""


def fault(kind: str, message: str, details: str = "", **extra_info: Any) -> Fault:
    """One fault."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def type_name(error: BaseException) -> str:
    """The exception's class, with its module unless it is built in."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def no_class(node_id: str, node: Any, rules: Rules) -> Fault:
    """A node without class_type."""
    details = f"Node ID '#{node_id}'"
    if not rules.missing_node_type:
        message = "Cannot execute because a node is missing the class_type property."
        return fault("invalid_prompt", message, details)
    title = _title(node)
    return fault(
        "missing_node_type",
        f"Node '{title or f'ID #{node_id}'}' has no class_type. "
        "The workflow may be corrupted or a custom node is missing.",
        details,
        node_id=node_id,
        class_type=None,
        node_title=title,
    )


def unknown_class(node_id: str, node: Mapping[str, Any], rules: Rules) -> Fault:
    """A node of a class that isn't there."""
    name = node["class_type"]
    details = f"Node ID '#{node_id}'"
    if not rules.missing_node_type:
        return fault("invalid_prompt", f"Cannot execute because node {name} does not exist.", details)
    title = _title(node, name)
    return fault(
        "missing_node_type",
        f"Node '{title}' not found. The custom node may not be installed.",
        details,
        node_id=node_id,
        class_type=name,
        node_title=title,
    )


def _title(node: Any, otherwise: Any = None) -> Any:
    meta = node.get("_meta") if isinstance(node, dict) else None
    return meta.get("title", otherwise) if isinstance(meta, dict) else otherwise


def no_outputs() -> Fault:
    """A prompt, or a choice of targets, without any output node."""
    return fault("prompt_no_outputs", "Prompt has no outputs")


def outputs_failed(faults: list[Fault]) -> Fault:
    """No output node can be run."""
    details = "\n".join(f"{one['message']}: {one['details']}" for one in faults)
    return fault("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)


def cycle(node_id: str, cycle_nodes: list[str], path: str) -> Fault:
    """Nodes that wait for each other, of which this is one."""
    return fault(
        "dependency_cycle", "Dependency cycle detected", path, node_id=node_id, cycle_nodes=cycle_nodes
    )


def crashed(error: Exception) -> Fault:
    """Validation of an output node raised."""
    return fault(
        "exception_during_validation",
        "Exception when validating node",
        str(error),
        exception_type=type_name(error),
        traceback=traceback.format_tb(error.__traceback__),
    )


class InputFaults:
    """The faults of one input of a node."""

    def __init__(self, name: str, declared: Input):
        self._name = name
        self._declared = declared
        self._config = (declared.type, declared.options)

    def missing(self, is_dynamic: bool = False) -> Fault:
        """Required, but absent; of dynamic inputs (`combo.part`) only the last name is told."""
        details = self._name.rpartition(".")[2] if is_dynamic else self._name
        return fault("required_input_missing", "Required input is missing", details, input_name=self._name)

    def bad_link(self, value: Any) -> Fault:
        """A list that can't be a link."""
        return self._with_value(
            "bad_linked_input",
            "Bad linked input, must be a length-2 list of [node_id, slot_index]",
            self._name,
            value,
        )

    def wrong_type(self, received: Any, link: list) -> Fault:
        """The source gives another type."""
        return fault(
            "return_type_mismatch",
            "Return type mismatch between linked nodes",
            f"{self._name}, received_type({received}) mismatch input_type({self._declared.type})",
            input_name=self._name,
            input_config=self._config,
            received_type=received,
            linked_node=link,
        )

    def source_crashed(self, error: Exception, link: list) -> Fault:
        """Validation of the source raised."""
        return fault(
            "exception_during_inner_validation",
            "Exception when validating inner node",
            str(error),
            input_name=self._name,
            input_config=self._config,
            exception_message=str(error),
            exception_type=type_name(error),
            traceback=traceback.format_tb(error.__traceback__),
            linked_node=link,
        )

    def not_convertible(self, value: Any, error: Exception) -> Fault:
        """A constant that isn't of the input's type."""
        return self._with_value(
            "invalid_input_type",
            f"Failed to convert an input value to a {self._declared.type} value",
            f"{self._name}, {value}, {error}",
            value,
            exception_message=str(error),
        )

    def too_small(self, value: Any) -> Fault:
        """Below the input's min."""
        message = f"Value {value} smaller than min of {self._declared.options['min']}"
        return self._with_value("value_smaller_than_min", message, self._name, value)

    def too_big(self, value: Any) -> Fault:
        """Above the input's max."""
        message = f"Value {value} bigger than max of {self._declared.options['max']}"
        return self._with_value("value_bigger_than_max", message, self._name, value)

    def not_in_list(self, value: Any, refused: list, choices: list, rules: Rules) -> Fault:
        """None of the combo's choices; long lists (of files) are not spelled out."""
        is_long = len(choices) > 20
        shown = f"(list of length {len(choices)})" if is_long else str(choices)
        named = ", ".join(map(repr, refused)) if rules.several_choices else f"'{value}'"
        return fault(
            "value_not_in_list",
            "Value not in list",
            f"{self._name}: {named} not in {shown}",
            input_name=self._name,
            input_config=None if is_long else self._config,
            received_value=value,
        )

    def _with_value(self, kind: str, message: str, details: str, value: Any, **more: Any) -> Fault:
        return fault(
            kind,
            message,
            details,
            input_name=self._name,
            input_config=self._config,
            received_value=value,
            **more,
        )


def refused_by_node(name: str, answer: Any) -> Fault:
    """VALIDATE_INPUTS said no, perhaps with a reason."""
    details = name if answer is False else f"{name} - {answer}"
    return fault("custom_validation_failed", "Custom validation failed for node", details, input_name=name)
