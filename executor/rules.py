"""What ComfyUI's versions do differently with a prompt: one table, asked by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

RulesName = Literal["0.3.64", "0.8.0", "current"]
"""Whose rules a prompt is checked and run by, and in whose words."""


@dataclass(frozen=True)
class Rules:
    """The differences between versions, each true where the version has it."""

    wildcard_types: bool
    """`*` and COMFY_MATCHTYPE_V3 fit every type; a list of choices fits COMBO."""
    v3_choices: bool
    """The value of a v3 combo must be one of its options."""
    missing_node_type: bool
    """An absent or unknown class is `missing_node_type` with id, class and title, not `invalid_prompt`."""
    dependency_cycle: bool
    """Every node of a cycle is blamed; before, only the outputs failed, without a reason."""
    several_choices: bool
    """`multiselect` combos take a list, of which each item is checked; refused values are named by their repr."""
    lazy_values_on_request: bool
    """A lazy input has its value only once the node has asked for it, though its source may have run already."""
    unique_expansion_ids: bool
    """A node may not expand into one whose id is taken; else the new one takes its place."""


_RULES: dict[str, Rules] = {
    "0.3.64": Rules(
        wildcard_types=False,
        v3_choices=False,
        missing_node_type=False,
        dependency_cycle=False,
        several_choices=False,
        lazy_values_on_request=False,
        unique_expansion_ids=True,
    ),
    "0.8.0": Rules(
        wildcard_types=True,
        v3_choices=True,
        missing_node_type=False,
        dependency_cycle=False,
        several_choices=False,
        lazy_values_on_request=True,
        unique_expansion_ids=False,
    ),
    "current": Rules(
        wildcard_types=True,
        v3_choices=True,
        missing_node_type=True,
        dependency_cycle=True,
        several_choices=True,
        lazy_values_on_request=True,
        unique_expansion_ids=False,
    ),
}


def rules_named(name: RulesName) -> Rules:
    """The rules of a version; ValueError for a name that isn't in the table."""
    if name not in _RULES:
        raise ValueError(f"rules are {name!r}, expected one of {', '.join(get_args(RulesName))}")
    return _RULES[name]
