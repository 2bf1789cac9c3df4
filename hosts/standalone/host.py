"""The host without ComfyUI: this package's own models behind the calls that ComfyUI's MODEL, CLIP and VAE answer to."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn

from ...demo import SHIPPED, SHIPPED_CONTROL
from ...executor import context
from ...networks import DiffusionRun, LatentDiffusion, load_autoencoder, load_checkpoint, load_controlnet
from ...networks.text.prompt import check_prompt
from ...sampler import (
    PRESETS,
    ComfyNoise,
    FixedPoint,
    Guidance,
    Guide,
    Inpaint,
    PerStep,
    Predictor,
    Schedule,
    Scheme,
    X0Filter,
    quantizer,
)
from ..fit import latent_mask, one_or_each
from ..plan import Options, Plan
from ..sampling import Inversion, Result, make_guided_predictor, run_inversion, run_sampler
from .clip import Clip
from .conditioning import Frame, read_prompts
from .controlnet import ControlModel
from .guide import make_guide
from .ksampler import KSampling
from .model_folders import ModelFolders
from .schedulers import Levels
from .vae import Vae

__all__ = ["Clip", "Model", "StandaloneHost", "Vae"]

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
        unet = diffusion.config.unet or diffusion.model.diffusion_model.config  # an error where there is no UNet
        samples, channels = latent["samples"], unet.out_channels
        if samples.ndim != 4 or samples.shape[1] != channels:
            raise ValueError(f"latent of shape {tuple(samples.shape)}, expected (batch, {channels}, height, width)")
        batch = plan.batch(samples)
        self.samples = self.scaled(one_or_each(samples, torch.Size((batch, *samples.shape[1:])), "latent"))
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

    def inpaint(self) -> Inpaint | None:
        """What keeps the part outside the mask; None without a mask."""
        self.plan.check_kept(self.mask is not None)
        if self.mask is None:
            return None
        x0 = self.samples if self.plan.x0 is None else one_or_each(self.scaled(self.plan.x0), self.samples.shape, "x0")
        return self.plan.scheme.inpaint(1 - self.mask, x0)

    def filters(self) -> list[X0Filter]:
        """What the model's first stage does to x0 predictions."""
        if not self.plan.options.quantize:
            return []
        quantize = getattr(self.diffusion.first_stage_model, "quantize", None)
        if quantize is None:
            raise ValueError("quantize is on, and the model's autoencoder has no codebook: expected a VQ model")
        return [quantizer(quantize, self.diffusion.scale_factor)]

    def run(self, index: Sequence[int] | None) -> Result:
        """Sample along the plan; `index` as `Plan.noise` takes it."""
        plan, scheme, alphas_cumprod = self.plan, self.plan.scheme, self.diffusion.alphas_cumprod
        if plan.guider is not None:
            _only_comfyui("GUIDER")
        schedule = scheme.schedule(alphas_cumprod, plan.steps, plan.eta, plan.denoise)
        steps = plan.part.steps(len(schedule))
        predict = make_guided_predictor(
            plan.options,
            self.guide(schedule),
            schedule,
            self.diffusion.parameterization,
            plan.options.plus_plus,
            self.filters(),
            (self.diffusion, self.cond),
        )
        noise, x_T = plan.noise(self.samples.shape, index)
        latent = self.samples if plan.denoise < 1 or scheme.under else None
        top = schedule.timesteps[0] == len(alphas_cumprod) - 1
        x = scheme.start(schedule, x_T.to(self.samples), latent, top)
        if plan.part.start:
            x = self.samples * float(schedule.signal[steps.start])
        result = run_sampler(plan.options, predict, x, schedule, noise, self.inpaint(), _report, plan.part)
        if plan.part.is_open(len(schedule)):
            return replace(result, x=result.x / float(schedule.signal[steps.stop]))
        return result

    def invert(self, solve: FixedPoint) -> Inversion:
        """Take the latent back to x_T along the plan's schedule and guidance, at eta 0."""
        plan, diffusion = self.plan, self.diffusion
        schedule = plan.scheme.schedule(diffusion.alphas_cumprod, plan.steps, 0.0, plan.denoise)
        predict = Predictor(self.guide(schedule), schedule, diffusion.parameterization)
        return run_inversion(predict, self.samples, schedule, solve, _report)


def _report(done: int, total: int, x0: Tensor | None) -> None:
    context.progress(done, total)


