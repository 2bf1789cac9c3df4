"""Other people's DDIM, and the exact one, each a scheme under a name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .curves import PerStep
from .inpaint import Inpaint
from .schedule import Schedule, make_schedule

NOISES = ("keyed", "comfyui")
"""How a run's noise is drawn: for each sample and step on its own, or as ComfyUI's samplers draw it."""


@dataclass(frozen=True)
class Scheme:
    """The choices in which one DDIM differs from another; the defaults are the exact one's.

    spacing, landing: as `make_schedule` takes them
    timesteps: the table itself, noisiest first; empty makes it from the number of steps and the spacing
    unit_start: x_T is the noise itself; else it is scaled by the first level's noise, sqrt(1 - a)
    under: a latent lies under x_T's noise at denoise 1 too; at the model's noisiest level x_T is not scaled
    round_down: below denoise 1, steps / denoise is rounded down, not to the nearest
    first, last, fixed_noise, project: as `Inpaint` takes them
    noise: one of `NOISES`
    """

    spacing: str = "uniform"
    landing: str = "clean"
    timesteps: tuple[int, ...] = ()
    unit_start: bool = True
    under: bool = False
    round_down: bool = False
    first: bool = True
    last: bool = True
    fixed_noise: bool = False
    project: bool = False
    noise: str = "keyed"

    @property
    def is_even(self) -> bool:
        """Whether its strides are even in a model's own time, as flow models can take them without a table."""
        return self.spacing == "uniform" and not self.timesteps

    def table_steps(self, steps: int, denoise: float) -> int:
        """How long the table is of which a run at `denoise` (above 0 to 1) takes the last `steps`."""
        return int(steps / denoise) if self.round_down else round(steps / denoise)

    def schedule(
        self,
        alphas_cumprod: Sequence[float] | np.ndarray | torch.Tensor,
        steps: int,
        eta: PerStep = 0.0,
        denoise: float = 1.0,
    ) -> Schedule:
        """The schedule of `make_schedule` with this scheme's timesteps or spacing, landing and way to round."""
        if self.round_down and not self.timesteps and 0 < denoise < 1:
            table = self.schedule(alphas_cumprod, min(self.table_steps(steps, denoise), len(alphas_cumprod)))
            return table.last(min(steps, len(table))).with_eta(eta)
        return make_schedule(
            alphas_cumprod,
            self.timesteps or steps,
            spacing=self.spacing,
            landing=self.landing,
            eta=eta,
            denoise=denoise,
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
        """Keeps x0 where mask is 1, in this scheme's way."""
        return Inpaint(mask, x0, self.first, self.last, self.fixed_noise, self.project)


PRESETS = {
    "exact": Scheme(),
    "published": Scheme("published", "first", last=False),
    "diffusers": Scheme("leading", "first", first=False, fixed_noise=True),
    "comfyui": Scheme(
        "published",
        unit_start=False,
        under=True,
        round_down=True,
        last=False,
        fixed_noise=True,
        project=True,
        noise="comfyui",
    ),
}
"""exact: exactly S steps, lands clean, no noise on the last step, the kept area is x0 bit for bit.
published: latent-diffusion, Stable Diffusion 2 and ControlNet.
diffusers: DDIMScheduler as Stable Diffusion configures it (leading, steps_offset 1, set_alpha_to_one off, no clipping).
comfyui: the sampler "ddim" with the scheduler "ddim_uniform"."""
