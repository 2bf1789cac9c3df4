"""Files that nodes read and write: names that stay inside their folder, numbers that never overwrite."""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import torch
from PIL import Image

from ..atomic import write_numbered
from ..hosts import host
from .checks import as_text
from .picture_formats import ENDINGS, encoded

__all__ = ["inside", "save_numbered", "save_pictures", "with_preview"]

# A name with these would make two lines of one, or steer the terminal, wherever it is listed.
UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, with "\\" as good as "/"; ValueError for a name that leads out of the folder, or nowhere."""
    folder = folder.resolve()
    if not name.strip():
        raise ValueError("the file name is empty, expected a plain name or a path below the folder")
    try:
        path = None if "\0" in name else (folder / name.replace("\\", "/")).resolve()
    except (OSError, RuntimeError):
        raise ValueError(f"file name {name!r} goes through links that form a loop") from None
    except UnicodeEncodeError:
        raise ValueError(f"file name {name!r} has characters that no file name can have") from None
    if path is None or path == folder or not path.is_relative_to(folder):
        raise ValueError(f"file name {name!r} leads out of the folder, expected a plain name or a path below it")
    return path


def save_pictures(
    images: torch.Tensor,
    folder: Path,
    prefix: str,
    texts: Mapping[str, str],
    kind: str = "png",
    quality: int = 90,
    compress: int = 4,
) -> list[Path]:
    """Write IMAGE (b, h, w, 3) as PREFIX_00001_.png and so on, counting up from what is there; returns the paths.

    Values are cut to bytes, not rounded, so that the files are those that ComfyUI writes. `kind`, `quality` and
    `compress` are as in `picture_formats.encoded`.
    """
    height, width = images.shape[1:3]
    path, number = _numbered(folder, prefix, width, height)

    def name(number: int) -> Path:
        return path.with_name(f"{path.name}_{number:05}_{ENDINGS[kind]}")

    written = []
    for pixels in (images.clamp(0, 1) * 255).to(torch.uint8).cpu().numpy():
        picture = encoded(Image.fromarray(pixels), texts, kind, quality, compress)
        number = write_numbered(picture, name, number + 1)
        written.append(name(number))
    return written


def with_preview(images: torch.Tensor) -> tuple | dict:
    """What a node returns that gives IMAGE (b, h, w, 3): in the editor, the node shows it too."""
    if host.name != "comfyui":
        return (images,)
    shown = save_pictures(images, host.temp_dir(), "ddim_preview", {}, compress=1)
    named = [{"filename": path.name, "subfolder": "", "type": "temp"} for path in shown]
    return {"ui": {"images": named}, "result": (images,)}


def save_numbered(data: bytes, folder: Path, prefix: str, ending: str) -> Path:
    """Write PREFIX_00001_ENDING, counting up from what is there; returns the path."""
    path, number = _numbered(folder, prefix, 0, 0)

    def name(number: int) -> Path:
        return path.with_name(f"{path.name}_{number:05}_{ending}")

    return name(write_numbered(data, name, number + 1))


def _numbered(folder: Path, prefix: str, width: int, height: int) -> tuple[Path, int]:
    """What numbers are appended to, in a folder that is there; and the highest of them, 0 if there is none."""
    path = inside(folder, UNFIT.sub("_", _filled_in(prefix, width, height)))
    path.parent.mkdir(parents=True, exist_ok=True)
    pattern = re.compile(re.escape(path.name) + r"_(\d+)_?\.")
    taken = [int(match[1]) for other in path.parent.iterdir() if (match := pattern.match(other.name))]
    return path, max(taken, default=0)


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
