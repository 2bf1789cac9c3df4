"""One run of the sampler, as the nodes describe it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..sampler import (
    ComfyNoise,
    Corrector,
    Guidance,
    KeyedNoise,
    NoiseSource,
    PerStep,
    Replay,
    Scheme,
    SequentialNoise,
    Threshold,
    repaint_walk,
    resolve,
    seed_noise,
)
from .fit import one_or_each

__all__ = ["Options", "Part", "Plan", "noise_source"]


@dataclass(frozen=True)
class Options:
    """The rarer controls of a run, each at the value that changes nothing.

    temperature, dropout: on the noise of each step
    quantize: snap each x0 prediction to the codebook of a VQ first stage
    threshold: dynamic thresholding of each x0 prediction
    rescale, plus_plus: variants of guidance, see `Guidance`
    log_every: keep every so many steps, and the last
    jump_length, repeats: RePaint; repeats of 1 is none
    published_noise: draw from one generator in the published order, instead of for each sample and step on its own
    replay: what an inversion saw, to end at its image exactly
    score_corrector: has modify_score(model, eps, x, t, cond), the published interface; its answer takes eps's place
    epsilon_scaling: what the guided eps is divided by, after the corrector
    seeds: one for each image, in place of the run's; empty is none
    """

    temperature: PerStep = 1.0
    dropout: float = 0.0
    quantize: bool = False
    threshold: Threshold | None = None
    rescale: float = 0.0
    plus_plus: bool = False
    log_every: int = 1
    jump_length: int = 10
    repeats: int = 1
    published_noise: bool = False
    replay: Replay | None = None
    score_corrector: object | None = None
    epsilon_scaling: PerStep = 1.0
    seeds: tuple[int, ...] = ()

    def correct(self, steps: int, model: object, cond: object) -> Corrector | None:
        """What changes each guided eps of a run of `steps`; the host's model and prompt are handed on as they are."""
        scales = resolve(self.epsilon_scaling, steps, "epsilon scaling", low=0.01)
        if self.score_corrector is None and all(scale == 1 for scale in scales):
            return None

        def correct(eps: Tensor, x: Tensor, t: Tensor, i: int) -> Tensor:
            if self.score_corrector is not None:
                eps = self.score_corrector.modify_score(model, eps, x, t, cond)
            return eps / scales[i]

        return correct

    def walk(self, steps: int) -> list[int] | None:
        """RePaint's order of `steps` steps; None for the plain one."""
        return repaint_walk(steps, self.jump_length, self.repeats) if self.repeats > 1 else None


