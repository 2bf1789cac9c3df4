"""ComfyUI's nodes that read, write and change pictures."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...hosts import host
from ...hosts.bounds import check_size
from ...hosts.standalone.resize import PICTURE_METHODS, resize
from ..checks import as_text, verdict
from ..files import inside, save_pictures
from ..picture_formats import workflow_texts
from ..picture_reading import converted, read_frames, scaled_bytes
from ..sockets import choice, number, socket, whole
from .saving import HIDDEN, SavesFiles, named

__all__ = [
    "EmptyImage",
    "ImageBatch",
    "ImageInvert",
    "ImageScale",
    "ImageScaleBy",
    "LoadImage",
    "PreviewImage",
    "SaveImage",
]

LARGEST = 16384
CROPS = ["disabled", "center"]
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class InputPicture:
    """What nodes share that read a picture of the input folder; `input` is their first widget."""

    @staticmethod
    def listed() -> tuple:
        """The widget: the pictures in the input folder."""
        folder = host.input_dir()
        found = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in PICTURES) if folder.is_dir() else []
        return found, {"image_upload": True, "tooltip": "A picture in the input folder."}

    @classmethod
    def VALIDATE_INPUTS(cls, image: str | None = None) -> bool | str:
        return verdict(cls.existing, image)

    @classmethod
    def IS_CHANGED(cls, image: str | None = None, **others: object) -> str | float:
        """Run again when the file has changed, and always where a wire brings its name."""
        if image is None:
            return math.nan
        status = cls.existing(image).stat()
        return f"{status.st_mtime_ns} {status.st_size}"

    @classmethod
    def existing(cls, image: str) -> Path:
        """The file of a name; ValueError for one that isn't there."""
        path = cls.path(as_text(image))
        if not path.is_file():
            raise ValueError(f"no such image in the input folder: {image!r}")
        return path

    @staticmethod
    def path(image: str) -> Path:
        """The file of a name, which may end in " [input]", " [output]" or " [temp]"."""
        folder = host.input_dir()
        for mark, place in (("[input]", folder), ("[output]", host.output_dir()), ("[temp]", host.temp_dir())):
            if image.endswith(mark):
                folder, image = place, image.removesuffix(mark).rstrip(" ")
        return inside(folder, image)

    @classmethod
    def frames(cls, image: str) -> Iterator[Image.Image]:
        """The file's frames; see `read_frames`."""
        return read_frames(cls.existing(image), image)


class LoadImage(InputPicture):
    CATEGORY = "image"
    FUNCTION = "load_image"
    RETURN_TYPES = ("IMAGE", "MASK")
    DESCRIPTION = "Loads an image, and a mask that is white where the image is transparent."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"image": cls.listed()}}

    def load_image(self, image: str) -> tuple[Tensor, Tensor]:
        """Return IMAGE (n, h, w, 3) and MASK (n, h, w), which is 64 x 64 zeros for a picture without transparency.

        Each frame of the first one's size counts.
        """
        colours, alphas = [], []
        for frame in self.frames(image):
            colours.append(np.asarray(converted(frame, "RGB")))
            alphas.append(self.alpha(frame))
        if all(alpha is None for alpha in alphas):
            return scaled_bytes(*colours), torch.zeros(len(colours), 64, 64)
        opaque = np.full(colours[0].shape[:2], 255, np.uint8)
        return scaled_bytes(*colours), 1 - scaled_bytes(*(opaque if alpha is None else alpha for alpha in alphas))

    @staticmethod
    def alpha(frame: Image.Image) -> np.ndarray | None:
        """Bytes (h, w) of a frame's alpha, None where it has none."""
        if frame.mode == "P" and "transparency" in frame.info:
            frame = frame.convert("RGBA")
        return np.asarray(frame.getchannel("A")) if "A" in frame.getbands() else None


class SaveImage(SavesFiles):
    CATEGORY = "image"
    FUNCTION = "save_images"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    DESCRIPTION = "Saves the images, with the workflow that made them inside."
    SAVED = ("images", "IMAGE", "The images to save.")
    PREFIX = "ComfyUI"
    KIND = "output"

    def save_images(self, images, filename_prefix="ComfyUI", prompt=None, extra_pnginfo=None) -> dict:
        """Write the files and name them to the host."""
        folder = host.output_dir()
        texts = workflow_texts(prompt, extra_pnginfo)
        paths = save_pictures(images, folder, filename_prefix, texts, *host.picture_format())
        return {"ui": {"images": [named(path, folder, self.KIND) for path in paths]}, "result": (images,)}


