"""CONTROL_NET without ComfyUI, and what hangs on a prompt that a ControlNet steers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...networks import ControlNet, DiffusionRun, UNetConfig, control_scales
from ...sampler import Schedule
from ..fit import cycled
from .resize import resize

__all__ = ["WHOLE", "Control", "ControlModel", "Range", "positions"]


@dataclass(frozen=True)
class Range:
    """A stretch of a run, from `start` to `end` of the model's timesteps: 0 is its noisiest, 1 the clean end."""

    start: float = 0.0
    end: float = 1.0

    def holds(self, position: float) -> bool:
        """Whether it covers a `position` (see `positions`). Start 0 and end 1 leave nothing out."""
        after_start = self.start <= 0 or (self.start < 1 and position >= self.start - 1e-9)
        before_end = self.end >= 1 or (self.end > 0 and position <= self.end + 1e-9)
        return after_start and before_end


WHOLE = Range()
"""A run from beginning to end."""


def positions(schedule: Schedule, alphas_cumprod: Tensor) -> list[float]:
    """Where each step of a run starts among the model's T timesteps, from 0 (the noisiest) to 1 (the cleanest).

    Between two timesteps the place follows log(sigma), sigma^2 = (1 - alpha-bar) / alpha-bar.
    """
    alpha_bar = torch.as_tensor(schedule.alpha_bar[:-1].copy())
    known = alphas_cumprod.detach().cpu().double()
    log_sigma, table = (torch.log((1 - a).sqrt() / a.clamp(min=1e-30).sqrt()) for a in (alpha_bar, known))
    above = torch.searchsorted(table, log_sigma).clamp(1, len(table) - 1)
    low, high = table[above - 1], table[above]
    timestep = above - 1 + ((log_sigma - low) / (high - low)).clamp(0, 1)
    return (1 - timestep / (len(table) - 1)).tolist()


@dataclass(frozen=True, eq=False)
class ControlModel:
    """CONTROL_NET: a network, and what is done with its residuals.

    `averaged` over the image, as the "shuffle" one's are; less the finer they are in `guess` mode.
    """

    network: ControlNet
    averaged: bool = False
    guess: bool = False

    def steer(
        self, hint: Tensor, strength: float, span: tuple[float, float] = (0.0, 1.0), previous: "Control | None" = None
    ) -> "Control":
        """What a prompt is given: IMAGE (b, h, w, 3) as the hint, at a strength, from and to a share of the run."""
        return Control(self, hint[..., :3].movedim(-1, 1), strength, Range(*span), previous)


@dataclass(frozen=True, eq=False)
class Control:
    """A ControlNet at work on a prompt, after another one if there is a `previous`."""

    model: ControlModel
    hint: Tensor
    strength: float = 1.0
    span: Range = WHOLE
    previous: "Control | None" = None

    @property
    def chain(self) -> list["Control"]:
        """It and those before, the first one first."""
        return [*(self.previous.chain if self.previous else ()), self]

    def hint_for(self, batch: int, height: int, width: int) -> Tensor:
        """The hint (1 or batch, 3, 8h, 8w) for latents of a size, cut to their proportions, as the network reads it."""
        factor, weights = self.model.network.factor, next(self.model.network.parameters())
        hint = resize(self.hint, factor * width, factor * height, "nearest-exact", "center").to(weights)
        return hint if len(hint) == 1 else cycled(hint, batch)

    def residuals(self, x: Tensor, hint: Tensor, t: Tensor, context: Tensor, run: DiffusionRun) -> list[Tensor]:
        """For latents x (b, c, h, w) at the timesteps t (b,), under text (b, n, width): scaled, finest first."""
        every = run.residuals(self.model.network, x, hint, t, context)
        if self.model.averaged:
            every = [residual.mean(dim=(2, 3), keepdim=True).expand_as(residual) for residual in every]
        scales = control_scales(len(every), self.strength, self.model.guess)
        return [scale * residual for scale, residual in zip(scales, every, strict=True)]

    def check(self, unet: UNetConfig) -> None:
        """Raises ValueError unless every network of the chain is one for this UNet."""
        for control in self.chain:
            net = control.model.network.config
            for what in ("channels", "blocks", "context"):
                came, expected = getattr(net, what), getattr(unet, what)
                if came != expected:
                    raise ValueError(
                        f"the ControlNet was made for another kind of model: {what} {came!r}, expected {expected!r}"
                    )
