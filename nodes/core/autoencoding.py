"""ComfyUI's nodes between images and latents."""

import torch.nn.functional as F
from torch import Tensor

from ..latents import FACTOR
from ..sockets import socket, toggle, whole

__all__ = ["InpaintModelConditioning", "VAEDecode", "VAEEncode", "VAEEncodeForInpaint"]


class VAEEncode:
    CATEGORY = "latent"
    FUNCTION = "encode"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "Encodes images into latents."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"pixels": socket("IMAGE", "The images."), "vae": socket("VAE", "The autoencoder.")}}

    def encode(self, vae, pixels: Tensor) -> tuple[dict]:
        return ({"samples": vae.encode(pixels[..., :3])},)


class VAEDecode:
    CATEGORY = "latent"
    FUNCTION = "decode"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Decodes latents back into images."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"samples": socket("LATENT", "The latents."), "vae": socket("VAE", "The autoencoder.")}}

    def decode(self, vae, samples: dict) -> tuple[Tensor]:
        return (vae.decode(samples["samples"]),)


def masked_grey(pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (b, h, w, c) with mid-grey where the mask is white, and the mask (b, 1, h, w): both cut to the factor.

    The mask takes the pictures' size; what is cut is cut evenly on both sides, as the autoencoder cuts.
    """
    rows, columns = pixels.shape[1:3]
    mask = F.interpolate(mask.reshape(-1, 1, *mask.shape[-2:]).float(), size=(rows, columns), mode="bilinear")
    top, left = rows % FACTOR // 2, columns % FACTOR // 2
    height, width = rows // FACTOR * FACTOR, columns // FACTOR * FACTOR
    mask = mask[:, :, top : top + height, left : left + width]
    pixels = pixels[:, top : top + height, left : left + width, :3]
    return (pixels - 0.5) * (1 - mask.round()).movedim(1, -1) + 0.5, mask


class VAEEncodeForInpaint:
    CATEGORY = "latent/inpaint"
    FUNCTION = "encode"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "Encodes images with grey under the mask, and puts the mask, grown a little, on the latent."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "pixels": socket("IMAGE", "The images."),
                "vae": socket("VAE", "The autoencoder."),
                "mask": socket("MASK", "White is inpainted."),
                "grow_mask_by": whole(6, 0, 64, "Pixels that the mask grows by, for a seam that doesn't show."),
            }
        }

    def encode(self, vae, pixels: Tensor, mask: Tensor, grow_mask_by: int = 6) -> tuple[dict]:
        """Return LATENT with `noise_mask` (b, 1, h, w) of zeros and ones."""
        pixels, mask = masked_grey(pixels, mask)
        hard = mask.round()
        if grow_mask_by:
            hard = F.max_pool2d(hard, grow_mask_by, stride=1, padding=grow_mask_by // 2)
        hard = hard[:, :, : mask.shape[2], : mask.shape[3]]
        return ({"samples": vae.encode(pixels), "noise_mask": hard},)


class InpaintModelConditioning:
    CATEGORY = "conditioning/inpaint"
    FUNCTION = "encode"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT")
    RETURN_NAMES = ("positive", "negative", "latent")
    DESCRIPTION = "Gives a model that was trained for inpainting the image around the mask, and the mask."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "positive": socket("CONDITIONING", "What the image should show."),
                "negative": socket("CONDITIONING", "What it should not show."),
                "vae": socket("VAE", "The autoencoder."),
                "pixels": socket("IMAGE", "The images."),
                "mask": socket("MASK", "White is inpainted."),
                "noise_mask": toggle(True, "Also keep the latent outside the mask, step by step."),
            }
        }

    def encode(self, positive, negative, pixels: Tensor, vae, mask: Tensor, noise_mask: bool = True) -> tuple:
        """Return both CONDITIONINGs, and the picture's LATENT."""
        around, mask = masked_grey(pixels, mask)
        seen = {"concat_latent_image": vae.encode(around), "concat_mask": mask}
        latent = {"samples": vae.encode(pixels[..., :3])}
        if noise_mask:
            latent["noise_mask"] = mask
        prompts = ([[text, {**options, **seen}] for text, options in prompt] for prompt in (positive, negative))
        return *prompts, latent
