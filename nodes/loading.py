"""Loading a model, and what steers it."""

from ..hosts import host
from .sockets import choice, rare, toggle

__all__ = ["DDIMLoadControlNet", "DDIMLoadModel"]


class DDIMLoadModel:
    DISPLAY_NAME = "Load Model (DDIM)"
    CATEGORY = "DDIM"
    DESCRIPTION = (
        "Loads a checkpoint. The first in the list is the small model that ships with this pack: try everything on it."
    )
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    OUTPUT_TOOLTIPS = (
        "The model that removes noise from latents.",
        "The text encoder, for prompts.",
        "The autoencoder between images and latents.",
    )
    SEARCH_ALIASES = ("checkpoint loader", "load checkpoint", "ckpt", "ddim-scenes", "demo model")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "ckpt_name": choice(
                    host.checkpoints(), "The checkpoint to load; ddim-scenes is the small model that ships."
                )
            }
        }

    def load(self, ckpt_name: str) -> tuple:
        """Return MODEL, CLIP and VAE."""
        return host.load_checkpoint(ckpt_name)


class DDIMLoadControlNet:
    DISPLAY_NAME = "Load ControlNet (DDIM)"
    CATEGORY = "DDIM"
    DESCRIPTION = (
        "Loads a ControlNet, for the node Apply ControlNet. The first in the list ships with this pack: it makes the "
        "small model draw what a line drawing outlines, white on black."
    )
    FUNCTION = "load"
    RETURN_TYPES = ("CONTROL_NET",)
    OUTPUT_TOOLTIPS = ("The ControlNet, for Apply ControlNet; it must be one for the model in use.",)
    SEARCH_ALIASES = ("controlnet loader", "load controlnet")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "control_net_name": choice(
                    host.controlnets(), "The ControlNet to load; it must be made for the model in use."
                )
            },
            "optional": {
                "guess_mode": rare(
                    toggle(
                        False,
                        "Guess mode of the original ControlNet: its influence falls with finer detail. Connect only "
                        "the positive prompt through Apply ControlNet then; an empty prompt will do.",
                    )
                )
            },
        }

    def load(self, control_net_name: str, guess_mode: bool = False) -> tuple:
        return (host.load_controlnet(control_net_name, guess_mode),)
