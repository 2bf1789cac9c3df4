"""Finding the workflow in a file, whatever the file is: the form is told by its content, never by its name."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import WorkflowError
from . import png
from .carriers import CARRIERS
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
    head = file.read(64)
    if _is_safetensors(head):
        return _embedded(_safetensors_texts(file, head), "a safetensors file")
    carrier = next((one for one in CARRIERS if one.has(head)), None)
    if carrier is None:
        return _plain(file)
    if carrier.read is None:
        raise WorkflowError(f"{carrier.what}; workflows are not read from such files")
    is_cut_off = head.startswith(png.SIGNATURE) and png.is_cut_off(file)
    return _embedded(carrier.read(file), carrier.what + (" that is cut off," if is_cut_off else ""))


def _plain(file: BinaryIO) -> Documents:
    file.seek(0)
    data = file.read(MAX_TEXT + 1)
    if not data:
        raise WorkflowError("empty; expected a workflow")
    if len(data) > MAX_TEXT:
        raise WorkflowError(f"more than {MAX_TEXT} bytes; at most that many are read")
    document = parse_json(data, "neither JSON nor an image, audio, video or model file with a workflow in it")
    found = _documents(document)
    if found is None:
        raise WorkflowError(
            'not a workflow: expected what the browser saves ({"nodes": [...], ...}) '
            'or its API export ({"1": {"class_type": ..., "inputs": ...}, ...})'
        )
    return found


def _documents(document: Any) -> Documents | None:
    """What a JSON document is: a prompt, a workflow, or the body of a request that holds one."""
    if is_prompt(document):
        return Documents(document, None)
    if is_workflow(document):
        return Documents(None, document)
    if not isinstance(document, dict):
        return None
    inside = document.get("input")
    for body in (document, inside if isinstance(inside, dict) else {}):  # POST /prompt's, and RunPod's
        prompt, workflow = body.get("prompt"), body.get("workflow")
        if is_prompt(prompt):
            return Documents(prompt, _workflow_beside(body))
        for one in (workflow, prompt):
            if is_prompt(one):
                return Documents(one, None)
            if is_workflow(one):
                return Documents(None, one)
    return None


def _workflow_beside(body: dict[str, Any]) -> dict[str, Any] | None:
    """The browser's form that a body of POST /prompt takes along for pictures."""
    value: Any = body
    for key in ("extra_data", "extra_pnginfo", "workflow"):
        value = value.get(key) if isinstance(value, dict) else None
    return value if is_workflow(value) else None


def _embedded(texts: Mapping[str, str], what: str) -> Documents:
    """What a file carries; a prompt that can't be used doesn't count where there is a workflow, nor the other way."""
    faults: list[str] = []
    prompt = _usable(texts, "prompt", is_prompt, _PROMPT_EXPECTED, faults)
    workflow = _usable(texts, "workflow", is_workflow, _WORKFLOW_EXPECTED, faults)
    if prompt is None and workflow is None:
        if faults:
            raise WorkflowError(f"{what.rstrip(',')}: {faults[0]}")
        other = ""
        if "parameters" in texts:
            other = "; its parameters are a Stable Diffusion web UI's settings, not ComfyUI's"
        raise WorkflowError(f"{what} without a workflow in it{other}")
    return Documents(prompt, workflow)


_PROMPT_EXPECTED = 'not in the API form {"1": {"class_type": ..., "inputs": ...}, ...}'
_WORKFLOW_EXPECTED = 'not one that the browser saved ({"nodes": [...], ...})'


def _usable(
    texts: Mapping[str, str], name: str, fits: Callable[[Any], bool], expected: str, faults: list[str]
) -> dict[str, Any] | None:
    if not texts.get(name):
        return None
    try:
        document = parse_json(texts[name], f"its {name} is not JSON")
    except WorkflowError as error:
        faults.append(str(error))
        return None
    if fits(document):
        return document
    faults.append(f"its {name} is {expected}")
    return None


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
