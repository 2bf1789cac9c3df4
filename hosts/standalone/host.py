"""The host without ComfyUI: this package's own models behind the calls that ComfyUI's MODEL, CLIP and VAE answer to."""

import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ...demo import SHIPPED, SHIPPED_CONTROL
from ...executor import context
from ...networks import load_autoencoder, load_checkpoint, load_controlnet, use_openvino
from ...networks.text.prompt import check_prompt
from ...sampler import (
    PRESETS,
    ComfyNoise,
    FixedPoint,
    Guidance,
    PerStep,
    Predictor,
    Schedule,
    Scheme,
)
from ..plan import Options, Plan
from ..sampling import Inversion, run_sampler
from .clip import Clip
from .controlnet import ControlModel
from .ksampler import KSampling
from .lora import Model, lay_over
from .model_folders import ModelFolders
from .parts import Ddim, FixedNoise, Guider, Noise, checked, sample_parts
from .sampling import Sampling, report
from .schedulers import Levels
from .upscaling import UpscaleModel, load_upscale_model
from .vae import Vae

__all__ = ["Clip", "Model", "StandaloneHost", "Vae"]

Loader = Callable[[Path, str, torch.dtype | None], nn.Module]
SHIPPED_MODELS = {"checkpoints": SHIPPED, "controlnet": SHIPPED_CONTROL}

_lock = threading.Lock()


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

    def loras(self) -> list[str]:
        """Names that a LoRA loader offers."""
        return self._folders().names("loras")

    def upscale_models(self) -> list[str]:
        """Names that a loader of upscaling models offers."""
        return self._folders().names("upscale_models")

    def diffusers(self) -> list[str]:
        """Names of diffusers folders."""
        return self._folders().names("diffusers")

    def embeddings(self) -> list[Path]:
        """Folders in which a prompt's embeddings lie."""
        return [folder for folder in self._folders().folders("embeddings") if folder.is_dir()]

    def find(self, kind: str, name: str) -> Path:
        """The file of a kind by a workflow's name for it.

        Kinds are "checkpoints", "controlnet", "loras", "vae", "diffusers", "upscale_models".

        Raises ValueError, with the folders looked in and names like it, for one that isn't there.
        """
        return self._folders().find(kind, name)

    def load_checkpoint(self, name: str, kind: str = "checkpoints") -> tuple[Model, Clip, Vae]:
        """Load one of `checkpoints()`, or of `diffusers()`; one that hasn't changed is loaded once."""
        diffusion = self._load(load_checkpoint, self.find(kind, name))
        return Model(diffusion), Clip(diffusion, self.embeddings), Vae(diffusion.first_stage_model)

    def load_controlnet(self, name: str, guess: bool = False) -> ControlModel:
        """Load one of `controlnets()`, in guess mode or not."""
        path = self.find("controlnet", name)
        averaged = path.stem.removesuffix("_fp16").endswith("_shuffle")
        return ControlModel(self._load(load_controlnet, path), averaged, guess)

    def load_vae(self, name: str) -> Vae:
        """Load one of `vaes()`."""
        return Vae(self._load(load_autoencoder, self.find("vae", name)))

    def load_upscale_model(self, name: str) -> UpscaleModel:
        """Load one of `upscale_models()`."""
        return load_upscale_model(self.find("upscale_models", name), self.device())

    def lay_over(self, name: str, *parts: tuple[Model | Clip, float]) -> list[Model | Clip]:
        """MODEL, CLIP or both with one of `loras()` over them, each at a strength."""
        return lay_over(parts, self.find("loras", name))

    def encode(self, vae: Vae, pixels: Tensor) -> Tensor:
        """LATENT's samples of IMAGE, finite."""
        return vae.encode(pixels)

    def decode(self, vae: Vae, samples: Tensor) -> Tensor:
        """IMAGE of a LATENT's samples, finite."""
        return vae.decode(samples)

    def _load(self, load: Loader, path: Path) -> nn.Module:
        """A model as the run wants it; one that hasn't changed is loaded once."""
        with _lock:
            engine = context.current().engine
            return _load_once(load, path, path.stat().st_mtime_ns, self.device(), self.dtype(), engine)

    def _folders(self) -> ModelFolders:
        return ModelFolders.of(context.current().models_dir, SHIPPED_MODELS)

    def check_prompt(self, prompt: str) -> None:
        """ValueError for a prompt that is too long or nested too deeply."""
        check_prompt(prompt)

    def sample(self, model: Model, positive: list, negative: list, latent: dict, plan: Plan) -> tuple[dict, ...]:
        """Run a plan; LATENT four times: the result, the last x0, and both after each kept step."""
        diffusion = model.diffusion
        if plan.guider is not None:
            guider = checked(plan.guider, Guider, "guider")
            diffusion, positive, negative, plan = (
                guider.diffusion,
                guider.positive,
                guider.negative,
                guider.guided(plan),
            )
        own = Sampling(diffusion, positive, negative, latent, plan)
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
            report,
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

    def sampler(self, eta: PerStep, scheme: Scheme, options: Options, start: str, x0: Tensor | None) -> Ddim:
        """SAMPLER."""
        return Ddim(eta, scheme, options, start, x0)

    def sigmas(self, model: Model, scheme: Scheme, steps: int, denoise: float) -> Tensor:
        """SIGMAS (steps + 1,), of most schemes, for a MODEL."""
        schedule = scheme.schedule(model.diffusion.alphas_cumprod, steps, 0.0, denoise)
        return torch.from_numpy(schedule.noise / schedule.signal).float()

    def guider(self, model: Model, positive: list, negative: list, guidance: Guidance) -> Guider:
        """GUIDER."""
        return Guider(model.diffusion, positive, negative, guidance)

    def fixed_noise(self, x_T: Tensor, seed: int) -> FixedNoise:
        """NOISE."""
        return FixedNoise(x_T, seed)

    def custom_sample(
        self, noise: Noise, guider: Guider, sampler: Ddim, sigmas: Tensor, latent: dict
    ) -> tuple[dict, dict]:
        """Run what SamplerCustomAdvanced is given; LATENT twice, the result and the last x0 prediction."""
        return sample_parts(noise, guider, sampler, sigmas, latent)

    def device(self) -> str:
        """The device that models run on: what the run asked for, or the best there is."""
        asked = context.current().device
        if asked != "auto":
            return asked
        if context.current().engine == "openvino":
            return "cpu"
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


@lru_cache(maxsize=3)
def _load_once(
    load: Loader, path: Path, changed: int, device: str, dtype: torch.dtype | None, engine: str
) -> nn.Module:
    network = load(path, device, dtype)
    if engine == "openvino":
        use_openvino(network)
    return network
