"""References on disk: PNG for pictures and masks, safetensors for tensors, JSON for texts and numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

from ..atomic import replacing, write_whole
from .measures import as_array, as_pictures, is_latent, is_pictures, is_tensor

__all__ = ["read_picture", "read_tensor", "slug", "stored_form", "write_picture", "write_stored"]


def slug(text: str) -> str:
    """A name for a file: letters, digits, spaces, - and _ stay; no dots, which part the names of references."""
    return re.sub(r"[^\w -]+", "_", text).strip()[:80] or "_"


def stored_form(values: Sequence[Any]) -> list[tuple[str, Any]] | None:
    """`(suffix, content)` of each file that would keep these values; None for what has no such form."""
    if not values:
        return None
    if all(map(is_pictures, values)):
        pictures = as_pictures(values)
        return [(f".{i}.png" if len(pictures) > 1 else ".png", one) for i, one in enumerate(pictures)]
    if all(is_latent(value) or is_tensor(value) for value in values):
        arrays = [as_array(value) for value in values]
        return [(f".{i}.safetensors" if len(arrays) > 1 else ".safetensors", one) for i, one in enumerate(arrays)]
    if all(isinstance(value, (str, int, float, bool)) for value in values):
        return [(".json", list(values))]
    return None


def write_stored(path: Path, content: Any) -> None:
    """Write one file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        write_picture(path, content)
    elif path.suffix == ".safetensors":
        with replacing(path) as part:
            save_file({"samples": np.ascontiguousarray(content)}, part)
    else:
        write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture (height, width, 1 to 4 channels) in [0, 1] as an 8-bit PNG."""
    whole = np.round(np.clip(np.nan_to_num(picture), 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(whole[..., 0] if whole.shape[-1] == 1 else whole)
    with replacing(path) as part:
        image.save(part, format="PNG", optimize=True)


def read_picture(path: Path) -> np.ndarray:
    """A reference picture (height, width, channels) in [0, 1]."""
    with Image.open(path) as file:
        pixels = np.asarray(file).astype(np.float64) / 255
    return pixels[..., None] if pixels.ndim == 2 else pixels


def read_tensor(path: Path) -> np.ndarray:
    """A reference tensor."""
    return load_file(path)["samples"]
