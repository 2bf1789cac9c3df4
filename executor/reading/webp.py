"""A workflow inside a WebP picture, where ComfyUI keeps it: in EXIF texts that begin with `prompt:` or `workflow:`."""

from __future__ import annotations

import struct
from typing import BinaryIO

from ..errors import WorkflowError
from .limits import MAX_TEXT

ASCII = 2
"""The EXIF type of a text."""


def read_webp_texts(file: BinaryIO) -> dict[str, str]:
    """Name -> text, the first of each name; pixels are skipped, not read."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        if kind != b"EXIF":
            file.seek(length + length % 2, 1)
            continue
        if length > MAX_TEXT:
            raise WorkflowError(f"EXIF data of {length} bytes; at most {MAX_TEXT} are read")
        return exif_texts(file.read(length))
    return {}


def exif_texts(data: bytes) -> dict[str, str]:
    """Name -> text of an EXIF block's first directory; entries that point outside the block are skipped."""
    texts: dict[str, str] = {}
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    start = struct.unpack_from(order + "I", data, 4)[0] if order and len(data) >= 8 else len(data)
    count = struct.unpack_from(order + "H", data, start)[0] if order and start + 2 <= len(data) else 0
    for entry in range(start + 2, min(start + 2 + 12 * count, len(data) - 11), 12):
        _, kind, length, at = struct.unpack_from(order + "HHII", data, entry)
        name = data[at : at + 9].partition(b":")[0].decode("latin-1").lower()
        if kind == ASCII and name in ("prompt", "workflow") and name not in texts:
            value = data[at + len(name) + 1 : at + length]
            texts[name] = value.rstrip(b"\0").decode("utf-8", "replace")
    return texts
