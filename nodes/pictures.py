"""Images: examples to start from, and many laid out as one."""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from ..hosts.bounds import check_size
from .checks import shown
from .files import with_preview
from .picture_reading import converted, read_frames
from .sockets import choice, rare, socket, whole

__all__ = ["DDIMExampleImage", "DDIMFilmStrip", "read_picture", "strip"]

EXAMPLES = Path(__file__).parents[1] / "workflows" / "pictures"


def read_picture(path: Path) -> torch.Tensor:
    """IMAGE (1, h, w, 3) of an image file."""
    pixels = np.array(converted(next(read_frames(path, path.name)), "RGB"), dtype=np.float32)
    return torch.from_numpy(pixels)[None] / 255


def example_names() -> list[str]:
    """The pictures that ship."""
    return sorted(path.stem for path in EXAMPLES.glob("*.png"))


def strip(images: torch.Tensor, columns: int, gap: int) -> torch.Tensor:
    """IMAGE (b, h, w, 3) as one image in rows of `columns` (0: one row), `gap` white pixels between."""
    if columns < 0 or gap < 0:
        raise ValueError(f"{columns!r} columns and a gap of {gap!r} pixels, expected 0 or more of both")
    columns = min(columns, len(images)) or len(images)
    rows = -(-len(images) // columns)
    height, width, channels = images.shape[1:]
    check_size("a strip", rows * (height + gap), columns * (width + gap), channels)
    blank = images.new_ones(rows * columns - len(images), *images.shape[1:])
    cells = torch.nn.functional.pad(torch.cat([images, blank]), (0, 0, 0, gap, 0, gap), value=1.0)
    sheet = rearrange(cells, "(r c) h w k -> (r h) (c w) k", c=columns)
    return sheet[None, : sheet.shape[0] - gap, : sheet.shape[1] - gap]


class DDIMExampleImage:
    DISPLAY_NAME = "Example Image (DDIM)"
    CATEGORY = "DDIM/images"
    DESCRIPTION = "One of the small images that ship with this pack. Replace it with Load Image to use your own."
    FUNCTION = "read"
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The image.",)
    SEARCH_ALIASES = ("sample image", "load image")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"image": choice(example_names(), "The image's name.")}}

    def read(self, image: str) -> tuple[torch.Tensor]:
        """Return IMAGE (1, h, w, 3)."""
        if image not in example_names():  # a wire may bring any text
            raise ValueError(f"no example {shown(image)}, expected one of {', '.join(example_names())}")
        return (read_picture(EXAMPLES / f"{image}.png"),)


class DDIMFilmStrip:
    DISPLAY_NAME = "Film Strip (DDIM)"
    CATEGORY = "DDIM/images"
    DESCRIPTION = "Arranges the images of a batch in rows, as one image: a film strip, a contact sheet, a comparison."
    FUNCTION = "lay_out"
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("All the images as one.",)
    SEARCH_ALIASES = ("contact sheet", "image grid", "compare")
    HAS_INTERMEDIATE_OUTPUT = True  # ComfyUI shows its picture also when the node comes from the cache

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        more = {f"images_{i}": socket("IMAGE", "More images of the same size, after the others.") for i in range(2, 7)}
        return {
            "required": {
                "images": socket("IMAGE", "The images, in order."),
                "columns": whole(0, 0, 1000, "Images in a row; 0 puts all in one row."),
                "gap": rare(whole(4, 0, 256, "White pixels between two images.")),
            },
            "optional": more,
        }

    def lay_out(
        self, images, columns, gap, images_2=None, images_3=None, images_4=None, images_5=None, images_6=None
    ) -> tuple | dict:
        """Return IMAGE (1, H, W, 3)."""
        batches = [b for b in (images, images_2, images_3, images_4, images_5, images_6) if b is not None]
        sizes = {tuple(b.shape[1:3]) for b in batches}
        if len(sizes) > 1:
            raise ValueError(f"images of sizes {sorted(sizes)} (height, width), expected all of one size")
        return with_preview(strip(torch.cat([b[..., :3] for b in batches]), columns, gap))
