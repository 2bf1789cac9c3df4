"""ComfyUI's nodes that give images another outline: their size, their canvas, their edges."""

import importlib
import importlib.util
import math

import torch
from torch import Tensor

from ...hosts.standalone.resize import PICTURE_METHODS
from ..checks import shown
from ..sockets import choice, number, socket, whole
from .images import LARGEST, picture_resized

__all__ = ["Canny", "ImagePadForOutpaint", "ImageScaleToTotalPixels"]


class ImageScaleToTotalPixels:
    CATEGORY = "image/upscaling"
    FUNCTION = "upscale"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Resizes images to so many pixels in all; their proportions stay."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "image": socket("IMAGE", "The images."),
                "upscale_method": choice(PICTURE_METHODS, "How pixels between pixels are found."),
                "megapixels": number(1.0, 0.01, 16.0, 0.01, "Their number of pixels, in units of 1024 x 1024."),
                "resolution_steps": whole(1, 1, 256, "Width and height become multiples of this."),
            }
        }

    def upscale(
        self, image: Tensor, upscale_method: str, megapixels: float, resolution_steps: int = 1
    ) -> tuple[Tensor]:
        """Raises ValueError where a side would round to nothing."""
        rows, columns = image.shape[1:3]
        factor = math.sqrt(megapixels * 1024 * 1024 / (columns * rows))
        width, height = (round(side * factor / resolution_steps) * resolution_steps for side in (columns, rows))
        return (picture_resized(image, width, height, upscale_method),)


class ImagePadForOutpaint:
    CATEGORY = "image"
    FUNCTION = "expand_image"
    RETURN_TYPES = ("IMAGE", "MASK")
    DESCRIPTION = "Puts images on a larger canvas of mid-grey, with a mask that is white where there was no image."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "image": socket("IMAGE", "The images."),
                **{
                    side: whole(0, 0, LARGEST, f"Pixels to add: {side}.", 8)
                    for side in ("left", "top", "right", "bottom")
                },
                "feathering": whole(40, 0, LARGEST, "Pixels over which the mask fades into the image."),
            }
        }

    def expand_image(
        self, image: Tensor, left: int, top: int, right: int, bottom: int, feathering: int
    ) -> tuple[Tensor, Tensor]:
        """IMAGE (b, h, w, c) and MASK (1, h, w); an image too small for the feathering has a hard edge."""
        batch, rows, columns, channels = image.shape
        canvas = torch.full((batch, top + rows + bottom, left + columns + right, channels), 0.5)
        canvas[:, top : top + rows, left : left + columns] = image
        mask = torch.ones(canvas.shape[1:3])
        mask[top : top + rows, left : left + columns] = _fade(rows, columns, (left, top, right, bottom), feathering)
        return canvas, mask[None]


def _fade(rows: int, columns: int, added: tuple[int, int, int, int], feathering: int) -> Tensor:
    """(rows, columns) that falls from 1 at the sides where something was added to 0, as a square."""
    if not 0 < feathering < min(rows, columns) / 2:
        return torch.zeros(rows, columns)
    left, top, right, bottom = added
    x, y = torch.arange(columns), torch.arange(rows)[:, None]
    distance = torch.full((rows, columns), feathering)
    for is_open, away in ((left, x), (right, columns - x), (top, y), (bottom, rows - y)):
        if is_open:
            distance = torch.minimum(distance, away)
    return ((feathering - distance) / feathering) ** 2


class Canny:
    CATEGORY = "image/preprocessors"
    FUNCTION = "detect_edge"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Finds edges, as white lines on black: what a canny ControlNet is shown."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "image": socket("IMAGE", "The images."),
                "low_threshold": number(0.4, 0.01, 0.99, 0.01, "Weaker edges than this are none."),
                "high_threshold": number(0.8, 0.01, 0.99, 0.01, "Stronger edges than this are some without others."),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, low_threshold: float | None = None, high_threshold: float | None = None) -> bool | str:
        """Say what is missing or wrong before anything runs; a threshold is None where another node gives it."""
        if importlib.util.find_spec("kornia") is None:
            return "needs the package kornia, which finds the edges: pip install kornia"
        for name, value in (("low_threshold", low_threshold), ("high_threshold", high_threshold)):
            if value is not None and not (isinstance(value, int | float) and 0.01 <= value <= 0.99):
                return f"{name} is {shown(value)}, expected 0.01 to 0.99"
        if low_threshold is not None and high_threshold is not None and low_threshold > high_threshold:
            return f"low_threshold is {low_threshold}, expected at most high_threshold, which is {high_threshold}"
        return True

    def detect_edge(self, image: Tensor, low_threshold: float, high_threshold: float) -> tuple[Tensor]:
        """IMAGE (b, h, w, 3) of zeros and ones."""
        kornia = importlib.import_module("kornia.filters")
        _, edges = kornia.canny(image.float().movedim(-1, 1), low_threshold, high_threshold)
        return (edges.repeat(1, 3, 1, 1).movedim(1, -1),)