@dataclass(frozen=True)
class Part:
    """Which of a run's steps are taken: those from `start` on, 0 first, and before `end`.

    From a `start` above 0 on, the latent is the state of the run there, noise and all. Where the run stops before its
    last step, `noise_left` leaves the noise in for another part; else the state is brought to its x0. Such a state is
    x0 + sigma eps, as in ComfyUI: the sampler's own over its signal.
    """

    start: int = 0
    end: int = 10000
    noise_left: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for a part without steps."""
        if not 0 <= self.start < self.end:
            raise ValueError(
                f"start_step is {self.start!r} and end_step {self.end!r}, expected start_step below end_step"
            )

    def steps(self, total: int) -> range:
        """The steps taken of `total`; ValueError where there are none."""
        if self.start >= total:
            raise ValueError(f"start_step is {self.start!r}, expected below the run's {total} steps")
        return range(self.start, min(self.end, total))

    def is_open(self, total: int) -> bool:
        """Whether a run of `total` steps is left with noise in it."""
        return self.noise_left and self.end < total


@dataclass(frozen=True)
class Plan:
    """What the sampler node was asked for.

    seed: of x_T and of the steps' noise
    steps: how many, exactly
    scale: guidance scale; per step or constant
    eta: 0 is DDIM, 1 is DDPM; per step or constant
    denoise: above 0 to 1; below 1 the run starts from the latent with noise, at the last `steps` of a longer table
    x_T: noise (b, c, h, w) of unit variance to start from instead of the seed's
    mask: (b, h, w) in [0, 1] over the image, 1 is inpainted
    x0: unscaled latent (b, c, h, w) that the part outside the mask keeps
    part: which of the steps are taken
    guider: a host's own GUIDER that decides guidance, prompts and model in place of the rest; None for none
    """

    seed: int
    steps: int
    scale: PerStep = 1.0
    eta: PerStep = 0.0
    denoise: float = 1.0
    x_T: Tensor | None = None
    mask: Tensor | None = None
    x0: Tensor | None = None
    scheme: Scheme = field(default_factory=Scheme)
    options: Options = field(default_factory=Options)
    part: Part = field(default_factory=Part)
    guider: Any = None

    def __post_init__(self) -> None:
        """Raises ValueError for what no model could run."""
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps!r}, expected at least 1")
        if not 0 < self.denoise <= 1:
            raise ValueError(f"denoise is {self.denoise!r}, expected above 0 and at most 1")
        if self.part.start and self.x_T is not None:
            raise ValueError(f"x_T is given and start_step is {self.part.start!r}, expected start_step 0, or no x_T")
        if self.part != Part() and self.options.repeats > 1:
            raise ValueError(
                f"RePaint (repeats {self.options.repeats!r}) goes back and forth over the whole run, expected "
                "start_step 0 and end_step 10000"
            )

    def check_kept(self, masked: bool) -> None:
        """Raise ValueError for an x0 without a mask, or a mask over a latent with noise in it and no x0."""
        if not masked and self.x0 is not None:
            raise ValueError("x0 is given without a mask, expected a mask that says where to keep it")
        if masked and self.x0 is None and self.part.start:
            raise ValueError(
                f"the latent is noisy at start_step {self.part.start!r}, expected x0 along with the mask: what to keep"
            )

    @property
    def guidance(self) -> Guidance:
        """Scale, rescale and CFG++ together."""
        return Guidance(self.scale, self.options.rescale, self.options.plus_plus)

    def batch(self, latent: Tensor) -> int:
        """How many images the run makes: as many as the latent, x_T or the seeds hold, whichever is most."""
        return max(len(latent), 0 if self.x_T is None else len(self.x_T), len(self.options.seeds))

    def noise(self, shape: torch.Size, index: Sequence[int] | None = None) -> tuple[NoiseSource, Tensor]:
        """The source of the steps' noise, and x_T, for a latent of `shape`.

        `index` (b,) are the places of the latents in the batch they came from: each gets the noise of its place.
        """
        source = noise_source(self.seed, shape[0], self.scheme, self.options, index)
        if self.x_T is not None:
            return source, one_or_each(self.x_T, shape, "x_T")
        if self.options.published_noise:
            return source, source.normal(shape, "start", 0, torch.device("cpu"))
        if self.options.seeds:
            return source, torch.cat([seed_noise(seed, (1, *shape[1:])) for seed in self.options.seeds])
        return source, seed_noise(self.seed, shape, index)


def noise_source(
    seed: int, batch: int, scheme: Scheme, options: Options, index: Sequence[int] | None = None
) -> NoiseSource:
    """Where the noise of a run's steps comes from; a scheme may ask for ComfyUI's. `index` as in `Plan.noise`.

    Raises ValueError for seeds of the images that aren't as many as they, or where noise is drawn for all at once.
    """
    if options.seeds:
        if len(options.seeds) != batch:
            raise ValueError(f"seeds are {options.seeds!r}, expected {batch} of them, one for each image")
        if options.published_noise or scheme.noise == "comfyui":
            raise ValueError(
                "each image has its own seed, expected noise that is drawn per sample, not the preset 'comfyui'"
            )
        return KeyedNoise.per_sample(options.seeds)
    if options.published_noise:
        return SequentialNoise(torch.Generator().manual_seed(seed))
    if scheme.noise == "comfyui":
        return ComfyNoise(seed)
    return KeyedNoise((seed,) * batch, tuple(range(batch)) if index is None else tuple(index))
