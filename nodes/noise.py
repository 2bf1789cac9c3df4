"""Noise to start from."""

import torch

from ..sampler import seed_noise, slerp
from .sockets import number, seed, socket, whole

__all__ = ["DDIMNoise"]


class DDIMNoise:
    DISPLAY_NAME = "Noise (DDIM)"
    CATEGORY = "DDIM/latents"
    DESCRIPTION = (
        "Noise to start from. With a strength above 0 it is blended toward another seed's: variations of one image. "
        "With several frames it goes there step by step: a strip between two images."
    )
    FUNCTION = "make"
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("x_T",)
    OUTPUT_TOOLTIPS = ("Noise of unit variance, for the sampler's x_T input.",)
    SEARCH_ALIASES = ("variation seed", "slerp", "interpolation")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "latent": socket("LATENT", "Only its size is taken."),
                "seed": seed("The seed of the noise."),
                "variation_seed": whole(1, 0, 2**64 - 1, "The seed to blend toward."),
                "strength": number(0.0, 0, 1, 0.01, "How far to blend: 0 is the first seed's noise, 1 the other's."),
                "frames": whole(
                    1, 1, 1000, "Number of frames, from no blend to the full strength; 1 gives the full strength alone."
                ),
            },
            "optional": {
                "x_T_from": socket("LATENT", "Noise to blend from, in place of the first seed's."),
                "x_T_to": socket("LATENT", "Noise to blend toward, in place of the other seed's."),
            },
        }

    def make(
        self,
        latent: dict,
        seed: int,
        variation_seed: int,
        strength: float,
        frames: int,
        x_T_from: dict | None = None,
        x_T_to: dict | None = None,
    ) -> tuple[dict]:
        """Return LATENT of noise, frames x the batch."""
        shape = latent["samples"].shape
        a = seed_noise(seed, shape) if x_T_from is None else x_T_from["samples"]
        b = seed_noise(variation_seed, shape) if x_T_to is None else x_T_to["samples"]
        weights = [strength] if frames == 1 else [strength * i / (frames - 1) for i in range(frames)]
        return ({"samples": torch.cat([slerp(a, b, weight) for weight in weights])},)
