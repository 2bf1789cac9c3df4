"""A workflow inside a WebP, JPEG or AVIF picture: in EXIF texts that begin with `prompt:` or `workflow:`."""

from __future__ import annotations

import struct
from typing import BinaryIO

from PIL import Image

from ..errors import WorkflowError
from .limits import MAX_PARTS, MAX_TEXT

ASCII = 2
"""The EXIF type of a text."""

NAMES = ("prompt", "workflow")


def read_webp_texts(file: BinaryIO) -> dict[str, str]:
    """Name -> text, the first of each name; pixels are skipped, not read."""
    file.seek(12)
    for _ in range(MAX_PARTS):
        if len(head := file.read(8)) < 8:
            break
        kind, length = struct.unpack("<4sI", head)
        if kind != b"EXIF":
            file.seek(length + length % 2, 1)
            continue
        if length > MAX_TEXT:
            raise WorkflowError(f"EXIF data of {length} bytes; at most {MAX_TEXT} are read")
        return exif_texts(file.read(length))
    return {}


def read_jpeg_texts(file: BinaryIO) -> dict[str, str]:
    """The same of a JPEG picture: of the segments before its pixels."""
    file.seek(2)
    texts: dict[str, str] = {}
    for _ in range(MAX_PARTS):
        if len(head := file.read(4)) < 4 or head[0] != 0xFF or head[1] == 0xDA:
            break
        length = struct.unpack(">H", head[2:])[0] - 2
        data = file.read(max(length, 0))
        if head[1] == 0xE1 and data.startswith(b"Exif\0\0"):
            texts = exif_texts(data) | texts
    return texts


def read_avif_texts(file: BinaryIO) -> dict[str, str]:
    """The same of an AVIF picture."""
    file.seek(0)
    try:
        with Image.open(file, formats=["AVIF"]) as picture:
            return exif_texts(picture.info.get("exif") or b"")
    except (OSError, SyntaxError, ValueError, KeyError, Image.DecompressionBombError) as error:
        raise WorkflowError(f"an AVIF image that can't be opened: {error}") from None


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
        if kind == ASCII and name in NAMES and name not in texts:
            value = data[at + len(name) + 1 : at + length]
            texts[name] = value.rstrip(b"\0").decode("utf-8", "replace")
    return texts
