"""The host without ComfyUI: this package's own models behind the calls that ComfyUI's MODEL, CLIP and VAE answer to."""

import threading
from functools import lru_cache
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from ..executor import context
from ..networks import LatentDiffusion, load_checkpoint

__all__ = ["Clip", "LightHost", "Model", "Vae"]

SHIPPED = Path(__file__).parents[1] / "demo" / "ddim-scenes.safetensors"
ENDINGS = (".safetensors",)


class Model:
    """MODEL: the diffusion network, on its device."""

    def __init__(self, diffusion: LatentDiffusion) -> None:
        self.diffusion = diffusion


class Clip:
    """CLIP: text to conditioning, in the two steps that ComfyUI's nodes take."""

    def __init__(self, diffusion: LatentDiffusion) -> None:
        self.diffusion = diffusion

    def tokenize(self, text: str) -> list[str]:
        """The texts to encode."""
        return [text]

    def encode_from_tokens_scheduled(self, tokens: list[str]) -> list:
        """CONDITIONING: [[(1, n, width) tensor, {}]]."""
        return [[self.diffusion.encode_text(tokens).cpu(), {}]]


class Vae:
    """VAE: IMAGE (b, h, w, 3) in [0, 1] to unscaled latents (b, 4, h/8, w/8) and back."""

    def __init__(self, diffusion: LatentDiffusion) -> None:
        self.diffusion = diffusion
        self.factor = diffusion.config.autoencoder.factor

    def encode(self, pixels: Tensor) -> Tensor:
        """Latents of a picture; edges past a multiple of 8 pixels are cut, evenly on both sides."""
        height, width = pixels.shape[1] // self.factor * self.factor, pixels.shape[2] // self.factor * self.factor
        if not height or not width:
            raise ValueError(
                f"picture of {pixels.shape[2]} x {pixels.shape[1]} pixels, expected at least {self.factor} each way"
            )
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        pixels = pixels[:, top : top + height, left : left + width, :3]
        return self.diffusion.encode_picture(rearrange(pixels, "b h w c -> b c h w") * 2 - 1).cpu()

    def decode(self, samples: Tensor) -> Tensor:
        """The picture of latents."""
        x = self.diffusion.decode_latent(samples)
        return rearrange((x + 1) / 2, "b c h w -> b h w c").cpu()


class LightHost:
    """What nodes ask of the world around them, answered by this package alone."""

    name = "light"

    def checkpoints(self) -> list[str]:
        """Names that a loader offers: the shipped model first, then what lies in the models folder."""
        folder = context.current().models_dir / "checkpoints"
        found = (path for path in folder.rglob("*") if path.suffix in ENDINGS) if folder.is_dir() else ()
        return [SHIPPED.name, *sorted(path.relative_to(folder).as_posix() for path in found)]

    def load_checkpoint(self, name: str) -> tuple[Model, Clip, Vae]:
        """Load one of `checkpoints()`; a file that hasn't changed is loaded once."""
        path = SHIPPED if name == SHIPPED.name else context.current().models_dir / "checkpoints" / name
        diffusion = _load(path, path.stat().st_mtime_ns if path.is_file() else 0, self.device())
        return Model(diffusion), Clip(diffusion), Vae(diffusion)

    def device(self) -> str:
        """The device that models run on: what the run asked for, or the best there is."""
        asked = context.current().device
        if asked != "auto":
            return asked
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    def input_dir(self) -> Path:
        """Where LoadImage reads."""
        return context.current().input_dir

    def output_dir(self) -> Path:
        """Where SaveImage writes."""
        return context.current().output_dir

    def temp_dir(self) -> Path:
        """Where PreviewImage writes."""
        return context.current().temp_dir

    def progress(self, value: int, total: int, preview=None) -> None:
        """Tell that `value` of `total` steps are done; raises what stops the run when a stop was asked for."""
        context.progress(value, total, preview)


_lock = threading.Lock()


@lru_cache(maxsize=2)
def _load_once(path: Path, changed: int, device: str) -> LatentDiffusion:
    return load_checkpoint(path, device)


def _load(path: Path, changed: int, device: str) -> LatentDiffusion:
    with _lock:
        return _load_once(path, changed, device)
