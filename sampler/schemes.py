"""Other people's DDIM, and the exact one, each under a name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .curves import PerStep
from .inpaint import Inpaint
from .schedule import Schedule, make_schedule


@dataclass(frozen=True)
class Preset:
    """The choices in which one DDIM differs from another; the defaults are the exact one's.

    spacing, landing: as `make_schedule` takes them
    unit_start: x_T is the noise itself; else it is scaled by the first level's noise, sqrt(1 - a)
    under: a latent lies under x_T's noise at denoise 1 too; at the model's noisiest level x_T is not scaled
    round_down: below denoise 1, steps / denoise is rounded down, not to the nearest
    first, last, fixed_noise, project: as `Inpaint` takes them
    """

    spacing: str = "uniform"
    landing: str = "clean"
    unit_start: bool = True
    under: bool = False
    round_down: bool = False
    first: bool = True
    last: bool = True
    fixed_noise: bool = False
    project: bool = False

    def schedule(
        self,
        alphas_cumprod: Sequence[float] | np.ndarray | torch.Tensor,
        steps: int | Sequence[int],
        eta: PerStep = 0.0,
        denoise: float = 1.0,
    ) -> Schedule:
        """The schedule of `make_schedule` with this preset's spacing, landing and way to round."""
        if self.round_down and 0 < denoise < 1 and isinstance(steps, int):
            table = self.schedule(alphas_cumprod, min(int(steps / denoise), len(alphas_cumprod)))
            return table.last(min(steps, len(table))).with_eta(eta)
        return make_schedule(
            alphas_cumprod, steps, spacing=self.spacing, landing=self.landing, eta=eta, denoise=denoise
        )

    def start(
        self, schedule: Schedule, z: torch.Tensor, latent: torch.Tensor | None = None, top: bool = False
    ) -> torch.Tensor:
        """The state that a run starts from, given noise z: x_T, or `latent` taken to the first level.

        `top` says that the first level is the model's noisiest.
        """
        whole = top and self.under
        if latent is None:
            return z if self.unit_start or whole else float(schedule.noise[0]) * z
        return float(schedule.signal[0]) * latent + z if whole else schedule.noised(latent, z)

    def inpaint(self, mask: torch.Tensor, x0: torch.Tensor) -> Inpaint:
        """Keeps x0 where mask is 1, in this preset's way."""
        return Inpaint(mask, x0, self.first, self.last, self.fixed_noise, self.project)


PRESETS = {
    "exact": Preset(),
    "published": Preset("published", "first", last=False),
    "diffusers": Preset("leading", "first", first=False, fixed_noise=True),
    "comfyui": Preset(
        "published",
        unit_start=False,
        under=True,
        round_down=True,
        last=False,
        fixed_noise=True,
        project=True,
    ),
}
"""exact: exactly S steps, lands clean, no noise on the last step, the kept area is x0 bit for bit.
published: latent-diffusion, Stable Diffusion 2 and ControlNet.
diffusers: DDIMScheduler as Stable Diffusion configures it (leading, steps_offset 1, set_alpha_to_one off, no clipping).
comfyui: the sampler "ddim" with the scheduler "ddim_uniform"."""
