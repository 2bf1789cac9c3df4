"""The host without ComfyUI: this package's own models behind the calls that ComfyUI's MODEL, CLIP and VAE answer to."""

import threading
from functools import lru_cache
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from ..executor import context
from ..networks import LatentDiffusion, load_checkpoint
from ..sampler import KeyedNoise, ModelGuide, Schedule
from ..sampler.conditioning import fit
from .plan import Plan, fit_batch, latent_mask, run, seed_noise

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


def sample(diffusion: LatentDiffusion, positive: list, negative: list, latent: dict, plan: Plan) -> tuple[dict, ...]:
    """Run a plan on this package's own model; see `LightHost.sample`."""
    scale, device = diffusion.scale_factor, diffusion.device
    samples = latent["samples"].to(device, torch.float32) * scale
    channels = diffusion.config.unet.in_channels
    if samples.ndim != 4 or samples.shape[1] != channels:
        raise ValueError(f"latent of shape {tuple(samples.shape)}, expected (batch, {channels}, height, width)")
    batch = len(samples)
    cond, uncond = (_conditioning(c, name).to(device) for c, name in ((positive, "positive"), (negative, "negative")))
    cond, uncond = fit(cond, batch, "positive"), fit(uncond, batch, "negative")

    def make_guide(schedule: Schedule) -> ModelGuide:
        return ModelGuide(diffusion, cond, uncond, plan.guidance.scales(len(schedule)), plan.guidance)

    mask = plan.mask if plan.mask is not None else latent.get("noise_mask")
    keep = None
    if mask is not None:
        x0 = samples if plan.x0 is None else fit_batch(plan.x0.to(samples) * scale, samples, "x0")
        keep = (1 - latent_mask(mask, samples), x0)
    elif plan.x0 is not None:
        raise ValueError("x0 is given without a mask, expected a mask that says where to keep it")
    index = latent.get("batch_index")
    noise = KeyedNoise((plan.seed,) * batch, tuple(index or range(batch)))
    x_T = seed_noise(plan.seed, samples.shape, index) if plan.x_T is None else plan.x_T
    x_T = fit_batch(x_T.to(samples), samples, "x_T")
    alphas, kind = diffusion.alphas_cumprod, diffusion.parameterization
    result = run(plan, x_T, samples, alphas, kind, make_guide, keep, noise, context.progress)
    passed_on = {key: value for key, value in latent.items() if key not in ("samples", "noise_mask")}
    first = {**passed_on, "samples": result.x / scale}
    return first, *({"samples": x / scale} for x in (result.x0, result.states, result.predictions))


def _conditioning(entries: list, name: str) -> Tensor:
    if len(entries) != 1:
        raise ValueError(f"{name} has {len(entries)} prompts combined, expected 1: run with --comfyui for more")
    return entries[0][0]


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

    def sample(self, model: Model, positive: list, negative: list, latent: dict, plan: Plan) -> tuple[dict, ...]:
        """Run a plan; LATENT four times: the result, the last x0, and both after each step."""
        return sample(model.diffusion, positive, negative, latent, plan)

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
