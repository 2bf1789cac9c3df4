"""The host inside ComfyUI: its models, its folders, its progress and its interruption."""

from pathlib import Path

import comfy.model_management
import folder_paths
from torch import Tensor

from ...demo import SHIPPED, SHIPPED_CONTROL
from ...sampler import FixedPoint, Guidance, PerStep, Schedule, Scheme
from ..plan import Options, Plan
from ..sampling import Inversion, Result
from .checkpoint import load_checkpoint
from .controlnet import load_controlnet
from .guider import ScheduledGuider
from .run import EMPTY_LATENT_RATIOS, FixedNoise, invert_inside, run_inside
from .sampler import Ddim, schedule_of, scheme_sigmas
from .vae import finite

__all__ = ["ComfyHost"]


class ComfyHost:
    """What nodes ask of the world around them, answered by ComfyUI: see `hosts.Host`."""

    name = "comfyui"

    def checkpoints(self) -> list[str]:
        """Names that a loader offers: the shipped model first, then ComfyUI's checkpoints."""
        found = folder_paths.get_filename_list("checkpoints")
        return [SHIPPED.name, *(name for name in found if name != SHIPPED.name)]

    def load_checkpoint(self, name: str) -> tuple:
        """ComfyUI's own MODEL, CLIP and VAE of one of `checkpoints()`."""
        path = SHIPPED if name == SHIPPED.name else Path(folder_paths.get_full_path_or_raise("checkpoints", name))
        return load_checkpoint(path)

    def controlnets(self) -> list[str]:
        """Names that a ControlNet loader offers: the shipped one first, then ComfyUI's."""
        found = folder_paths.get_filename_list("controlnet")
        return [SHIPPED_CONTROL.name, *(name for name in found if name != SHIPPED_CONTROL.name)]

    def load_controlnet(self, name: str, guess: bool = False) -> object:
        """ComfyUI's own CONTROL_NET of one of `controlnets()`, in guess mode or not."""
        shipped = name == SHIPPED_CONTROL.name
        path = SHIPPED_CONTROL if shipped else Path(folder_paths.get_full_path_or_raise("controlnet", name))
        return load_controlnet(path, guess)

    def encode(self, vae, pixels: Tensor) -> Tensor:
        """LATENT's samples of IMAGE, finite."""
        return finite(vae, lambda vae: vae.encode(pixels), "encoding an image")

    def decode(self, vae, samples: Tensor) -> Tensor:
        """IMAGE of a LATENT's samples, finite."""
        return finite(vae, lambda vae: vae.decode(samples), "decoding a latent")

    def check_prompt(self, prompt: str) -> None:
        """ComfyUI takes any prompt."""

    def sample(self, model, positive: list, negative: list, latent: dict, plan: Plan) -> tuple[dict, ...]:
        """Run a plan; LATENT four times: the result, the last x0, and both after each kept step."""
        model = model if plan.guider is None else plan.guider.model_patcher
        seen: list[Result] = []
        x = run_inside(model, positive, negative, latent, plan, see=seen.append)
        others = (_unscaled(model, each) for each in (seen[0].x0, seen[0].states, seen[0].predictions))
        kept = {key: value for key, value in latent.items() if key not in EMPTY_LATENT_RATIOS}
        return {**kept, "samples": x}, *({"samples": each} for each in others)

    def invert(self, model, positive: list, negative: list, latent: dict, plan: Plan, solve: FixedPoint) -> Inversion:
        """Take a latent back to the noise that it comes from."""
        return invert_inside(model, positive, negative, latent, plan, solve)

    def scaled(self, model, samples: Tensor) -> Tensor:
        """A LATENT's samples in the size in which the model sees them."""
        return model.model.process_latent_in(samples.cpu())

    def schedule(self, model, plan: Plan) -> Schedule:
        """The schedule that `sample` follows with a plan; ValueError for one that the model can't run."""
        model_sampling = model.get_model_object("model_sampling")
        sigmas = scheme_sigmas(model_sampling, plan.scheme, plan.steps, plan.denoise)
        return schedule_of(sigmas, model_sampling).with_eta(plan.eta)

    def sampler(self, eta: PerStep, scheme: Scheme, options: Options, start: str, x0: Tensor | None) -> Ddim:
        """SAMPLER."""
        return Ddim(eta, scheme, options, start, x0)

    def sigmas(self, model, scheme: Scheme, steps: int, denoise: float) -> Tensor:
        """SIGMAS (steps + 1,), of most tables, for a MODEL."""
        return scheme_sigmas(model.get_model_object("model_sampling"), scheme, steps, denoise)

    def guider(self, model, positive: list, negative: list, guidance: Guidance) -> ScheduledGuider:
        """GUIDER."""
        guider = ScheduledGuider(model, guidance)
        guider.set_conds(positive, negative)
        return guider

    def fixed_noise(self, x_T: Tensor, seed: int) -> FixedNoise:
        """NOISE."""
        return FixedNoise(x_T, seed)

    def input_dir(self) -> Path:
        """Where LoadImage reads."""
        return Path(folder_paths.get_input_directory())

    def output_dir(self) -> Path:
        """Where SaveImage writes."""
        return Path(folder_paths.get_output_directory())

    def temp_dir(self) -> Path:
        """Where PreviewImage writes."""
        return Path(folder_paths.get_temp_directory())


def _unscaled(model, x: Tensor) -> Tensor:
    return model.model.process_latent_out(x).to(comfy.model_management.intermediate_device())
