"""Prompts to conditioning."""

from ..hosts import host
from .checks import verdict
from .sockets import socket, text

__all__ = ["DDIMConditioning", "encode"]


def encode(clip, prompt: str) -> list:
    """CONDITIONING of one prompt, by the calls that every CLIP answers to; ValueError where there is no CLIP."""
    if clip is None:
        raise ValueError("no CLIP, the checkpoint has no text encoder: take CLIP from a checkpoint that has one")
    return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))


class DDIMConditioning:
    DISPLAY_NAME = "Conditioning (DDIM)"
    CATEGORY = "DDIM"
    DESCRIPTION = (
        "Encodes a prompt and a negative prompt. Guidance steers away from the negative one, which may stay empty."
    )
    FUNCTION = "encode"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    OUTPUT_TOOLTIPS = (
        "The encoded prompt, for the sampler's positive input.",
        "The encoded negative prompt, for the sampler's negative input.",
    )
    SEARCH_ALIASES = ("prompt", "negative prompt", "clip text encode")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "clip": socket("CLIP", "The text encoder of the checkpoint."),
                "positive": text("", "What the image should show."),
                "negative": text("", "What the image should not show; may stay empty."),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, positive: str | None = None, negative: str | None = None) -> bool | str:
        return verdict(host.check_prompt, positive, negative)

    def encode(self, clip, positive: str, negative: str) -> tuple[list, list]:
        """Return both as CONDITIONING."""
        return encode(clip, positive), encode(clip, negative)
