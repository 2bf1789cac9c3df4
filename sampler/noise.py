"""Random numbers, handed in: from a torch generator, or keyed so that a batch changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

USES = ("start", "step", "mask", "jump", "dropout")
"""What noise is drawn for: x_T, eq. 12's z, the noised x0 under a mask, RePaint's way back, dropout."""


class NoiseSource(Protocol):
    """Where a run takes its noise from.

    `sequential` says that drawing moves the source on: then every step draws, even where the noise has no weight,
    so that the numbers don't depend on eta.
    """

    sequential: bool

    def normal(self, shape: Sequence[int], use: str, step: int, device: torch.device) -> torch.Tensor:
        """Standard normal float32 noise of `shape` (b, ...) for one of `USES` at `step`."""
        ...

    def keep(self, shape: Sequence[int], p: float, step: int, device: torch.device) -> torch.Tensor:
        """Float32 ones with probability `p`, zeros elsewhere."""
        ...


@dataclass(frozen=True)
class SequentialNoise:
    """Noise in the order of the calls, from `generator` or, without one, torch's global state."""

    generator: torch.Generator | None = None
    sequential = True

    def normal(self, shape: Sequence[int], use: str, step: int, device: torch.device) -> torch.Tensor:
        """The generator's next numbers; `use` and `step` don't matter."""
        where = device if self.generator is None else self.generator.device
        return torch.randn(tuple(shape), generator=self.generator, device=where, dtype=torch.float32).to(device)

    def keep(self, shape: Sequence[int], p: float, step: int, device: torch.device) -> torch.Tensor:
        """The generator's next choices; from the global state those of torch's dropout, whatever the device."""
        if self.generator is None:
            return F.dropout(torch.ones(tuple(shape), device=device), 1 - p).ne(0).float()
        ones = torch.empty(tuple(shape), device=self.generator.device, dtype=torch.float32)
        return ones.bernoulli_(p, generator=self.generator).to(device)


class ComfyNoise:
    """Noise as ComfyUI's samplers draw it for a run with `seed`.

    The steps' comes from a generator on the run's device; on a CPU, where the seed's own noise is x_T, from the next
    seed. Under a mask it is one noise for all levels: `mask`, or the next seed's.
    """

    sequential = False

    def __init__(self, seed: int, mask: torch.Tensor | None = None) -> None:
        self.seed, self.mask = seed, mask
        self._generator: torch.Generator | None = None

    def normal(self, shape: Sequence[int], use: str, step: int, device: torch.device) -> torch.Tensor:
        """The generator's next numbers; under a mask always the same."""
        if use == "mask":
            mask = seed_noise(self._next_seed, shape) if self.mask is None else self.mask
            return mask.to(device)
        return torch.randn(tuple(shape), generator=self._on(device), device=device)

    def keep(self, shape: Sequence[int], p: float, step: int, device: torch.device) -> torch.Tensor:
        """The generator's next choices."""
        return torch.empty(tuple(shape), device=device).bernoulli_(p, generator=self._on(device))

    @property
    def _next_seed(self) -> int:
        return (self.seed + 1) % 2**64

    def _on(self, device: torch.device) -> torch.Generator:
        if self._generator is None:
            seed = self._next_seed if device.type == "cpu" else self.seed
            self._generator = torch.Generator(device).manual_seed(seed)
        return self._generator


def seed_noise(seed: int, shape: Sequence[int], index: Sequence[int] | None = None) -> torch.Tensor:
    """Noise of `shape` (b, ...) from a seed, on the CPU, as ComfyUI draws x_T.

    `index` (b,) are the places of the samples in the batch they came from: each gets the noise of its place.
    """
    generator = torch.Generator().manual_seed(seed)
    if index is None:
        return torch.randn(tuple(shape), generator=generator)
    drawn = [torch.randn(1, *shape[1:], generator=generator) for _ in range(max(index) + 1)]
    return torch.cat([drawn[i] for i in index])


