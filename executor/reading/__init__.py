"""Reading workflows: any file that carries one becomes the prompt that the runner runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import WorkflowError
from .convert import Changes, convert_workflow
from .dynamic_text import PREFIXED, fill_in
from .files import Documents, read_documents
from .limits import MAX_NODES
from .renames import current_type

__all__ = [
    "Changes",
    "Documents",
    "Prompt",
    "convert_workflow",
    "prompt_of",
    "read_documents",
    "read_workflow",
]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a file asks to run: `nodes` in API form, and the browser-saved workflow where the file has it."""

    nodes: dict[str, Any]
    workflow: dict[str, Any] | None


def read_workflow(source: Path | bytes | str, object_info: Mapping[str, Any] | None) -> Prompt:
    """Reads a workflow in any form it is shared in; `source` is a path, or a file's content as bytes.

    JSON as the browser saves it or as its API export, a body of POST /prompt or of RunPod, and every file into which
    ComfyUI writes one (carriers.py). Where a file carries both forms the prompt counts, which is what really ran.
    `object_info` (ComfyUI's /object_info) is needed for the browser's form only. Raises WorkflowError, one line that
    names the file.
    """
    try:
        return prompt_of(read_documents(source), object_info)
    except WorkflowError as error:
        error.source = "workflow" if isinstance(source, bytes) else str(source)
        raise


def prompt_of(documents: Documents, object_info: Mapping[str, Any] | None, changes: Changes | None = None) -> Prompt:
    """The prompt of a file that has been read; see `read_workflow`.

    `changes` are values of inputs by node id and name, in place of what the file says. They come first: what is
    derived from values (a file name that holds a seed) is derived from theirs. Those of other nodes are passed over.
    """
    if documents.prompt is not None:
        if len(documents.prompt) > MAX_NODES:
            raise WorkflowError(f"{len(documents.prompt)} nodes; at most {MAX_NODES} are read")
        nodes = _changed(_fresh(documents.prompt, object_info or {}), changes or {})
        return Prompt(_with_names(nodes, datetime.now()), documents.workflow)
    assert documents.workflow is not None
    if object_info is None:
        raise WorkflowError("saved by the browser: object_info, the definitions of its nodes, is needed to read it")
    return Prompt(convert_workflow(documents.workflow, object_info, changes=changes), documents.workflow)


def _changed(prompt: dict[str, Any], changes: Changes) -> dict[str, Any]:
    for node_id, values in changes.items():
        inputs = prompt.get(node_id, {}).get("inputs")
        if isinstance(inputs, dict):
            prompt[node_id]["inputs"] = {**inputs, **values}
    return prompt


def _with_names(prompt: dict[str, Any], now: datetime) -> dict[str, Any]:
    """With `%Node.input%` and `%date:...%` in file names filled in, as the browser would have: by class or title."""

    def value(name: str, key: str) -> Any:
        inputs = named[name]["inputs"]
        if isinstance(inputs.get(key), list):
            raise KeyError(key)
        return inputs[key]

    named: dict[Any, Any] = {}
    nodes = [node for node in prompt.values() if isinstance(node.get("inputs"), dict)]
    for node in reversed(nodes):
        meta = node.get("_meta")
        if isinstance(meta, dict) and isinstance(meta.get("title"), str):
            named[meta["title"]] = node
    for node in reversed(nodes):
        if isinstance(node.get("class_type"), str):
            named[node["class_type"]] = node
    for node in nodes:
        prefix = node["inputs"].get("filename_prefix")
        kind = node.get("class_type")
        if isinstance(prefix, str) and "%" in prefix and isinstance(kind, str) and kind in PREFIXED:
            node["inputs"] = {**node["inputs"], "filename_prefix": fill_in(prefix, value, now)}
    return prompt


def _fresh(prompt: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """With today's names, and without the `is_changed` that ComfyUI leaves behind: it would keep nodes from asking."""
    fresh = {}
    for key, node in prompt.items():
        fresh[key] = {name: value for name, value in node.items() if name != "is_changed"}
        if "class_type" in node:
            fresh[key]["class_type"] = current_type(node["class_type"], known)
    return fresh
