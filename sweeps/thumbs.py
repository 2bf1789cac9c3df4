"""Small pictures for the page."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

__all__ = ["save_thumb"]

SIDE = 256


def save_thumb(path: Path) -> bytes | None:
    """A picture file as WebP, at most 256 pixels a side; None for what is no picture."""
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGBA" if "A" in picture.getbands() else "RGB")
            small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            data = BytesIO()
            small.save(data, "WEBP", quality=82, method=2)
            return data.getvalue()
    except (OSError, ValueError, SyntaxError):
        return None
