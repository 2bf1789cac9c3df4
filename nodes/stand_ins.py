"""ComfyUI's own nodes that the shared workflows use, for running without ComfyUI: the same names, inputs and outputs.

They are given to this package's runner only; inside ComfyUI its own are used.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from .conditioning import encode
from .files import inside, png_text, save_pictures
from .host import host
from .inputs import choice, socket, text, whole
from .latents import empty_latent

__all__ = ["STAND_IN_CLASS_MAPPINGS"]

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class CheckpointLoaderSimple:
    """Loads a checkpoint."""

    CATEGORY = "loaders"
    FUNCTION = "load_checkpoint"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    DESCRIPTION = "Loads a checkpoint."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """The checkpoints at hand."""
        return {"required": {"ckpt_name": choice(host.checkpoints(), "The name of the checkpoint (model) to load.")}}

    def load_checkpoint(self, ckpt_name: str) -> tuple:
        """Return MODEL, CLIP and VAE."""
        return host.load_checkpoint(ckpt_name)


class CLIPTextEncode:
    """Encodes a prompt."""

    CATEGORY = "conditioning"
    FUNCTION = "encode"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Encodes a text prompt."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """A prompt and a text encoder."""
        return {
            "required": {
                "text": text("", "The text to be encoded."),
                "clip": socket("CLIP", "The CLIP model used for encoding the text."),
            }
        }

    def encode(self, clip, text: str) -> tuple[list]:
        """Return CONDITIONING."""
        return (encode(clip, text),)


class EmptyLatentImage:
    """An empty latent."""

    CATEGORY = "latent"
    FUNCTION = "generate"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "A batch of empty latents, to be denoised."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """Size and number."""
        return {
            "required": {
                "width": whole(512, 16, 16384, "The width of the latent images in pixels.", 8),
                "height": whole(512, 16, 16384, "The height of the latent images in pixels.", 8),
                "batch_size": whole(1, 1, 4096, "The number of latent images in the batch."),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1) -> tuple[dict]:
        """Return LATENT."""
        return (empty_latent(width, height, batch_size),)


class VAEEncode:
    """Encodes a picture."""

    CATEGORY = "latent"
    FUNCTION = "encode"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "Encodes pictures into latents."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """A picture and an autoencoder."""
        return {"required": {"pixels": socket("IMAGE", "The pictures."), "vae": socket("VAE", "The autoencoder.")}}

    def encode(self, vae, pixels: torch.Tensor) -> tuple[dict]:
        """Return LATENT."""
        return ({"samples": vae.encode(pixels[..., :3])},)


class VAEDecode:
    """Decodes a latent."""

    CATEGORY = "latent"
    FUNCTION = "decode"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Decodes latents back into pictures."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """A latent and an autoencoder."""
        return {"required": {"samples": socket("LATENT", "The latents."), "vae": socket("VAE", "The autoencoder.")}}

    def decode(self, vae, samples: dict) -> tuple[torch.Tensor]:
        """Return IMAGE."""
        return (vae.decode(samples["samples"]),)


class SetLatentNoiseMask:
    """Puts a mask on a latent."""

    CATEGORY = "latent/inpaint"
    FUNCTION = "set_mask"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "Keeps the latent where the mask is black."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """A latent and a mask."""
        return {
            "required": {"samples": socket("LATENT", "The latents."), "mask": socket("MASK", "White is painted anew.")}
        }

    def set_mask(self, samples: dict, mask: torch.Tensor) -> tuple[dict]:
        """Return LATENT with `noise_mask` (b, 1, h, w)."""
        return ({**samples, "noise_mask": mask.reshape(-1, 1, *mask.shape[-2:])},)


class LoadImage:
    """Reads a picture from the input folder."""

    CATEGORY = "image"
    FUNCTION = "load_image"
    RETURN_TYPES = ("IMAGE", "MASK")
    DESCRIPTION = "Loads a picture, and a mask that is white where the picture is transparent."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """The pictures in the input folder."""
        folder = host.input_dir()
        found = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in PICTURES) if folder.is_dir() else []
        return {"required": {"image": (found, {"image_upload": True, "tooltip": "A picture in the input folder."})}}

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        """Say what is wrong with a file name before anything runs."""
        try:
            return True if cls._path(image).is_file() else f"no such picture in the input folder: {image!r}"
        except ValueError as error:
            return str(error)

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        """Run again when the file has changed."""
        status = cls._path(image).stat()
        return f"{status.st_mtime_ns} {status.st_size}"

    @staticmethod
    def _path(image: str) -> Path:
        folder = host.input_dir()
        for mark, place in ((" [input]", folder), (" [output]", host.output_dir()), (" [temp]", host.temp_dir())):
            if image.endswith(mark):
                folder, image = place, image.removesuffix(mark)
        return inside(folder, image)

    def load_image(self, image: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return IMAGE (1, h, w, 3) and MASK (1, h, w), which is 64 x 64 zeros for a picture without transparency."""
        try:
            with Image.open(self._path(image)) as file:
                picture = ImageOps.exif_transpose(file)
                transparent = "A" in picture.getbands() or "transparency" in picture.info
                rgba = np.array(picture.convert("RGBA"), dtype=np.float32) / 255
        except OSError as error:
            raise ValueError(f"{image!r} is no readable picture: {error}") from error
        pixels = torch.from_numpy(rgba)[None]
        mask = 1 - pixels[..., 3] if transparent else torch.zeros(1, 64, 64)
        return pixels[..., :3].contiguous(), mask


