"""One run of the sampler as the nodes describe it, and the run itself, on whatever model the host has."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..sampler import PRESETS, Guidance, Guide, KeyedNoise, PerStep, Predictor, Schedule, ddim_steps

__all__ = ["Plan", "Result", "fit_batch", "latent_mask", "run", "seed_noise"]


@dataclass(frozen=True)
class Plan:
    """What the sampler node was asked for.

    seed: of x_T and of the steps' noise
    steps: how many, exactly
    guidance: scale, per step or constant, and its variants
    eta: 0 is DDIM, 1 is DDPM; per step or constant
    denoise: above 0 to 1; below 1 the run starts from the latent with noise, at the last `steps` of a longer table
    x_T: noise (b, c, h, w) of unit variance to start from instead of the seed's
    mask: (b, h, w) in [0, 1] over the picture, 1 is painted anew
    x0: unscaled latent (b, c, h, w) that the masked-out part keeps
    """

    seed: int
    steps: int
    guidance: Guidance = field(default_factory=Guidance)
    eta: PerStep = 0.0
    denoise: float = 1.0
    x_T: Tensor | None = None
    mask: Tensor | None = None
    x0: Tensor | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for what no model could run."""
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps!r}, expected at least 1")
        if not 0 < self.denoise <= 1:
            raise ValueError(f"denoise is {self.denoise!r}, expected above 0 and at most 1")


@dataclass(frozen=True)
class Result:
    """Scaled latents on the CPU: where the run ended, its last x0 prediction, and after each step both of them."""

    x: Tensor
    x0: Tensor
    states: Tensor
    predictions: Tensor


def run(
    plan: Plan,
    x_T: Tensor,
    latent: Tensor,
    alphas_cumprod: Tensor,
    parameterization: str,
    make_guide: Callable[[Schedule], Guide],
    keep: tuple[Tensor, Tensor] | None,
    noise: KeyedNoise,
    report: Callable[[int, int], None],
) -> Result:
    """Run a plan from the noise x_T and the scaled latent, both (b, c, h, w), on their device.

    `make_guide` builds the guided model call for a schedule; `keep` is (mask, x0) in the sampler's convention,
    1 keeps, scaled; `report(done, total)` is called before the first step and after each.
    """
    preset = PRESETS["exact"]
    schedule = preset.schedule(alphas_cumprod, plan.steps, plan.eta, plan.denoise)
    predict = Predictor(make_guide(schedule), schedule, parameterization, plus_plus=plan.guidance.plus_plus)
    x = preset.start(schedule, x_T, latent if plan.denoise < 1 else None)
    inpaint = preset.inpaint(*keep) if keep else None
    states, predictions = [], []
    report(0, len(schedule))
    for step in ddim_steps(predict, x, schedule, noise=noise, inpaint=inpaint):
        states.append(step.x)
        predictions.append(step.x0)
        report(len(states), len(schedule))
    return Result(states[-1].cpu(), predictions[-1].cpu(), torch.cat(states).cpu(), torch.cat(predictions).cpu())


def seed_noise(seed: int, shape: torch.Size, index: list[int] | None = None) -> Tensor:
    """Noise of a latent's shape from a seed, on the CPU, drawn as ComfyUI draws it.

    `index` (b,) are the places of the latents in the batch they came from: each gets the noise of its place.
    """
    generator = torch.Generator().manual_seed(seed)
    if index is None:
        return torch.randn(shape, generator=generator)
    drawn = [torch.randn(1, *shape[1:], generator=generator) for _ in range(max(index) + 1)]
    return torch.cat([drawn[i] for i in index])


def fit_batch(value: Tensor, latent: Tensor, name: str) -> Tensor:
    """`value` repeated over the batch of `latent`; ValueError when the shapes don't fit."""
    if value.shape[1:] != latent.shape[1:] or value.shape[0] not in (1, latent.shape[0]):
        came, expected = "x".join(map(str, value.shape)), "x".join(map(str, latent.shape))
        raise ValueError(f"{name} has the shape {came}, expected {expected} like the latent")
    return value.expand(latent.shape)


def latent_mask(mask: Tensor, latent: Tensor) -> Tensor:
    """MASK over the picture to (b or 1, 1, h, w) over the latent, bilinear as in ComfyUI; ValueError on a misfit."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    if mask.shape[0] not in (1, latent.shape[0]):
        raise ValueError(f"mask of {mask.shape[0]} pictures, expected 1 or {latent.shape[0]} like the latent")
    return F.interpolate(mask, size=latent.shape[2:], mode="bilinear").to(latent.device).clamp(0, 1)
