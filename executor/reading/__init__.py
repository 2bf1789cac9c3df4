"""Reading workflows: any file that carries one becomes the prompt that the runner runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import WorkflowError
from .convert import convert_workflow
from .files import Documents, read_documents
from .limits import MAX_NODES
from .png import embed_metadata

__all__ = ["Prompt", "convert_workflow", "embed_metadata", "read_workflow"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a file asks to run: `nodes` in API form, and the browser-saved workflow where the file has it."""

    nodes: dict[str, Any]
    workflow: dict[str, Any] | None


def read_workflow(source: Path | bytes | str, object_info: Mapping[str, Any] | None) -> Prompt:
    """Reads a workflow in any form it is shared in; `source` is a path, or a file's content as bytes.

    JSON as the browser saves it or as its API export, a PNG or WebP picture, a .latent or .safetensors file. Where a
    file carries both forms the prompt counts, which is what really ran. `object_info` (ComfyUI's /object_info) is
    needed for the browser's form only. Raises WorkflowError, one line that names the file.
    """
    try:
        return _prompt(read_documents(source), object_info)
    except WorkflowError as error:
        name = "workflow" if isinstance(source, bytes) else str(source)
        raise WorkflowError(f"{name}: {error}") from None


def _prompt(documents: Documents, object_info: Mapping[str, Any] | None) -> Prompt:
    if documents.prompt is not None:
        if len(documents.prompt) > MAX_NODES:
            raise WorkflowError(f"{len(documents.prompt)} nodes; at most {MAX_NODES} are read")
        return Prompt(_fresh(documents.prompt), documents.workflow)
    assert documents.workflow is not None
    if object_info is None:
        raise WorkflowError("saved by the browser; reading it takes the definitions of its nodes (object_info)")
    return Prompt(convert_workflow(documents.workflow, object_info), documents.workflow)


def _fresh(prompt: dict[str, Any]) -> dict[str, Any]:
    """Without the `is_changed` that ComfyUI leaves behind: it would keep nodes from asking anew."""
    return {
        key: {name: value for name, value in node.items() if name != "is_changed"} for key, node in prompt.items()
    }
