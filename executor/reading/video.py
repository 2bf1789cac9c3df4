"""A workflow inside a video: in an MP4's or QuickTime's metadata, in a WebM's or Matroska's tags."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import WorkflowError
from .limits import MAX_PARTS, MAX_TEXT

SEGMENT, TAGS, TAG, SIMPLE_TAG = 0x18538067, 0x1254C367, 0x7373, 0x67C8
TAG_NAME, TAG_STRING, CLUSTER = 0x45A3, 0x4487, 0x1F43B675
"""Ids of Matroska's elements."""


def read_mp4_texts(file: BinaryIO) -> dict[str, str]:
    """Name -> text of the metadata; pictures and sound are skipped, not read."""
    file.seek(0, 2)
    end = file.tell()
    moov = next((box for kind, *box in _boxes(file, 0, end) if kind == b"moov"), None)
    if moov is None:
        return {}
    start, stop = moov
    if stop - start > MAX_TEXT:
        raise WorkflowError(f"an index of {stop - start} bytes; at most {MAX_TEXT} are read")
    file.seek(start)
    return _with_comment(_moov_texts(file.read(stop - start)))


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of what is in each box of a file."""
    for _ in range(MAX_PARTS):
        if at + 8 > end:
            return
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            length, head = struct.unpack(">Q", file.read(8).rjust(8, b"\0"))[0], 16
        length = length or end - at
        if length < head:
            return
        yield kind, at + head, min(at + length, end)
        at += length


def _parts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box in `data`."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length < 8:
            return
        yield kind, data[at + 8 : at + length]
        at += length


def _moov_texts(moov: bytes) -> dict[str, str]:
    texts: dict[str, str] = {}
    pending = [moov]
    while pending:
        keys: list[str] = []
        for kind, data in _parts(pending.pop()):
            if kind == b"udta":
                pending.append(data)
            elif kind == b"meta":  # four bytes of version before its boxes, which QuickTime leaves out
                pending.append(data[4:] if data[4:8] != b"hdlr" else data)
            elif kind == b"keys":
                keys = [name.decode("utf-8", "replace") for _, name in _parts(data[8:])]
            elif kind == b"ilst":
                for number, entry in _parts(data):
                    index = int.from_bytes(number, "big") - 1
                    name = keys[index] if 0 <= index < len(keys) else number.decode("latin-1")
                    text = next((value[8:] for inner, value in _parts(entry) if inner == b"data"), b"")
                    texts.setdefault(name.lower(), text.decode("utf-8", "replace"))
    return texts


def read_matroska_texts(file: BinaryIO) -> dict[str, str]:
    """The same of a WebM or Matroska file."""
    file.seek(0, 2)
    end = file.tell()
    texts: dict[str, str] = {}
    pending, parts = [(0, end)], 0
    while pending:
        at, stop = pending.pop()
        name, text = "", None
        while at < stop and (parts := parts + 1) < MAX_PARTS:
            element, start, length = _element(file, at)
            if element is None:
                break
            inner_end = min(start + length, end) if length is not None else end
            if element in (SEGMENT, TAGS, TAG, SIMPLE_TAG):
                pending.append((start, inner_end))
            elif element in (TAG_NAME, TAG_STRING):
                if inner_end - start > MAX_TEXT:
                    raise WorkflowError(f"a tag of {inner_end - start} bytes; at most {MAX_TEXT} are read")
                file.seek(start)
                data = file.read(inner_end - start).rstrip(b"\0").decode("utf-8", "replace")
                name, text = (data, text) if element == TAG_NAME else (name, data)
            elif length is None and element == CLUSTER:
                break
            at = inner_end
        if name and text is not None:
            texts.setdefault(name.lower(), text)
    return _with_comment(texts)


def _element(file: BinaryIO, at: int) -> tuple[int | None, int, int | None]:
    """Id, start and length of the element there; no length where the file leaves it open."""
    file.seek(at)
    head = file.read(12)
    width = 8 - head[0].bit_length() + 1 if head and head[0] else 0
    if not 1 <= width <= 4 or len(head) <= width or not head[width]:
        return None, at, 0
    size = 8 - head[width].bit_length() + 1
    length = int.from_bytes(head[width : width + size], "big") & ((1 << 7 * size) - 1)
    is_open = length == (1 << 7 * size) - 1
    return int.from_bytes(head[:width], "big"), at + width + size, None if is_open else length


def _with_comment(texts: dict[str, str]) -> dict[str, str]:
    """With what is in a comment that holds both, as packs for videos write it."""
    comment = texts.get("comment") or texts.get("\xa9cmt") or ""
    try:
        held = json.loads(comment) if comment.startswith("{") else None
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict):
        return texts
    inside = {name: one if isinstance(one, str) else json.dumps(one) for name, one in held.items()}
    return inside | texts
