"""The kinds of files that may carry a workflow, a row each: how one is told, and how its texts are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from .audio import read_flac_texts, read_mp3_texts, read_ogg_texts
from .exif import read_avif_texts, read_jpeg_texts, read_webp_texts
from .markup import read_glb_texts, read_svg_texts
from .png import SIGNATURE, read_png_texts
from .video import read_matroska_texts, read_mp4_texts


@dataclass(frozen=True, slots=True)
class Carrier:
    """A kind of file: its name with an article, what it has at byte `at`, and the reader of its name -> text."""

    what: str
    magic: tuple[bytes, ...]
    read: Callable[[BinaryIO], Mapping[str, str]] | None
    at: int = 0

    def has(self, head: bytes) -> bool:
        """Whether a file that begins so is of this kind."""
        return head[self.at :].startswith(self.magic)


CARRIERS = (
    Carrier("a PNG image", (SIGNATURE,), read_png_texts),
    Carrier("a WebP image", (b"WEBP",), read_webp_texts, at=8),
    Carrier("a JPEG image", (b"\xff\xd8\xff",), read_jpeg_texts),
    Carrier("an AVIF image", (b"ftypavif", b"ftypavis"), read_avif_texts, at=4),
    Carrier("a HEIC image", (b"ftypheic", b"ftypheix", b"ftypmif1"), None, at=4),
    Carrier("an MP4 video", (b"ftyp",), read_mp4_texts, at=4),
    Carrier("a WebM or Matroska video", (b"\x1aE\xdf\xa3",), read_matroska_texts),
    Carrier("a FLAC audio file", (b"fLaC",), read_flac_texts),
    Carrier("an Ogg audio file", (b"OggS",), read_ogg_texts),
    Carrier("an MP3 audio file", (b"ID3",), read_mp3_texts),
    Carrier("a GLB mesh", (b"glTF",), read_glb_texts),
    Carrier("an SVG drawing", (b"<svg", b"<?xml"), read_svg_texts),
    Carrier("a GIF image", (b"GIF8",), None),
    Carrier("a BMP image", (b"BM",), None),
    Carrier("a TIFF image", (b"II*\0", b"MM\0*"), None),
    Carrier("a WAV audio file", (b"WAVE",), None, at=8),
    Carrier("an AVI video", (b"AVI ",), None, at=8),
    Carrier("an MP3 audio file", (b"\xff\xfb", b"\xff\xf3"), None),
    Carrier("a PDF document", (b"%PDF",), None),
    Carrier("a ZIP archive (or a PyTorch checkpoint)", (b"PK\3\4",), None),
    Carrier("a gzip archive", (b"\x1f\x8b",), None),
    Carrier("a GGUF model", (b"GGUF",), None),
    Carrier("a web page", (b"<!DOCTYPE", b"<!doctype", b"<html"), None),
)
"""Those without a reader are known by name only: none of them carries a workflow."""
