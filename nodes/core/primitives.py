"""ComfyUI's nodes that give a value: one widget, one output."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ...sampler import seed_noise
from ..sockets import seed, toggle, whole

__all__ = [
    "PrimitiveBoolean",
    "PrimitiveFloat",
    "PrimitiveInt",
    "PrimitiveString",
    "PrimitiveStringMultiline",
    "RandomNoise",
]


class Primitive:
    """What they share: the widget `value` goes out as it is."""

    CATEGORY = "utilities/primitive"
    FUNCTION = "give"

    def give(self, value) -> tuple:
        return (value,)


class PrimitiveInt(Primitive):
    RETURN_TYPES = ("INT",)
    DESCRIPTION = "An integer."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        kind, options = whole(0, -sys.maxsize, sys.maxsize, "The integer.")
        return {"required": {"value": (kind, {**options, "control_after_generate": "fixed"})}}


class PrimitiveFloat(Primitive):
    RETURN_TYPES = ("FLOAT",)
    DESCRIPTION = "A number."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        options = {"default": 0.0, "min": -sys.maxsize, "max": sys.maxsize, "step": 0.1, "tooltip": "The number."}
        return {"required": {"value": ("FLOAT", options)}}


class PrimitiveString(Primitive):
    RETURN_TYPES = ("STRING",)
    DESCRIPTION = "A line of text."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"value": ("STRING", {"default": "", "multiline": False, "tooltip": "The text."})}}


class PrimitiveStringMultiline(Primitive):
    RETURN_TYPES = ("STRING",)
    DESCRIPTION = "Text of several lines."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"value": ("STRING", {"default": "", "multiline": True, "tooltip": "The text."})}}


class PrimitiveBoolean(Primitive):
    RETURN_TYPES = ("BOOLEAN",)
    DESCRIPTION = "True or false."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"value": toggle(False, "True or false.")}}


@dataclass(frozen=True)
class SeededNoise:
    """A NOISE as ComfyUI's custom samplers ask for it."""

    seed: int

    def generate_noise(self, latent: dict) -> Tensor:
        """Noise of the size of LATENT's samples; entries with a `batch_index` get that of their place."""
        index: Sequence[int] | None = latent.get("batch_index")
        return seed_noise(self.seed, latent["samples"].shape, index)


class RandomNoise:
    CATEGORY = "sampling/custom_sampling/noise"
    FUNCTION = "get_noise"
    RETURN_TYPES = ("NOISE",)
    DESCRIPTION = "Noise from a seed, for custom samplers."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"noise_seed": seed("The seed of the noise.")}}

    def get_noise(self, noise_seed: int) -> tuple[SeededNoise]:
        return (SeededNoise(noise_seed),)
