"""A workflow inside a PNG picture, where ComfyUI keeps it: reading it, and writing it for SaveImage."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from ..errors import WorkflowError
from .limits import MAX_PARTS, MAX_TEXT

SIGNATURE = b"\x89PNG\r\n\x1a\n"

TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"comf")
"""Where text is kept: plain, compressed, international; `comf` is ComfyUI's own, in animated PNGs."""


def read_png_texts(file: BinaryIO) -> dict[str, str]:
    """Keyword -> text of the picture's text chunks, the first of each keyword; pixels are skipped, not read.

    Raises WorkflowError for a text over the limit (counted after decompression) or one that can't be decompressed.
    """
    file.seek(len(SIGNATURE))
    texts: dict[str, str] = {}
    for _ in range(MAX_PARTS):
        if len(head := file.read(8)) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            break
        if kind not in TEXT_CHUNKS:
            file.seek(length + 4, 1)
            continue
        if length > MAX_TEXT:
            raise WorkflowError(f"a text chunk of {length} bytes; at most {MAX_TEXT} are read")
        data = file.read(length)
        file.seek(4, 1)
        keyword, _, rest = data.partition(b"\0")
        name = keyword.decode("latin-1").lower()
        if len(data) == length and name in ("prompt", "workflow", "parameters") and name not in texts:
            texts[name] = _text(kind, rest)
    return texts


def is_cut_off(file: BinaryIO) -> bool:
    """Whether the picture's last chunk is missing."""
    file.seek(0, 2)
    file.seek(max(0, file.tell() - 64))
    return b"IEND" not in file.read()


def _text(kind: bytes, rest: bytes) -> str:
    if kind == b"zTXt":  # method, then the compressed text
        rest = _inflate(rest[1:])
    elif kind == b"iTXt":  # flag, method, language, translated keyword, then the text
        compressed = rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        rest = _inflate(rest) if compressed else rest
    try:
        return rest.decode("utf-8")
    except UnicodeDecodeError:
        return rest.decode("latin-1")


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, MAX_TEXT)
    except zlib.error as error:
        raise WorkflowError(f"a compressed text chunk is damaged: {error}") from None
    if inflater.unconsumed_tail:
        raise WorkflowError(f"a compressed text chunk holds more than {MAX_TEXT} bytes; at most that many are read")
    return text
