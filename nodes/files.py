"""Files that nodes read and write: names that stay inside their folder, numbers that never overwrite."""

import json
import re
from datetime import datetime
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..atomic import write_numbered
from .checks import as_text

__all__ = ["inside", "png_text", "save_pictures"]


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, refusing a name that leads out of the folder with a ValueError."""
    folder = folder.resolve()
    path = None if "\0" in name or not name.strip() else (folder / name).resolve()
    if path is None or path == folder or not path.is_relative_to(folder):
        raise ValueError(f"file name {name!r} leads out of the folder, expected a plain name or a path below it")
    return path


def png_text(prompt: dict | None, extra: dict | None) -> PngInfo:
    """The texts that ComfyUI puts into its pictures: `prompt`, `workflow` and whatever else came with the run."""
    info = PngInfo()
    for key, value in {"prompt": prompt, **(extra or {})}.items():
        if value is not None:
            info.add_text(key, json.dumps(value))
    return info


def save_pictures(images: torch.Tensor, folder: Path, prefix: str, info: PngInfo, compress: int = 4) -> list[Path]:
    """Write IMAGE (b, h, w, 3) as PREFIX_00001_.png and so on, counting up from what is there; returns the paths.

    Values are cut to bytes, not rounded, so that the files are those that ComfyUI writes.
    """
    height, width = images.shape[1:3]
    path = inside(folder, _filled_in(prefix, width, height))
    path.parent.mkdir(parents=True, exist_ok=True)
    pattern = re.compile(re.escape(path.name) + r"_(\d+)_?\.")
    taken = [int(match[1]) for other in path.parent.iterdir() if (match := pattern.match(other.name))]
    number = max(taken, default=0)

    def name(number: int) -> Path:
        return path.with_name(f"{path.name}_{number:05}_.png")

    written = []
    for pixels in (images.clamp(0, 1) * 255).to(torch.uint8).cpu().numpy():
        picture = BytesIO()
        Image.fromarray(pixels).save(picture, format="PNG", pnginfo=info, compress_level=compress)
        number = write_numbered(picture.getvalue(), name, number + 1)
        written.append(name(number))
    return written


def _filled_in(prefix: str, width: int, height: int) -> str:
    now = datetime.now()
    values = {
        "width": str(width),
        "height": str(height),
        "year": f"{now.year}",
        "month": f"{now.month:02}",
        "day": f"{now.day:02}",
        "hour": f"{now.hour:02}",
        "minute": f"{now.minute:02}",
        "second": f"{now.second:02}",
    }
    return re.sub(r"%(\w+)%", lambda match: values.get(match[1], match[0]), as_text(prefix))
