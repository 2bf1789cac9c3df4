"""Pictures as PNG, WebP or JPEG, with the workflow that made them inside, where ComfyUI and its editor look for it."""

import json
from collections.abc import Mapping
from io import BytesIO

from PIL import Image
from PIL.PngImagePlugin import PngInfo

__all__ = ["ENDINGS", "encoded", "workflow_texts"]

ENDINGS = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
"""How files of each format end."""
LARGEST = {"webp": 16383, "jpeg": 65500}
"""Pixels of a side, where a format has a limit."""
MAX_JPEG_TEXT = 65_500
"""Bytes of EXIF data that fit into a JPEG picture's segment of 64 KiB."""
MODEL, MAKE = 0x0110, 0x010F
"""The EXIF tags with the prompt and the workflow; other texts take the tags below, one each."""


def workflow_texts(prompt: dict | None, extra: Mapping | None) -> dict[str, str]:
    """The texts that ComfyUI puts into its pictures: `prompt`, `workflow` and whatever else came with the run."""
    return {key: json.dumps(value) for key, value in {"prompt": prompt, **(extra or {})}.items() if value is not None}


def encoded(picture: Image.Image, texts: Mapping[str, str], kind: str, quality: int = 90, compress: int = 4) -> bytes:
    """A picture file. `quality` (1 to 100) is WebP's and JPEG's, `compress` (0 to 9) PNG's.

    Raises ValueError for a picture or texts too large for the format.
    """
    if max(picture.size) > LARGEST.get(kind, max(picture.size)):
        size, most = " x ".join(map(str, picture.size)), LARGEST[kind]
        raise ValueError(f"an image of {size} pixels; {kind} takes at most {most} on a side, png more")
    options = {"quality": quality}
    if kind == "png":
        options = {"pnginfo": _png_info(texts), "compress_level": compress}
    else:
        exif = _exif(texts)
        if kind == "jpeg":
            picture = picture.convert("RGB")
            if len(exif) > MAX_JPEG_TEXT:
                most = MAX_JPEG_TEXT
                raise ValueError(
                    f"a workflow of {len(exif)} bytes; jpeg has room for at most {most}, webp and png for more"
                )
        options["exif"] = exif
    file = BytesIO()
    picture.save(file, format=kind.upper(), **options)
    return file.getvalue()


def _png_info(texts: Mapping[str, str]) -> PngInfo:
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    return info


def _exif(texts: Mapping[str, str]) -> bytes:
    exif, tag = Image.Exif(), MAKE
    for key, text in texts.items():
        if key == "prompt":
            exif[MODEL] = f"prompt:{text}"
        else:
            exif[tag] = f"{key}:{text}"
            tag -= 1
    return exif.tobytes()
