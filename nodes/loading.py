"""Loading a model."""

from .host import host
from .inputs import choice

__all__ = ["DDIMLoadModel"]


class DDIMLoadModel:
    """A checkpoint's three parts: the diffusion model, the text encoder, the autoencoder."""

    CATEGORY = "DDIM"
    DESCRIPTION = (
        "Loads a checkpoint. The first in the list is the small model that ships with this pack: try everything on it."
    )
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    OUTPUT_TOOLTIPS = (
        "The model that removes noise from latents.",
        "The text encoder, for prompts.",
        "The autoencoder between pictures and latents.",
    )
    SEARCH_ALIASES = ("checkpoint loader", "load checkpoint")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """The checkpoints at hand."""
        return {"required": {"ckpt_name": choice(host.checkpoints(), "The checkpoint to load.")}}

    def load(self, ckpt_name: str) -> tuple:
        """Return MODEL, CLIP and VAE."""
        return host.load_checkpoint(ckpt_name)
