"""The host inside ComfyUI: its models, its folders, its progress and its interruption."""

from pathlib import Path

import comfy.model_management
import folder_paths
from torch import Tensor

from ..sampler import FixedPoint
from .comfy_loading import SHIPPED, load_checkpoint
from .comfy_sampling import Inversion, Run, run_inside
from .plan import Plan
from .run import Inverted

__all__ = ["ComfyHost"]


class ComfyHost:
    """What nodes ask of the world around them, answered by ComfyUI; see `light.LightHost`."""

    name = "comfyui"

    def checkpoints(self) -> list[str]:
        """Names that a loader offers: the shipped model first, then ComfyUI's checkpoints."""
        found = folder_paths.get_filename_list("checkpoints")
        return [SHIPPED.name, *(name for name in found if name != SHIPPED.name)]

    def load_checkpoint(self, name: str) -> tuple:
        """ComfyUI's own MODEL, CLIP and VAE of one of `checkpoints()`."""
        path = SHIPPED if name == SHIPPED.name else Path(folder_paths.get_full_path_or_raise("checkpoints", name))
        return load_checkpoint(path)

    def sample(self, model, positive: list, negative: list, latent: dict, plan: Plan) -> tuple[dict, ...]:
        """Run a plan; LATENT four times: the result, the last x0, and both after each kept step."""
        sampler = Run(plan, latent.get("batch_index"))
        x = run_inside(model, positive, negative, latent, sampler)
        result = sampler.result
        others = (_unscaled(model, each) for each in (result.x0, result.states, result.predictions))
        return {**latent, "samples": x}, *({"samples": each} for each in others)

    def invert(self, model, positive: list, negative: list, latent: dict, plan: Plan, solve: FixedPoint) -> Inverted:
        """Take a latent back to the noise that it comes from."""
        sampler = Inversion(plan, solve)
        run_inside(model, positive, negative, latent, sampler)
        return sampler.result

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
