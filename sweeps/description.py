"""What sweep.json says: axes, workflow, versions, and the hashes of the files that cells read."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..executor.context import Context
from ..prompts.messages import name_node, shown
from .axes import Axis, Prompt

__all__ = ["changes_since", "describe", "drawn_steps", "hash_files"]

SHIPPED = Path(__file__).parents[1] / "demo"
"""Where the model lies that comes with the package."""


def describe(
    nodes: Prompt, axes: Iterable[Axis], files: Mapping[str, Mapping[str, Any]], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """sweep.json, as a dict."""
    return {
        "axes": [
            {
                "text": axis.text,
                "inputs": list(axis.names),
                "targets": [list(target) for target in axis.targets],
                "values": [list(step) for step in axis.steps],
                "random": axis.is_drawn,
            }
            for axis in axes
        ],
        "workflow": nodes,
        "files": dict(files),
        "versions": _versions(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **extra,
    }


def drawn_steps(old: Mapping[str, Any] | None) -> dict[str, list[list[Any]]]:
    """The steps of the axes that had random values, by their text."""
    axes = (old or {}).get("axes", ())
    return {axis["text"]: axis["values"] for axis in axes if axis.get("random", "random" in axis["text"])}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("comfyui-ddim", "torch", "pillow", "numpy", "ray"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    comfyui = getattr(sys.modules.get("comfyui_version"), "__version__", None)
    return {**found, "comfyui": comfyui} if comfyui else found


# --- what has changed


def changes_since(
    old: Mapping[str, Any] | None, nodes: Prompt, axes: Iterable[Axis], extra: Mapping[str, Any]
) -> list[str]:
    """A line for each thing that an earlier call in this folder had otherwise, at most five of the workflow's."""
    if old is None:
        return []
    before: Prompt = old.get("workflow", {})
    varied = {target for axis in axes for target in axis.targets}
    lines = list(_node_changes(before, nodes, varied))
    if len(lines) > 5:
        lines = [*lines[:5], f"and {len(lines) - 5} more"]
    was, now = [axis["text"] for axis in old.get("axes", ())], [axis.text for axis in axes]
    lines += [f"axis {text!r} is no longer there" for text in was if text not in now]
    lines += [f"axis {text!r} is new" for text in now if text not in was]
    return [*lines, *_option_changes(old.get("options", {}), extra.get("options", {}))]


def _option_changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """What cells are made with isn't part of their hash, so that those that are done stay."""
    for name in before.keys() & now.keys():
        if before[name] != now[name]:
            stay = "cells that are done stay as they are"
            yield f"--{name}: {shown(before[name])} has become {shown(now[name])}; {stay}"


def _node_changes(before: Prompt, nodes: Prompt, varied: set[tuple[str, str]]) -> Iterator[str]:
    for node_id, node in nodes.items():
        if node_id not in before or before[node_id].get("class_type") != node.get("class_type"):
            yield f"{name_node(nodes, node_id)} is new"
            continue
        old = before[node_id].get("inputs", {})
        for name, value in node["inputs"].items():
            if old.get(name) != value and (node_id, name) not in varied:
                yield f"{name_node(nodes, node_id)}, input {name}: {shown(old.get(name))} has become {shown(value)}"
    yield from (f"{name_node(before, node_id)} is no longer there" for node_id in before if node_id not in nodes)


# --- files


def hash_files(
    nodes: Prompt, axes: Iterable[Axis], context: Context, old: Mapping[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """`{name: {"path", "bytes", "changed", "sha256"}}` of the models and pictures that inputs name.

    A file that is as long and as old as in `old` isn't read again.
    """
    known = (old or {}).get("files", {})
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(_names(nodes, axes)):
        path = next((path for path in _places(name, context) if path.is_file()), None)
        if path is None:
            continue
        status = path.stat()
        facts = {"path": str(path), "bytes": status.st_size, "changed": status.st_mtime_ns}
        same = {key: known.get(name, {}).get(key) for key in facts} == facts
        found[name] = {**facts, "sha256": known[name]["sha256"] if same else _sha256(path)}
    return found


def _names(nodes: Prompt, axes: Iterable[Axis]) -> Iterator[str]:
    """Values that may be a file's name: one line, with an ending."""
    values = [value for node in nodes.values() for value in node["inputs"].values()]
    values += [value for axis in axes for step in axis.steps for value in step if isinstance(value, str)]
    for value in values:
        is_short = isinstance(value, str) and len(value) < 256 and "\n" not in value and "\0" not in value
        if is_short and Path(value).suffix[1:].isalnum():
            yield value


def _places(name: str, context: Context) -> Iterator[Path]:
    yield context.input_dir / name
    if context.models_dir.is_dir():
        yield from (folder / name for folder in sorted(context.models_dir.iterdir()) if folder.is_dir())
    comfyui = sys.modules.get("folder_paths")
    for kind in getattr(comfyui, "folder_names_and_paths", ()):
        path = comfyui.get_full_path(kind, name)  # type: ignore[union-attr]
        if path is not None:
            yield Path(path)
    yield SHIPPED / name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
