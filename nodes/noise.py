"""Noise to start from: of seeds, and from files."""

import math
from pathlib import Path

import torch

from ..hosts import host
from ..sampler import seed_noise, slerp
from .checks import as_text, shown, verdict
from .files import inside
from .noise_files import ENDINGS, read_noise
from .sockets import choice, number, seed, socket, whole

__all__ = ["DDIMLoadNoise", "DDIMNoise"]

EXAMPLES = Path(__file__).parents[1] / "workflows" / "noise"


class DDIMNoise:
    DISPLAY_NAME = "Noise (DDIM)"
    CATEGORY = "DDIM/latents"
    DESCRIPTION = (
        "Initial noise from a seed. A strength above 0 blends it toward another seed's noise, for variations of an "
        "image; several frames give a sequence from one image to another."
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
                "latent": socket("LATENT", "Only its size is used."),
                "seed": seed("The seed of the noise."),
                "variation_seed": whole(1, 0, 2**64 - 1, "The seed to blend toward."),
                "strength": number(0.0, 0, 1, 0.01, "How far to blend: 0 is the first seed's noise, 1 the other's."),
                "frames": whole(
                    1, 1, 1000, "Number of frames, from no blend to the full strength; 1 gives the full strength alone."
                ),
            },
            "optional": {
                "x_T_from": socket("LATENT", "Noise to blend from; replaces the first seed's."),
                "x_T_to": socket("LATENT", "Noise to blend toward; replaces the other seed's."),
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


def example_names() -> list[str]:
    """The files that ship."""
    return sorted(path.name for path in EXAMPLES.glob("*.latent"))


def noise_file(name: str) -> Path:
    """The file of a name: one that ships, or one of the input folder; ValueError for one that is in neither."""
    if name in example_names():
        return EXAMPLES / name
    path = inside(host.input_dir(), name)
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        raise ValueError(
            f"no noise {shown(name)} in the input folder, expected a file there that ends in {', '.join(ENDINGS)}, or "
            f"one of {', '.join(example_names())}"
        )
    return path


class DDIMLoadNoise:
    DISPLAY_NAME = "Load Noise (DDIM)"
    CATEGORY = "DDIM/latents"
    DESCRIPTION = (
        "Noise from a file: what Save Latent wrote, or a script of your own. The same file gives the same x_T on every "
        "machine, whatever its random number generator."
    )
    FUNCTION = "load"
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("x_T",)
    OUTPUT_TOOLTIPS = ("The noise as the file has it, for the sampler's x_T input.",)
    SEARCH_ALIASES = ("load latent", "x_T from file", "start_code", "npy", "safetensors")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        folder = host.input_dir()
        own = (path.name for path in folder.iterdir() if path.suffix.lower() in ENDINGS) if folder.is_dir() else ()
        names = [*example_names(), *sorted(own)]
        return {
            "required": {
                "file": choice(
                    list(dict.fromkeys(names)), "A file in ComfyUI's input folder, or one that ships with this pack."
                )
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None = None) -> bool | str:
        return verdict(noise_file, file)

    @classmethod
    def IS_CHANGED(cls, file: str | None = None) -> str | float:
        """Run again when the file has changed, and always where a wire brings its name."""
        if file is None:
            return math.nan
        status = noise_file(as_text(file)).stat()
        return f"{status.st_mtime_ns} {status.st_size}"

    def load(self, file: str) -> tuple[dict]:
        """Return LATENT of the file's noise."""
        return ({"samples": read_noise(noise_file(as_text(file)))},)
