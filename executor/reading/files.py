"""Finding the workflow in a file, whatever the file is: the form is told by its content, never by its name."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import WorkflowError
from . import png, webp
from .limits import MAX_TEXT


@dataclass(frozen=True, slots=True)
class Documents:
    """What a file carries: the API-form prompt, the browser-saved workflow, or both."""

    prompt: dict[str, Any] | None
    workflow: dict[str, Any] | None


def read_documents(source: Path | bytes | str) -> Documents:
    """Opens a path, or takes a file's bytes; raises WorkflowError when there is no workflow in it."""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            return _read(file)
    except FileNotFoundError:
        raise WorkflowError("no such file") from None
    except WorkflowError:
        raise
    except (OSError, ValueError) as error:
        raise WorkflowError(f"can't be read: {getattr(error, 'strerror', None) or error}") from None


def _read(file: BinaryIO) -> Documents:
    head = file.read(16)
    if head.startswith(png.SIGNATURE):
        return _embedded(png.read_png_texts(file), "PNG picture")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _embedded(webp.read_webp_texts(file), "WebP picture")
    if _is_safetensors(head):
        return _embedded(_safetensors_texts(file, head), "safetensors file")
    file.seek(0)
    data = file.read(MAX_TEXT + 1)
    if not data:
        raise WorkflowError("empty; expected a workflow")
    if len(data) > MAX_TEXT:
        raise WorkflowError(f"more than {MAX_TEXT} bytes; a workflow file is smaller")
    document = parse_json(data, "neither JSON nor a PNG, WebP, .latent or .safetensors file with a workflow in it")
    if is_prompt(document):
        return Documents(document, None)
    if is_workflow(document):
        return Documents(None, document)
    raise WorkflowError(
        'not a workflow: expected what the browser saves ({"nodes": [...], ...}) '
        'or its API export ({"1": {"class_type": ..., "inputs": ...}, ...})'
    )


def _embedded(texts: dict[str, str], what: str) -> Documents:
    prompt = parse_json(texts["prompt"], "its prompt is not JSON") if texts.get("prompt") else None
    workflow = parse_json(texts["workflow"], "its workflow is not JSON") if texts.get("workflow") else None
    if prompt is not None and not is_prompt(prompt):
        raise WorkflowError('its prompt is not in the API form {"1": {"class_type": ..., "inputs": ...}, ...}')
    if workflow is not None and not is_workflow(workflow):
        raise WorkflowError('its workflow is not one that the browser saved ({"nodes": [...], ...})')
    if prompt is None and workflow is None:
        other = "; the parameters it carries are not ComfyUI's" if "parameters" in texts else ""
        raise WorkflowError(f"a {what} without a workflow in it{other}")
    return Documents(prompt, workflow)


def parse_json(data: str | bytes, fault: str) -> Any:
    """JSON, with NaN and Infinity as ComfyUI writes them; raises WorkflowError beginning with `fault`."""
    try:
        return json.loads(data)
    except RecursionError:
        raise WorkflowError("nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, a number of too many digits
        raise WorkflowError(f"{fault} ({error})") from None


def is_prompt(document: Any) -> bool:
    """Whether this is the API form: an object of objects with a class_type (that one lacks it is for the check)."""
    if not isinstance(document, dict) or not all(isinstance(node, dict) for node in document.values()):
        return False
    return any("class_type" in node for node in document.values())


def is_workflow(document: Any) -> bool:
    """Whether this is what the browser saves: an object with a list of nodes."""
    return isinstance(document, dict) and isinstance(document.get("nodes"), list)


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and head[4:8] == b"\0\0\0\0"


def _safetensors_texts(file: BinaryIO, head: bytes) -> dict[str, str]:
    (length,) = struct.unpack("<Q", head[:8])
    if length > MAX_TEXT:
        raise WorkflowError(f"a header of {length} bytes; at most {MAX_TEXT} are read")
    file.seek(8)
    header = parse_json(file.read(length), "its header is not JSON")
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        return {}
    return {name: text for name, text in metadata.items() if isinstance(text, str)}