@dataclass(frozen=True)
class KeyedNoise:
    """Noise that is a function of (seed, sample, use, step) alone, the same on every device.

    Batch entry j has the key (seeds[j], samples[j]), so it gets the noise it would have alone, in any batch,
    however split, and from whatever step a run is taken up again. Philox (Salmon et al. 2011) and Box-Muller.
    """

    seeds: tuple[int, ...]
    samples: tuple[int, ...]
    sequential = False

    def __post_init__(self) -> None:
        """Raises ValueError unless there are as many samples as seeds, all within 0 ... 2**64 - 1."""
        if len(self.seeds) != len(self.samples):
            raise ValueError(f"{len(self.samples)} samples for {len(self.seeds)} seeds, expected as many")
        for key in (*self.seeds, *self.samples):
            if not 0 <= key < 2**64:
                raise ValueError(f"the seed or sample number {key!r} is not within 0 ... 2**64 - 1")

    @classmethod
    def batch(cls, seed: int, size: int, first: int = 0) -> "KeyedNoise":
        """One seed for `size` samples, numbered from `first`."""
        return cls((seed,) * size, tuple(range(first, first + size)))

    @classmethod
    def per_sample(cls, seeds: Sequence[int]) -> "KeyedNoise":
        """A seed per sample; each is what `batch(seed, 1)` gives alone."""
        return cls(tuple(seeds), (0,) * len(seeds))

    def normal(self, shape: Sequence[int], use: str, step: int, device: torch.device) -> torch.Tensor:
        """Noise of `shape`, whose first entry must be the number of seeds."""
        count = int(np.prod(shape[1:]))
        u = self._uniform(shape[0], 2 * ((count + 1) // 2), use, step).reshape(shape[0], 2, -1)
        radius, angle = np.sqrt(-2 * np.log(u[:, 0])), 2 * np.pi * u[:, 1]
        z = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :count]
        return torch.from_numpy(z.astype(np.float32).reshape(tuple(shape))).to(device)

    def keep(self, shape: Sequence[int], p: float, step: int, device: torch.device) -> torch.Tensor:
        """Choices of `shape`, whose first entry must be the number of seeds."""
        u = self._uniform(shape[0], int(np.prod(shape[1:])), "dropout", step)
        return torch.from_numpy((u <= p).astype(np.float32).reshape(tuple(shape))).to(device)

    def _uniform(self, batch: int, count: int, use: str, step: int) -> np.ndarray:
        """(batch, count) float64 in (0, 1]."""
        if batch != len(self.seeds):
            raise ValueError(
                f"noise for a batch of {batch}, expected a batch of {len(self.seeds)}: one seed for each sample"
            )
        words = [
            np.random.Philox(key=[seed, sample], counter=[0, step, USES.index(use), 0]).random_raw(count)
            for seed, sample in zip(self.seeds, self.samples, strict=True)
        ]
        return ((np.stack(words) >> np.uint64(11)) + 1.0) * 2.0**-53


@dataclass(frozen=True)
class Variation:
    """`base`, its x_T turned toward that of `other`: strength 0 is base's, 1 is other's. All else stays base's."""

    base: NoiseSource
    other: NoiseSource
    strength: float

    def __post_init__(self) -> None:
        """Raises ValueError unless 0 <= strength <= 1."""
        if not 0 <= self.strength <= 1:
            raise ValueError(f"variation strength is {self.strength!r}, expected 0 to 1")

    @property
    def sequential(self) -> bool:
        """As `base`."""
        return self.base.sequential

    def normal(self, shape: Sequence[int], use: str, step: int, device: torch.device) -> torch.Tensor:
        """The noise of `base`; for "start" slerped toward that of `other`."""
        z = self.base.normal(shape, use, step, device)
        return slerp(z, self.other.normal(shape, use, step, device), self.strength) if use == "start" else z

    def keep(self, shape: Sequence[int], p: float, step: int, device: torch.device) -> torch.Tensor:
        """As `base`."""
        return self.base.keep(shape, p, step, device)


@dataclass(frozen=True)
class OneForAll:
    """The noise of `source` for one sample, given to every sample of the batch."""

    source: NoiseSource

    @property
    def sequential(self) -> bool:
        """As `source`."""
        return self.source.sequential

    def normal(self, shape: Sequence[int], use: str, step: int, device: torch.device) -> torch.Tensor:
        """One sample's noise, `shape[0]` times."""
        return self.source.normal((1, *shape[1:]), use, step, device).expand(*shape)

    def keep(self, shape: Sequence[int], p: float, step: int, device: torch.device) -> torch.Tensor:
        """As `source`, for each sample its own."""
        return self.source.keep(shape, p, step, device)


def slerp(a: torch.Tensor, b: torch.Tensor, weight: float) -> torch.Tensor:
    """Spherical interpolation from `a` (weight 0) to `b` (weight 1), each (b, ...), sample by sample.

    On the circle through both (Song et al. 2020, arXiv 2010.02502, eq. 67); where they are parallel, on the line.
    """
    if a.shape != b.shape:
        raise ValueError(f"slerp between {tuple(a.shape)} and {tuple(b.shape)}, expected one shape")
    per_sample = (-1, *[1] * (a.ndim - 1))
    wide = widest(a.device)
    u, v = a.flatten(1).to(wide), b.flatten(1).to(wide)
    cosine = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    theta = cosine.clamp(-1, 1).acos()
    straight = theta.sin().abs() < 1e-6
    sine = torch.where(straight, 1.0, theta.sin())
    w_a = torch.where(straight, 1.0 - weight, ((1 - weight) * theta).sin() / sine)
    w_b = torch.where(straight, weight, (weight * theta).sin() / sine)
    return (w_a.view(per_sample) * a.to(wide) + w_b.view(per_sample) * b.to(wide)).to(a.dtype)


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device that has no float64, as Apple's."""
    try:
        return torch.zeros(1, dtype=torch.float64, device=device).dtype
    except TypeError:
        return torch.float32
