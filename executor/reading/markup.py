"""A workflow inside an SVG drawing or a GLB mesh, where ComfyUI keeps it."""

from __future__ import annotations

import json
import re
import struct
from typing import BinaryIO

from ..errors import WorkflowError
from .limits import MAX_TEXT

_METADATA = re.compile(rb"<metadata[^>]*>\s*<!\[CDATA\[(.*?)\]\]>\s*</metadata>", re.S)


def read_svg_texts(file: BinaryIO) -> dict[str, str]:
    """Name -> text of the first <metadata> element."""
    file.seek(0)
    found = _METADATA.search(file.read(MAX_TEXT))
    return _as_texts(_parsed(found[1])) if found else {}


def read_glb_texts(file: BinaryIO) -> dict[str, str]:
    """Name -> text of the asset's extras; the mesh is not read."""
    file.seek(12)
    head = file.read(8)
    length, kind = struct.unpack("<I4s", head) if len(head) == 8 else (0, b"")
    if length > MAX_TEXT:
        raise WorkflowError(f"a scene of {length} bytes; at most {MAX_TEXT} are read")
    scene = _parsed(file.read(length)) if kind == b"JSON" else {}
    asset = scene.get("asset")
    extras = asset.get("extras") if isinstance(asset, dict) else None
    return _as_texts(extras) if isinstance(extras, dict) else {}


def _parsed(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _as_texts(held: dict[str, object]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in held.items()}
