"""ComfyUI's nodes that keep latents in files: safetensors with `latent_tensor`, and the workflow in their metadata."""

import hashlib
import math
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save as as_bytes

from ...hosts import host
from ...hosts.bounds import check_size
from ..checks import as_text, shown, verdict
from ..files import save_numbered
from ..noise_files import LATENT
from ..picture_formats import workflow_texts
from .images import InputPicture
from .saving import SavesFiles, named

__all__ = ["LoadLatent", "SaveLatent"]

ENDING = ".latent"
SCALED = "latent_format_version_0"
"""An empty tensor that says that the latents are scaled for the model; older files hold them as Stable Diffusion's
autoencoder gives them."""
OLD_FACTOR = 0.18215


class SaveLatent(SavesFiles):
    CATEGORY = "latent"
    FUNCTION = "save"
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("samples",)
    DESCRIPTION = "Saves latents, with the workflow that made them inside."
    SAVED = ("samples", "LATENT", "The latents to save.")
    PREFIX = "latents/ComfyUI"

    def save(self, samples: dict, filename_prefix: str = "ComfyUI", prompt=None, extra_pnginfo=None) -> dict:
        folder = host.output_dir()
        tensors = {LATENT: samples["samples"].cpu().contiguous(), SCALED: torch.empty(0)}
        data = as_bytes(tensors, workflow_texts(prompt, extra_pnginfo))
        path = save_numbered(data, folder, filename_prefix, ENDING)
        return {"ui": {"latents": [named(path, folder, "output")]}, "result": (samples,)}


class LoadLatent:
    CATEGORY = "latent"
    FUNCTION = "load"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "Loads latents that Save Latent has saved."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        folder = host.input_dir()
        found = sorted(path.name for path in folder.iterdir() if path.suffix == ENDING) if folder.is_dir() else []
        return {"required": {"latent": (found, {"tooltip": "A latent in the input folder."})}}

    @classmethod
    def VALIDATE_INPUTS(cls, latent: str | None = None) -> bool | str:
        return verdict(cls.existing, latent)

    @classmethod
    def IS_CHANGED(cls, latent: str | None = None) -> str | float:
        return math.nan if latent is None else hashlib.sha256(cls.existing(latent).read_bytes()).hexdigest()

    @staticmethod
    def existing(latent: str) -> Path:
        """The file of a name; ValueError for one that isn't there."""
        path = InputPicture.path(as_text(latent))
        if not path.is_file():
            raise ValueError(f"no such latent in the input folder: {shown(latent)}")
        return path

    def load(self, latent: str) -> tuple[dict]:
        """Raises ValueError for a file that isn't a latent's."""
        path = self.existing(latent)
        check_size(f"{latent}: a latent", max(1, path.stat().st_size // 4))
        try:
            tensors = load(path.read_bytes())
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(f"{latent}: expected a latent as Save Latent writes it, {error}") from None
        samples = tensors.get(LATENT)
        if samples is None or samples.ndim < 3 or samples.numel() == 0:
            found = ", ".join(sorted(tensors)[:5]) if samples is None else f"one of the shape {tuple(samples.shape)}"
            raise ValueError(f"{latent}: expected a tensor {LATENT} (b, channels, h, w), got {found or 'nothing'}")
        samples = samples.float()
        return ({"samples": samples if SCALED in tensors else samples / OLD_FACTOR},)
