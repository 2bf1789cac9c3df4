"""The host without ComfyUI: this package's own models behind the calls that ComfyUI's MODEL, CLIP and VAE answer to."""

import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ...executor import context
from ...networks import DiffusionRun, LatentDiffusion, load_autoencoder, load_checkpoint, load_controlnet
from ...sampler import FixedPoint, Guide, Predictor, Schedule, X0Filter, quantizer
from ..plan import Plan, Table, fit_batch, latent_mask
from ..sampling import Inverted, follow, invert, run
from .clip import Clip
from .conditioning import Frame, read_prompts
from .controlnet import ControlModel
from .guide import make_guide
from .ksampler import KSampling, SamplerNoise
from .model_folders import ModelFolders
from .resize import cycled
from .schedulers import Levels
from .vae import Vae

__all__ = ["Clip", "LightHost", "Model", "Vae"]

SHIPPED = Path(__file__).parents[2] / "demo" / "ddim-scenes.safetensors"
SHIPPED_CONTROL = SHIPPED.with_stem("ddim-scenes-outline")
SHIPPED_MODELS = {"checkpoints": SHIPPED, "controlnet": SHIPPED_CONTROL}


class Model:
    """MODEL: the diffusion network, on its device."""

    def __init__(self, diffusion: LatentDiffusion) -> None:
        self.diffusion = diffusion


class Sampling:
    """A plan on this package's own model: what a run and its inversion both need."""

    def __init__(self, diffusion: LatentDiffusion, positive: list, negative: list, latent: dict, plan: Plan) -> None:
        """Put everything on the model's device; ValueError for what doesn't fit together."""
        self.diffusion, self.plan, self.device = diffusion, plan, diffusion.device
        samples, channels = latent["samples"], diffusion.config.unet.out_channels
        if samples.ndim != 4 or samples.shape[1] != channels:
            raise ValueError(f"latent of shape {tuple(samples.shape)}, expected (batch, {channels}, height, width)")
        batch = plan.batch(samples)
        self.samples = self.scaled(fit_batch(samples, torch.Size((batch, *samples.shape[1:])), "latent"))
        mask = plan.mask if plan.mask is not None else latent.get("noise_mask")
        self.mask = None if mask is None else latent_mask(mask, self.samples)
        self.positive, self.negative = read_prompts(positive, negative, Frame(diffusion, self.samples, self.mask))
        self.cond = self.positive[0].text if len(self.positive) == 1 else positive

    def scaled(self, samples: Tensor) -> Tensor:
        """An unscaled latent as the model's."""
        return samples.to(self.device, torch.float32) * self.diffusion.scale_factor

    def unscaled(self, samples: Tensor) -> dict:
        """LATENT of one of the model's latents."""
        return {"samples": samples / self.diffusion.scale_factor}

    def guide(self, schedule: Schedule) -> Guide:
        """The guided model call."""
        return make_guide(
            DiffusionRun(self.diffusion, schedule.timesteps),
            self.positive,
            self.negative,
            self.samples.shape,
            schedule,
            self.plan.guidance,
        )

    def keep(self) -> tuple[Tensor, Tensor] | None:
        """(mask, x0) in the sampler's convention, 1 keeps; None without a mask."""
        if self.mask is None:
            if self.plan.x0 is not None:
                raise ValueError("x0 is given without a mask, expected a mask that says where to keep it")
            return None
        x0 = self.samples if self.plan.x0 is None else fit_batch(self.scaled(self.plan.x0), self.samples.shape, "x0")
        return 1 - self.mask, x0

    def filters(self) -> list[X0Filter]:
        """What the model's first stage does to x0 predictions."""
        if not self.plan.options.quantize:
            return []
        quantize = getattr(self.diffusion.first_stage_model, "quantize", None)
        if quantize is None:
            raise ValueError("quantize is on, and the model's autoencoder has no codebook: expected a VQ model")
        return [quantizer(quantize, self.diffusion.scale_factor)]


def _report(done: int, total: int, x0: Tensor | None) -> None:
    context.progress(done, total)


