"""A workflow inside a sound file: in a FLAC's or an Ogg's comments, in an MP3's text frames."""

from __future__ import annotations

import struct
from typing import BinaryIO

from ..errors import WorkflowError
from .limits import MAX_PARTS, MAX_TEXT

COMMENTS = 4
"""The number of the FLAC block that holds comments."""

ENCODINGS = {0: ("latin-1", b"\0"), 1: ("utf-16", b"\0\0"), 2: ("utf-16-be", b"\0\0"), 3: ("utf-8", b"\0")}
"""How an MP3's text frame is encoded, by its first byte, and what ends a text."""


def read_flac_texts(file: BinaryIO) -> dict[str, str]:
    """Name -> text of the comments; sound is not read."""
    file.seek(4)
    for _ in range(MAX_PARTS):
        if len(head := file.read(4)) < 4:
            break
        length = int.from_bytes(head[1:], "big")
        if head[0] & 0x7F == COMMENTS:
            return _comments(_limited(file, length))
        if head[0] & 0x80:  # the last block
            break
        file.seek(length, 1)
    return {}


def read_ogg_texts(file: BinaryIO) -> dict[str, str]:
    """The same of an Ogg file (Opus, Vorbis): its second packet, put together from its pages."""
    file.seek(0)
    packet, number = b"", 0
    while len(head := file.read(27)) == 27 and head.startswith(b"OggS"):
        for length in (lengths := file.read(head[26])):
            packet += _limited(file, length)
            if len(packet) > MAX_TEXT:
                raise WorkflowError(f"comments of more than {MAX_TEXT} bytes; at most that many are read")
            if length < 255:
                if number == 1:
                    return _comments(packet.removeprefix(b"OpusTags").removeprefix(b"\3vorbis"))
                packet, number = b"", number + 1
        if not lengths:
            break
    return {}


def _comments(data: bytes) -> dict[str, str]:
    """`NAME=text` entries, each with its length before it, after the name of what wrote them."""
    texts: dict[str, str] = {}
    at = 4 + int.from_bytes(data[:4], "little")
    count, at = int.from_bytes(data[at : at + 4], "little"), at + 4
    while count > 0 and at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        name, _, text = data[at + 4 : at + 4 + length].partition(b"=")
        texts.setdefault(name.decode("latin-1").lower(), text.decode("utf-8", "replace"))
        at, count = at + 4 + length, count - 1
    return texts


def read_mp3_texts(file: BinaryIO) -> dict[str, str]:
    """Name -> text of an MP3's `TXXX` frames (ID3 2.3 and 2.4)."""
    file.seek(0)
    head = file.read(10)
    data = _limited(file, _seven_bits(head[6:10]))
    is_newest, at = head[3] >= 4, 0
    texts: dict[str, str] = {}
    while at + 10 <= len(data) and data[at : at + 1] != b"\0":
        kind, size = data[at : at + 4], data[at + 4 : at + 8]
        length = _seven_bits(size) if is_newest else struct.unpack(">I", size)[0]
        body = data[at + 10 : at + 10 + length]
        if kind == b"TXXX" and body and body[0] in ENCODINGS:
            name, text = _named_text(body)
            texts.setdefault(name.lower(), text)
        at += 10 + length
    return texts


def _named_text(body: bytes) -> tuple[str, str]:
    encoding, end = ENCODINGS[body[0]]
    rest, at = body[1:], 0
    while at < len(rest) and rest[at : at + len(end)] != end:
        at += len(end)
    name, text = rest[:at], rest[at + len(end) :]
    decoded = text.decode(encoding, "replace")
    return name.decode(encoding, "replace"), decoded.rstrip("\0")


def _seven_bits(data: bytes) -> int:
    number = 0
    for byte in data:
        number = number << 7 | byte & 0x7F
    return number


def _limited(file: BinaryIO, length: int) -> bytes:
    if length > MAX_TEXT:
        raise WorkflowError(f"a block of {length} bytes; at most {MAX_TEXT} are read")
    return file.read(length)