class SaveImage:
    """Writes pictures into the output folder."""

    CATEGORY = "image"
    FUNCTION = "save_images"
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    DESCRIPTION = "Saves the pictures, with the workflow that made them inside."
    KIND = "output"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """Pictures and the beginning of their names."""
        return {
            "required": {
                "images": socket("IMAGE", "The images to save."),
                "filename_prefix": text(
                    "ComfyUI", "The prefix for the file to save; may name a folder.", multiline=False
                ),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, filename_prefix: str) -> bool | str:
        """Say what is wrong with a file name before anything runs."""
        try:
            inside(host.output_dir(), filename_prefix)
        except ValueError as error:
            return str(error)
        return True

    def save_images(self, images, filename_prefix="ComfyUI", prompt=None, extra_pnginfo=None) -> dict:
        """Write the files and name them to the host."""
        folder = host.output_dir()
        paths = save_pictures(images, folder, filename_prefix, png_text(prompt, extra_pnginfo))
        return {"ui": {"images": [_named(path, folder, self.KIND) for path in paths]}}


class PreviewImage(SaveImage):
    """Shows pictures: writes them into the temporary folder."""

    DESCRIPTION = "Shows the pictures, without saving them for good."
    KIND = "temp"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """Pictures."""
        return {
            "required": {"images": socket("IMAGE", "The images to show.")},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls) -> bool:
        """Nothing to check: there is no name."""
        return True

    def save_images(self, images, prompt=None, extra_pnginfo=None) -> dict:
        """Write the files and name them to the host."""
        folder = host.temp_dir()
        paths = save_pictures(images, folder, "ComfyUI_temp", png_text(prompt, extra_pnginfo), compress=1)
        return {"ui": {"images": [_named(path, folder, self.KIND) for path in paths]}}


def _named(path: Path, folder: Path, kind: str) -> dict[str, str]:
    below = path.parent.relative_to(folder.resolve()).as_posix()
    return {"filename": path.name, "subfolder": "" if below == "." else below, "type": kind}


STAND_IN_CLASS_MAPPINGS: dict[str, type] = {
    node.__name__: node
    for node in (
        CheckpointLoaderSimple,
        CLIPTextEncode,
        EmptyLatentImage,
        LoadImage,
        PreviewImage,
        SaveImage,
        SetLatentNoiseMask,
        VAEDecode,
        VAEEncode,
    )
}