class PreviewImage(SaveImage):
    DESCRIPTION = "Shows the images, without saving them for good."
    KIND = "temp"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"images": socket("IMAGE", "The images to show.")}, "hidden": HIDDEN}

    @classmethod
    def VALIDATE_INPUTS(cls) -> bool:
        return True

    def save_images(self, images, prompt=None, extra_pnginfo=None) -> dict:
        """Write the files and name them to the host."""
        folder = host.temp_dir()
        paths = save_pictures(images, folder, "ComfyUI_temp", workflow_texts(prompt, extra_pnginfo), compress=1)
        return {"ui": {"images": [named(path, folder, self.KIND) for path in paths]}, "result": (images,)}


class ImageScale:
    CATEGORY = "image/upscaling"
    FUNCTION = "upscale"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Brings images to another size. A width or height of 0 follows from the other one."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "image": socket("IMAGE", "The images."),
                "upscale_method": choice(PICTURE_METHODS, "How pixels between pixels are found."),
                "width": whole(512, 0, LARGEST, "The new width; 0 keeps the proportions."),
                "height": whole(512, 0, LARGEST, "The new height; 0 keeps the proportions."),
                "crop": choice(CROPS, "center: cut to the new proportions first. disabled: stretch."),
            }
        }

    def upscale(self, image: Tensor, upscale_method: str, width: int, height: int, crop: str) -> tuple[Tensor]:
        if not width and not height:
            return (image,)
        rows, columns = image.shape[1:3]
        width = width or max(1, round(columns * height / rows))
        height = height or max(1, round(rows * width / columns))
        return (picture_resized(image, width, height, upscale_method, crop),)


class ImageScaleBy:
    CATEGORY = "image/upscaling"
    FUNCTION = "upscale"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Scales images by a factor."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "image": socket("IMAGE", "The images."),
                "upscale_method": choice(PICTURE_METHODS, "How pixels between pixels are found."),
                "scale_by": number(1.0, 0.01, 8.0, 0.01, "The factor on width and height."),
            }
        }

    def upscale(self, image: Tensor, upscale_method: str, scale_by: float) -> tuple[Tensor]:
        width, height = round(image.shape[2] * scale_by), round(image.shape[1] * scale_by)
        return (picture_resized(image, width, height, upscale_method),)


def picture_resized(image: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """IMAGE (b, h, w, c) at another size; see `resize`."""
    return resize(image.movedim(-1, 1), width, height, method, crop).movedim(1, -1)


class ImageInvert:
    CATEGORY = "image"
    FUNCTION = "invert"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Turns every colour into its opposite."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"image": socket("IMAGE", "The images.")}}

    def invert(self, image: Tensor) -> tuple[Tensor]:
        return (1.0 - image,)


class ImageBatch:
    CATEGORY = "image"
    FUNCTION = "batch"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Joins two batches of images; the second takes the size of the first, cut at its edges."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "image1": socket("IMAGE", "The first images."),
                "image2": socket("IMAGE", "The images to follow."),
            }
        }

    def batch(self, image1: Tensor, image2: Tensor) -> tuple[Tensor]:
        """Return IMAGE; where only one of them has an alpha channel, the other is opaque."""
        channels = max(image1.shape[-1], image2.shape[-1])
        image1, image2 = (
            torch.nn.functional.pad(image, (0, channels - image.shape[-1]), value=1.0) for image in (image1, image2)
        )
        if image1.shape[1:] != image2.shape[1:]:
            image2 = picture_resized(image2, image1.shape[2], image1.shape[1], "bilinear", "center")
        return (torch.cat([image1, image2]),)


class EmptyImage:
    CATEGORY = "image"
    FUNCTION = "generate"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Images of a single colour."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        kind, options = whole(0, 0, 0xFFFFFF, "The colour, as red x 65536 + green x 256 + blue.")
        return {
            "required": {
                "width": whole(512, 1, LARGEST, "The width in pixels."),
                "height": whole(512, 1, LARGEST, "The height in pixels."),
                "batch_size": whole(1, 1, 4096, "How many images."),
                "color": (kind, {**options, "display": "color"}),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[Tensor]:
        """Return IMAGE (batch_size, height, width, 3)."""
        check_size("an image", batch_size, height, width, 3)
        rgb = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255], dtype=torch.float64) / 255
        return (rgb.float().expand(batch_size, height, width, 3).clone(),)