class StandaloneHost:
    """What nodes ask of the world around them, answered by this package alone."""

    name = "standalone"

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

    def encode(self, vae: Vae, pixels: Tensor) -> Tensor:
        """LATENT's samples of IMAGE, finite."""
        return vae.encode(pixels)

    def decode(self, vae: Vae, samples: Tensor) -> Tensor:
        """IMAGE of a LATENT's samples, finite."""
        return vae.decode(samples)

    def _folders(self) -> ModelFolders:
        return ModelFolders.of(context.current().models_dir, SHIPPED_MODELS)

    def check_prompt(self, prompt: str) -> None:
        """ValueError for a prompt that is too long or nested too deeply."""
        check_prompt(prompt)

    def sample(self, model: Model, positive: list, negative: list, latent: dict, plan: Plan) -> tuple[dict, ...]:
        """Run a plan; LATENT four times: the result, the last x0, and both after each kept step."""
        own = Sampling(model.diffusion, positive, negative, latent, plan)
        result = own.run(latent.get("batch_index"))
        others = (own.unscaled(x) for x in (result.x0, result.states, result.predictions))
        return {**latent, **own.unscaled(result.x)}, *others

    def ksample(self, model: Model, positive: list, negative: list, latent: dict, asked: KSampling) -> dict:
        """Run what a KSampler node asks for; LATENT."""
        levels = Levels.of(model.diffusion.alphas_cumprod)
        sigmas = asked.sigmas(levels)
        if len(sigmas) < 2:
            return latent
        plan = Plan(asked.seed, asked.steps, scale=asked.cfg, scheme=PRESETS["comfyui"])
        own, schedule = Sampling(model.diffusion, positive, negative, latent, plan), asked.schedule(levels, sigmas)
        noise = asked.noise(own.samples, latent.get("batch_index")).to(own.samples)
        result = run_sampler(
            plan.options,
            Predictor(own.guide(schedule), schedule, model.diffusion.parameterization),
            plan.scheme.start(schedule, noise, own.samples, levels.are_topped_by(sigmas)),
            schedule,
            ComfyNoise(asked.seed, mask=None if asked.sampler == "ddim" else noise),
            own.inpaint(),
            _report,
        )
        return {**latent, **own.unscaled(result.x / float(schedule.signal[-1]))}

    def invert(
        self, model: Model, positive: list, negative: list, latent: dict, plan: Plan, solve: FixedPoint
    ) -> Inversion:
        """Take a latent back to the noise that it comes from."""
        return Sampling(model.diffusion, positive, negative, latent, plan).invert(solve)

    def scaled(self, model: Model, samples: Tensor) -> Tensor:
        """A LATENT's samples in the size in which the model sees them."""
        return samples.cpu() * model.diffusion.scale_factor

    def schedule(self, model: Model, plan: Plan) -> Schedule:
        """The schedule that `sample` follows with a plan; ValueError for one that the model can't run."""
        return plan.scheme.schedule(model.diffusion.alphas_cumprod, plan.steps, plan.eta, plan.denoise)

    def sampler(self, eta: PerStep, scheme: Scheme, options: Options, start: str, x0: Tensor | None) -> NoReturn:
        """ComfyUI's alone."""
        _only_comfyui("SAMPLER")

    def sigmas(self, model: Model, scheme: Scheme, steps: int, denoise: float) -> NoReturn:
        """ComfyUI's alone."""
        _only_comfyui("SIGMAS")

    def guider(self, model: Model, positive: list, negative: list, guidance: Guidance) -> NoReturn:
        """ComfyUI's alone."""
        _only_comfyui("GUIDER")

    def fixed_noise(self, x_T: Tensor, seed: int) -> NoReturn:
        """ComfyUI's alone."""
        _only_comfyui("NOISE")

    def device(self) -> str:
        """The device that models run on: what the run asked for, or the best there is."""
        asked = context.current().device
        if asked != "auto":
            return asked
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    def dtype(self) -> torch.dtype | None:
        """The dtype that models are computed in: what the run asked for, None for what suits them."""
        asked = context.current().dtype
        return None if asked == "auto" else getattr(torch, asked)

    def input_dir(self) -> Path:
        """Where LoadImage reads."""
        return context.current().input_dir

    def output_dir(self) -> Path:
        """Where SaveImage writes."""
        return context.current().output_dir

    def picture_format(self) -> tuple[str, int]:
        """What SaveImage writes, "png", "webp" or "jpeg", and the quality of the latter two."""
        return context.current().picture_format, context.current().quality

    def temp_dir(self) -> Path:
        """Where PreviewImage writes."""
        return context.current().temp_dir


def _only_comfyui(what: str) -> NoReturn:
    raise ValueError(f"parts for SamplerCustomAdvanced, here {what}, need ComfyUI: run with --comfyui DIR")


_lock = threading.Lock()


Loader = Callable[[Path, str, torch.dtype | None], nn.Module]


@lru_cache(maxsize=3)
def _load_once(load: Loader, path: Path, changed: int, device: str, dtype: torch.dtype | None) -> nn.Module:
    return load(path, device, dtype)


def _load(load: Loader, path: Path, device: str, dtype: torch.dtype | None) -> nn.Module:
    with _lock:
        return _load_once(load, path, path.stat().st_mtime_ns, device, dtype)