class LightHost:
    """What nodes ask of the world around them, answered by this package alone."""

    name = "light"

    def checkpoints(self) -> list[str]:
        """Names that a loader offers: the shipped model first, then what lies in the models folder."""
        return self._folders().names("checkpoints")

    def controlnets(self) -> list[str]:
        """Names that a ControlNet loader offers: the shipped one first, then what lies in the models folder."""
        return self._folders().names("controlnet")

    def vaes(self) -> list[str]:
        """Names that a VAE loader offers."""
        return self._folders().names("vae")

    def diffusers(self) -> list[str]:
        """Names of diffusers folders."""
        return self._folders().names("diffusers")

    def embeddings(self) -> list[Path]:
        """Folders in which a prompt's embeddings lie."""
        return [folder for folder in self._folders().folders("embeddings") if folder.is_dir()]

    def find(self, kind: str, name: str) -> Path:
        """The file of a kind ("checkpoints", "controlnet", "vae", "diffusers") by a workflow's name for it.

        Raises ValueError, with the folders looked in and names like it, for one that isn't there.
        """
        return self._folders().find(kind, name)

    def load_checkpoint(self, name: str, kind: str = "checkpoints") -> tuple[Model, Clip, Vae]:
        """Load one of `checkpoints()`, or of `diffusers()`; one that hasn't changed is loaded once."""
        diffusion = _load(load_checkpoint, self.find(kind, name), self.device(), self.dtype())
        return Model(diffusion), Clip(diffusion, self.embeddings), Vae(diffusion.first_stage_model)

    def load_controlnet(self, name: str, guess: bool = False) -> ControlModel:
        """Load one of `controlnets()`, in guess mode or not."""
        path = self.find("controlnet", name)
        averaged = path.stem.removesuffix("_fp16").endswith("_shuffle")
        return ControlModel(_load(load_controlnet, path, self.device(), self.dtype()), averaged, guess)

    def load_vae(self, name: str) -> Vae:
        """Load one of `vaes()`."""
        return Vae(_load(load_autoencoder, self.find("vae", name), self.device(), self.dtype()))

    def _folders(self) -> ModelFolders:
        return ModelFolders.of(context.current().models_dir, SHIPPED_MODELS)

    def sample(self, model: Model, positive: list, negative: list, latent: dict, plan: Plan) -> tuple[dict, ...]:
        """Run a plan; LATENT four times: the result, the last x0, and both after each kept step."""
        own, diffusion = Sampling(model.diffusion, positive, negative, latent, plan), model.diffusion
        result = run(
            plan,
            own.samples,
            diffusion.alphas_cumprod,
            diffusion.parameterization,
            own.guide,
            own.keep(),
            latent.get("batch_index"),
            _report,
            own.filters(),
            (diffusion, own.cond),
        )
        others = (own.unscaled(x) for x in (result.x0, result.states, result.predictions))
        return {**latent, **own.unscaled(result.x)}, *others

    def ksample(self, model: Model, positive: list, negative: list, latent: dict, asked: KSampling) -> dict:
        """Run what a KSampler node asks for; LATENT."""
        levels = Levels.of(model.diffusion.alphas_cumprod)
        sigmas = asked.sigmas(levels)
        if len(sigmas) < 2:
            return latent
        mask = latent.get("noise_mask")
        mask = None if mask is None else cycled(mask, len(latent["samples"]))
        plan = Plan(asked.seed, asked.steps, scale=asked.cfg, mask=mask, table=Table("comfyui"))
        own, schedule = Sampling(model.diffusion, positive, negative, latent, plan), asked.schedule(levels, sigmas)
        noise = asked.noise(own.samples, latent.get("batch_index")).to(own.samples)
        keep = own.keep()
        result = follow(
            plan.options,
            Predictor(own.guide(schedule), schedule, model.diffusion.parameterization),
            asked.begin(schedule, levels, own.samples, noise),
            schedule,
            SamplerNoise(asked, noise),
            plan.table.rules.inpaint(*keep) if keep else None,
            _report,
        )
        return {**latent, **own.unscaled(result.x / float(schedule.signal[-1]))}

    def invert(
        self, model: Model, positive: list, negative: list, latent: dict, plan: Plan, solve: FixedPoint
    ) -> Inverted:
        """Take a latent back to the noise that it comes from."""
        own, diffusion = Sampling(model.diffusion, positive, negative, latent, plan), model.diffusion
        alphas, kind = diffusion.alphas_cumprod, diffusion.parameterization
        return invert(plan, own.samples, alphas, kind, own.guide, solve, _report)

    def schedule(self, model: Model, plan: Plan) -> Schedule:
        """The schedule that `sample` follows with a plan; ValueError for one that the model can't run."""
        return plan.table.schedule(model.diffusion.alphas_cumprod, plan.steps, plan.eta, plan.denoise)

    def device(self) -> str:
        """The device that models run on: what the run asked for, or the best there is."""
        asked = context.current().device
        if asked != "auto":
            return asked
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    def dtype(self) -> torch.dtype | None:
        """The number type that models are computed in: what the run asked for, None for what suits them."""
        asked = context.current().dtype
        return None if asked == "auto" else getattr(torch, asked)

    def input_dir(self) -> Path:
        """Where LoadImage reads."""
        return context.current().input_dir

    def output_dir(self) -> Path:
        """Where SaveImage writes."""
        return context.current().output_dir

    def temp_dir(self) -> Path:
        """Where PreviewImage writes."""
        return context.current().temp_dir


_lock = threading.Lock()


Loader = Callable[[Path, str, torch.dtype | None], nn.Module]


@lru_cache(maxsize=3)
def _load_once(load: Loader, path: Path, changed: int, device: str, dtype: torch.dtype | None) -> nn.Module:
    return load(path, device, dtype)


def _load(load: Loader, path: Path, device: str, dtype: torch.dtype | None) -> nn.Module:
    with _lock:
        return _load_once(load, path, path.stat().st_mtime_ns, device, dtype)
