"""ComfyUI's nodes about masks: MASK (b, h, w) in [0, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...hosts.bounds import check_size
from ..picture_reading import converted, scaled_bytes
from ..sockets import choice, number, socket, toggle, whole
from .images import InputPicture

__all__ = ["GrowMask", "ImageToMask", "InvertMask", "LoadImageMask", "MaskToImage", "SolidMask"]

LARGEST = 16384


class SolidMask:
    CATEGORY = "mask"
    FUNCTION = "solid"
    RETURN_TYPES = ("MASK",)
    DESCRIPTION = "A mask of one value."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "value": number(1.0, 0.0, 1.0, 0.01, "1 is white, 0 is black."),
                "width": whole(512, 1, LARGEST, "The width in pixels."),
                "height": whole(512, 1, LARGEST, "The height in pixels."),
            }
        }

    def solid(self, value: float, width: int, height: int) -> tuple[Tensor]:
        """Return MASK (1, height, width)."""
        check_size("a mask", height, width)
        return (torch.full((1, height, width), value, dtype=torch.float32),)


class InvertMask:
    CATEGORY = "mask"
    FUNCTION = "invert"
    RETURN_TYPES = ("MASK",)
    DESCRIPTION = "Inverts a mask."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"mask": socket("MASK", "The mask.")}}

    def invert(self, mask: Tensor) -> tuple[Tensor]:
        return (1.0 - mask,)


class GrowMask:
    CATEGORY = "mask"
    FUNCTION = "expand_mask"
    RETURN_TYPES = ("MASK",)
    DESCRIPTION = "Lets the white of a mask grow, or with a number below 0 shrink."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "mask": socket("MASK", "The mask."),
                "expand": whole(0, -LARGEST, LARGEST, "Pixels to grow by; below 0 to shrink by."),
                "tapered_corners": toggle(True, "Corners become slanted; else they stay square."),
            }
        }

    def expand_mask(self, mask: Tensor, expand: int, tapered_corners: bool) -> tuple[Tensor]:
        sign = -1 if expand < 0 else 1
        grown = sign * mask.reshape(-1, *mask.shape[-2:])
        for _ in range(abs(expand)):
            before, grown = grown, neighbours_largest(grown, tapered_corners)
            if torch.equal(before, grown):
                break
        return (sign * grown,)


def neighbours_largest(mask: Tensor, tapered: bool) -> Tensor:
    """The largest of each pixel of (b, h, w) and its neighbours: four of them if `tapered`, else eight."""
    if not tapered:
        return F.max_pool2d(mask, 3, stride=1, padding=1)
    across, down = (
        F.max_pool2d(mask, size, stride=1, padding=(size[0] // 2, size[1] // 2)) for size in ((1, 3), (3, 1))
    )
    return torch.maximum(across, down)


class MaskToImage:
    CATEGORY = "mask"
    FUNCTION = "mask_to_image"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Shows a mask as an image."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"mask": socket("MASK", "The mask.")}}

    def mask_to_image(self, mask: Tensor) -> tuple[Tensor]:
        """Return IMAGE (b, h, w, 3)."""
        return (mask.reshape(-1, *mask.shape[-2:], 1).expand(-1, -1, -1, 3),)


CHANNELS = ["red", "green", "blue", "alpha"]


class ImageToMask:
    CATEGORY = "mask"
    FUNCTION = "image_to_mask"
    RETURN_TYPES = ("MASK",)
    DESCRIPTION = "Takes one channel of an image as a mask."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "image": socket("IMAGE", "The image."),
                "channel": choice(CHANNELS, "The channel to take."),
            }
        }

    def image_to_mask(self, image: Tensor, channel: str) -> tuple[Tensor]:
        """Return MASK (b, h, w); ValueError for a picture without the channel."""
        place = CHANNELS.index(channel)
        if place >= image.shape[-1]:
            raise ValueError(f"an image of {image.shape[-1]} channels, expected 4: it has no {channel} channel")
        return (image[..., place],)


class LoadImageMask(InputPicture):
    CATEGORY = "mask"
    FUNCTION = "load_image"
    RETURN_TYPES = ("MASK",)
    DESCRIPTION = "Loads one channel of an image as a mask; of alpha, white is where the image is transparent."
    ORDER = ["alpha", "red", "green", "blue"]

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"image": cls.listed(), "channel": choice(cls.ORDER, "The channel to take.")}}

    def load_image(self, image: str, channel: str) -> tuple[Tensor]:
        """Return MASK (1, h, w)."""
        letter = channel[0].upper()
        mask = scaled_bytes(converted(next(self.frames(image)), "RGBA").getchannel(letter))
        return (1 - mask if letter == "A" else mask,)
