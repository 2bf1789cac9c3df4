"""What node classes say of themselves, in the shape of ComfyUI's `GET /object_info`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)


def object_info(
    node_classes: Mapping[str, type], display_names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Class name -> its inputs, outputs and texts.

    A class that can't describe itself is left out with a warning, as ComfyUI does, so that one broken pack
    doesn't take the others with it.
    """
    definitions = {}
    for name, node_class in node_classes.items():
        try:
            definitions[name] = node_info(name, node_class, (display_names or {}).get(name, name))
        except Exception as error:
            kind = type(error).__name__
            logger.warning("node class %s left out, its INPUT_TYPES or the like failed: %s: %s", name, kind, error)
    return definitions


def node_info(name: str, node_class: type, display_name: str) -> dict[str, Any]:
    """One class's entry of `object_info`; raises whatever the class's own INPUT_TYPES raises."""
    if hasattr(node_class, "GET_NODE_INFO_V1"):  # a v3 class writes its own entry
        return node_class.GET_NODE_INFO_V1()
    inputs = node_class.INPUT_TYPES()
    outputs = getattr(node_class, "RETURN_TYPES", ())
    info = {
        "input": inputs,
        "input_order": {category: list(names) for category, names in inputs.items()},
        "is_input_list": getattr(node_class, "INPUT_IS_LIST", False),
        "output": outputs,
        "output_is_list": getattr(node_class, "OUTPUT_IS_LIST", [False] * len(outputs)),
        "output_name": getattr(node_class, "RETURN_NAMES", outputs),
        "name": name,
        "display_name": display_name,
        "description": getattr(node_class, "DESCRIPTION", ""),
        "python_module": getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes"),
        "category": getattr(node_class, "CATEGORY", "sd"),
        "output_node": bool(getattr(node_class, "OUTPUT_NODE", False)),
        "has_intermediate_output": bool(getattr(node_class, "HAS_INTERMEDIATE_OUTPUT", False)),
        "search_aliases": getattr(node_class, "SEARCH_ALIASES", []),
    }
    for key in ("OUTPUT_TOOLTIPS", "API_NODE", "ESSENTIALS_CATEGORY"):
        if hasattr(node_class, key):
            info[key.lower()] = getattr(node_class, key)
    for key in ("DEPRECATED", "EXPERIMENTAL", "DEV_ONLY"):
        if getattr(node_class, key, False):
            info[key.lower()] = True
    return info
