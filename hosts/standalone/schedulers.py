"""ComfyUI's schedulers: the noise levels sigma that its samplers go through, from a model's own.

sigma^2 = (1 - alpha-bar) / alpha-bar. Everything is in float32, as there: which timestep a level is nearest to may
hang on the last bit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["SCHEDULERS", "Levels"]

LEAST_ALPHA_BAR = 4.8973451890853435e-08
"""What ComfyUI takes for an alpha-bar of 0, whose sigma would be infinite."""


@dataclass(frozen=True, eq=False)
class Levels:
    """A model's own noise levels (T,), rising, and their logarithms."""

    sigmas: Tensor
    log_sigmas: Tensor

    @classmethod
    def of(cls, alphas_cumprod: Tensor) -> "Levels":
        """Of alpha-bar (T,)."""
        alpha_bar = alphas_cumprod.detach().cpu().double().clamp(min=LEAST_ALPHA_BAR)
        sigmas = ((1 - alpha_bar) / alpha_bar).sqrt()
        return cls(sigmas.float(), sigmas.log().float())

    def __len__(self) -> int:
        """T."""
        return len(self.sigmas)

    def at(self, timesteps: Tensor) -> Tensor:
        """Sigmas at timesteps that needn't be whole numbers, between two of them along log(sigma)."""
        timesteps = timesteps.float().clamp(0, len(self) - 1)
        low, high, share = timesteps.floor().long(), timesteps.ceil().long(), timesteps.frac()
        return ((1 - share) * self.log_sigmas[low] + share * self.log_sigmas[high]).exp()

    def are_topped_by(self, sigmas: Tensor) -> bool:
        """Whether a run along `sigmas` (n,) begins at the noisiest of them, or beyond."""
        first, most = float(sigmas[0]), float(self.sigmas[-1])
        return first > most or math.isclose(first, most, rel_tol=1e-5)

    def nearest(self, sigmas: Tensor) -> Tensor:
        """The timesteps (n,) whose levels are nearest to sigmas (n,), measured in log(sigma)."""
        return (sigmas.log() - self.log_sigmas[:, None]).abs().argmin(dim=0)


def simple(levels: Levels, steps: int) -> Tensor:
    """Every T / steps-th of the model's own, from the noisiest."""
    stride = len(levels) / steps
    return landing(levels.sigmas[[-1 - int(i * stride) for i in range(steps)]])


def sgm_uniform(levels: Levels, steps: int) -> Tensor:
    """Even in the timestep, the last stride leading to the end."""
    return landing(levels.at(torch.linspace(len(levels) - 1, 0, steps + 1)[:-1]))


def karras(levels: Levels, steps: int) -> Tensor:
    """Even in sigma^(1/7) (Karras et al. 2022, arXiv 2206.00364, eq. 5)."""
    low, high = (float(sigma) ** (1 / 7) for sigma in (levels.sigmas[0], levels.sigmas[-1]))
    return landing((high + torch.linspace(0, 1, steps) * (low - high)) ** 7)


def exponential(levels: Levels, steps: int) -> Tensor:
    """Even in log(sigma)."""
    low, high = (math.log(float(sigma)) for sigma in (levels.sigmas[0], levels.sigmas[-1]))
    return landing(torch.linspace(high, low, steps).exp())


def ddim_uniform(levels: Levels, steps: int) -> Tensor:
    """The published DDIM's timesteps 1, 1 + T // steps, ...: often more than asked for."""
    return landing(levels.sigmas[1 :: max(len(levels) // steps, 1)].flip(0))


def beta(levels: Levels, steps: int) -> Tensor:
    """Timesteps as the quantiles of a beta distribution, dense at both ends (arXiv 2407.12173)."""
    shares = beta_quantile(1 - np.linspace(0, 1, steps, endpoint=False), 0.6)
    timesteps = np.rint(shares * (len(levels) - 1)).astype(np.int64)
    return landing(levels.sigmas[timesteps[np.append(True, np.diff(timesteps) != 0)]])


def normal(levels: Levels, steps: int) -> Tensor:
    """Even in the timestep, both ends included."""
    return landing(levels.at(torch.linspace(len(levels) - 1, 0, steps)))


def linear_quadratic(levels: Levels, steps: int) -> Tensor:
    """A short first stretch in even strides, then strides that grow."""
    first, reach = steps // 2, 0.025
    if not first:
        return landing(levels.sigmas[-1:])
    i = torch.arange(steps + 1, dtype=torch.float64)
    slope, rest = reach / first, steps - first
    progress = slope * i + (1 - slope * steps) * ((i - first).clamp(min=0) / rest) ** 2
    return (1 - progress).float() * levels.sigmas[-1]


def kl_optimal(levels: Levels, steps: int) -> Tensor:
    """Even in the angle arctan(sigma) (Sabour et al. 2024, arXiv 2404.14507)."""
    low, high = (math.atan(float(sigma)) for sigma in (levels.sigmas[0], levels.sigmas[-1]))
    share = torch.arange(steps, dtype=torch.float) / max(steps - 1, 1)
    return landing((share * low + (1 - share) * high).tan())


def landing(sigmas: Tensor) -> Tensor:
    """The levels, and 0 to end at."""
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def beta_quantile(share: np.ndarray, a: float) -> np.ndarray:
    """Quantiles of the beta distribution with both parameters `a`, for shares in (0, 1], by its series and bisection.

    I_x(a, a) = x^a / B(a, a) sum over n of (1 - a)_n / (n! (a + n)) x^n (Abramowitz and Stegun, 26.5.4 and 15.1.1),
    for x up to 1/2; beyond it by symmetry.
    """
    n = np.arange(1, 64)
    terms = np.append(1, np.cumprod((n - a) / n)) / (a + np.append(0, n))
    scale = math.gamma(2 * a) / math.gamma(a) ** 2
    wanted = np.minimum(share, 1 - share)
    low, high = np.zeros_like(wanted), np.full_like(wanted, 0.5)
    for _ in range(60):
        x = (low + high) / 2
        under = scale * x**a * np.polynomial.polynomial.polyval(x, terms) < wanted
        low, high = np.where(under, x, low), np.where(under, high, x)
    high[share == 0.5] = 0.5  # the middle exactly: half a timestep hangs on it
    return np.where(share > 0.5, 1 - high, high)


SCHEDULERS: dict[str, Callable[[Levels, int], Tensor]] = {
    f.__name__: f
    for f in (simple, sgm_uniform, karras, exponential, ddim_uniform, beta, normal, linear_quadratic, kl_optimal)
}
"""Every scheduler by its name: takes a model's levels and a number of steps, gives the sigmas of the run and 0."""
