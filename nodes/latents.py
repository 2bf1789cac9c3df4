"""Latents: empty ones, and the way between images and latents."""

import torch

from ..hosts import host
from ..hosts.bounds import check_size
from .sockets import socket, whole

__all__ = ["DDIMDecode", "DDIMEmptyLatent", "DDIMEncode", "empty_latent"]

FACTOR = 8


def empty_latent(width: int, height: int, batch_size: int) -> dict:
    """LATENT of zeros for images of width x height pixels."""
    shape = batch_size, 4, height // FACTOR, width // FACTOR
    check_size("a latent", *shape)
    return {"samples": torch.zeros(shape)}


class DDIMEmptyLatent:
    DISPLAY_NAME = "Empty Latent (DDIM)"
    CATEGORY = "DDIM/latents"
    DESCRIPTION = (
        "An empty latent for images of the given size. The model that ships draws 128 x 128, Stable "
        "Diffusion 1 draws 512 x 512."
    )
    FUNCTION = "make"
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("Zeros, one latent pixel for 8 x 8 pixels.",)
    SEARCH_ALIASES = ("empty latent image", "size", "resolution", "batch size")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "width": whole(128, 16, 16384, "Width of the image in pixels.", FACTOR),
                "height": whole(128, 16, 16384, "Height of the image in pixels.", FACTOR),
                "batch_size": whole(1, 1, 4096, "How many images to make at once."),
            }
        }

    def make(self, width: int, height: int, batch_size: int) -> tuple[dict]:
        """Return LATENT (batch_size, 4, height / 8, width / 8)."""
        return (empty_latent(width, height, batch_size),)


class DDIMEncode:
    DISPLAY_NAME = "Encode (DDIM)"
    CATEGORY = "DDIM/latents"
    DESCRIPTION = "Encodes an image into a latent, to start from it or to keep parts of it."
    FUNCTION = "encode"
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The image's latent, one latent pixel for 8 x 8 pixels.",)
    SEARCH_ALIASES = ("vae encode", "image to latent", "img2img")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "pixels": socket("IMAGE", "The image to encode; it is cropped to multiples of 8 pixels."),
                "vae": socket("VAE", "The autoencoder of the checkpoint."),
            }
        }

    def encode(self, pixels: torch.Tensor, vae) -> tuple[dict]:
        """Return LATENT (b, 4, h / 8, w / 8) of IMAGE (b, h, w, 3)."""
        return ({"samples": host.encode(vae, pixels[..., :3])},)


class DDIMDecode:
    DISPLAY_NAME = "Decode (DDIM)"
    CATEGORY = "DDIM/latents"
    DESCRIPTION = "Decodes latents into images."
    FUNCTION = "decode"
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The decoded images.",)
    SEARCH_ALIASES = ("vae decode", "latent to image")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "samples": socket("LATENT", "The latents to decode."),
                "vae": socket("VAE", "The autoencoder of the checkpoint."),
            }
        }

    def decode(self, samples: dict, vae) -> tuple[torch.Tensor]:
        """Return IMAGE (b, h, w, 3) of LATENT (b, 4, h / 8, w / 8)."""
        return (host.decode(vae, samples["samples"]),)
