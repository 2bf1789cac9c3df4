"""Opening pictures: every mode brought to 8 bits by its range, frames one at a time, sizes within limits."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence
from torch import Tensor

__all__ = ["MAX_FRAMES", "MAX_PIXELS", "converted", "read_frames", "scaled_bytes"]

log = logging.getLogger(__name__)

MAX_PIXELS = 89_478_485
"""Pixels of a file's frames together; Pillow's own limit against small files that unpack to huge pictures."""
MAX_FRAMES = 4096
"""Frames of a file, as many as a batch may hold."""
SAMPLE_BITS, SAMPLE_FORMAT, UNSIGNED = 258, 339, 1
"""TIFF's tags for how many bits a value has and of which kind they are."""


def read_frames(path: Path, name: str) -> Iterator[Image.Image]:
    """A file's frames, upright, of 8 bits a value, each read when it is asked for; those of another size are left out.

    Raises ValueError, with the `name` that people know the file by, for what is no readable picture or is too large.
    """
    first, pixels, count = None, 0, 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower and an error
            file = Image.open(path)
        with file:
            for frame in [file] if file.format == "MPO" else ImageSequence.Iterator(file):
                pixels, count = pixels + frame.width * frame.height, count + 1
                _check_size(name, frame, pixels, count)
                upright = _in_bytes(ImageOps.exif_transpose(frame), file, name)
                first = first or upright.size
                if upright.size == first:
                    yield upright
    except (_TooMuch, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise ValueError(f"{name!r}: too many pixels, at most {MAX_PIXELS} are read") from None
    except Exception as error:  # a damaged picture stops Pillow in any way it likes
        raise ValueError(f"{name!r} is not a readable image: {' '.join(str(error).split()) or 'cut off'}") from error


class _TooMuch(ValueError):
    pass


def _check_size(name: str, frame: Image.Image, pixels: int, count: int) -> None:
    if count > MAX_FRAMES:
        raise _TooMuch(f"{name!r}: more than {MAX_FRAMES} frames, at most that many are read")
    if pixels > MAX_PIXELS:
        size = f"{frame.width} x {frame.height} pixels" + (f" in {count} frames" if count > 1 else "")
        raise _TooMuch(f"{name!r}: {size}, at most {MAX_PIXELS} pixels are read")


def _in_bytes(frame: Image.Image, file: Image.Image, name: str) -> Image.Image:
    """The frame, whole numbers beyond 8 bits and floats scaled by their range and rounded."""
    if frame.mode == "F":
        return _rounded(np.array(frame, dtype=np.float64), _float_range(np.array(frame), name))
    if not frame.mode.startswith("I"):
        frame.load()
        return frame.copy()
    values = np.array(frame)
    if frame.mode != "I":  # I;16 and its kin
        return _rounded(values.astype(np.float64), 65535)
    tags = getattr(file, "tag_v2", {})
    if SAMPLE_BITS not in tags:  # PNG and PPM, which Pillow widens
        return _rounded(values.astype(np.float64), 65535)
    bits, unsigned = tags[SAMPLE_BITS][0], tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED
    if unsigned and bits == 32:
        values = values.astype(np.uint32)
    return _rounded(values.astype(np.float64), 2.0 ** (bits if unsigned else bits - 1) - 1)


def _float_range(values: np.ndarray, name: str) -> float:
    """What is white among floats: 1, or, with a word, the bytes' or 16 bits' white where there is more than 1."""
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 65535:
        raise _TooMuch(f"{name!r}: an image of floats from {low:g} to {high:g}, expected 0 to 1")
    if high <= 1:
        return 1
    white = 255 if high <= 255 else 65535
    log.warning("%r: an image of floats up to %g, read as ranging from 0 to %d", name, high, white)
    return white


def _rounded(values: np.ndarray, white: float) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values * (255 / white)), 0, 255).astype(np.uint8))


def scaled_bytes(*pictures: Image.Image | np.ndarray) -> Tensor:
    """The pictures' values in [0, 1], one after the other."""
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).float().div_(255)


def converted(frame: Image.Image, mode: str) -> Image.Image:
    """The frame in another mode; ValueError that says what came for one that has no way there."""
    try:
        return frame.convert(mode)
    except ValueError:
        raise ValueError(f"an image of mode {frame.mode}, expected one that can be converted to {mode}") from None
