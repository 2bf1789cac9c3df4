"""The table a run follows: for each step its timestep, the levels it goes between, and the noise it adds.

A level is a pair (signal, noise) of x = signal x0 + noise eps. Diffusion models have signal = sqrt(a) and
noise = sqrt(1 - a), with a = alpha-bar; flow models signal = 1 - t and noise = t. One update serves both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from .betas import alphas_cumprod as cumulated
from .betas import make_betas, zero_terminal_snr
from .curves import PerStep, resolve
from .spacing import check_timesteps, make_timesteps

LANDINGS = ("clean", "first")
"""Where the last step ends: "clean" at alpha-bar 1, "first" at the first training timestep's, as published."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """A run of S steps in float64, noisiest first. Step i goes from level i to level i + 1.

    timesteps: (S,) what the model is told, int64 (float64 for flow models)
    signal, noise: (S + 1,) the levels; the last one is where the run lands
    eta: (S,) share of the ancestral noise: 0 is DDIM, 1 the DDPM posterior

    Raises ValueError where eta asks for more noise than the next level holds; the message has the bound.
    """

    timesteps: np.ndarray
    signal: np.ndarray
    noise: np.ndarray
    eta: np.ndarray

    def __post_init__(self) -> None:
        """Checks lengths and eta, and locks the arrays."""
        steps = len(self.timesteps)
        if not (len(self.signal) == len(self.noise) == steps + 1 and len(self.eta) == steps):
            raise ValueError(
                f"{steps} timesteps have {len(self.signal)} signal levels, {len(self.noise)} noise levels and "
                f"{len(self.eta)} etas, expected {steps + 1}, {steps + 1} and {steps}"
            )
        self._check_eta()
        for array in (self.timesteps, self.signal, self.noise, self.eta):
            array.flags.writeable = False

    def _check_eta(self) -> None:
        bound = np.full(len(self), np.inf)
        np.divide(self.noise[1:], self._ancestral, out=bound, where=self._ancestral > 0)
        over = np.flatnonzero(self.eta > bound * (1 + 1e-9))
        if over.size and (self.eta == self.eta[0]).all():
            raise ValueError(f"eta is {self.eta[0].item()!r}, expected at most {bound.min():.6f} with these timesteps")
        if over.size:
            i = over[0]
            raise ValueError(f"eta is {self.eta[i].item()!r} at step {i}, expected at most {bound[i]:.6f} there")

    def __len__(self) -> int:
        """S, the number of steps."""
        return len(self.timesteps)

    @cached_property
    def _ancestral(self) -> np.ndarray:
        """Noise std of the exact posterior of x_prev given x_t and x0, eq. 16 at eta = 1 for any signal and noise."""
        s, n, s_prev, n_prev = self.signal[:-1], self.noise[:-1], self.signal[1:], self.noise[1:]
        return n_prev / n * np.sqrt(np.maximum(n**2 - (s / s_prev) ** 2 * n_prev**2, 0))

    @cached_property
    def sigma(self) -> np.ndarray:
        """(S,) std of the noise that each step adds (Song et al. 2020, arXiv 2010.02502, eq. 16)."""
        return self.eta * self._ancestral

    @cached_property
    def direction(self) -> np.ndarray:
        """(S,) weight of eps in each step, sqrt(1 - a_prev - sigma^2) (eq. 12)."""
        return np.sqrt(np.maximum(self.noise[1:] ** 2 - self.sigma**2, 0))

    @cached_property
    def alpha_bar(self) -> np.ndarray:
        """(S + 1,) signal^2 / (signal^2 + noise^2) of each level: alpha-bar itself for diffusion models."""
        return self.signal**2 / (self.signal**2 + self.noise**2)

    def with_eta(self, eta: PerStep) -> "Schedule":
        """The same run with another eta: a number, S numbers or a curve, none below 0."""
        return replace(self, eta=np.array(resolve(eta, len(self), "eta", low=0)))

    def last(self, steps: int) -> "Schedule":
        """The run's last `steps` steps: where image-to-image starts. ValueError unless 0 <= steps <= S."""
        if not 0 <= steps <= len(self):
            raise ValueError(f"the last {steps!r} steps were asked for, expected 0 to {len(self)}")
        k = len(self) - steps
        return Schedule(self.timesteps[k:], self.signal[k:], self.noise[k:], self.eta[k:])

    def noised(self, x0: torch.Tensor, z: torch.Tensor, level: int = 0) -> torch.Tensor:
        """x0 taken to `level` with the noise z: signal x0 + noise z. Level 0 is where the run starts."""
        return float(self.signal[level]) * x0 + float(self.noise[level]) * z


def make_schedule(
    alphas_cumprod: str | Sequence[float] | np.ndarray | torch.Tensor,
    steps: int | Sequence[int],
    *,
    spacing: str = "uniform",
    landing: str = "clean",
    eta: PerStep = 0.0,
    denoise: float = 1.0,
    zero_snr: bool = False,
) -> Schedule:
    """The schedule of a diffusion model with the given alpha-bar (T,), or that of a beta schedule by its name.

    A name is one of `BETA_SCHEDULES`, with `make_betas`'s defaults; `zero_snr` rescales to zero terminal SNR.
    `steps` is their number, or the timesteps themselves, noisiest first (`spacing` is not used then). The level a
    step ends on is the next one's start, always, and the last one's is `landing`. With `denoise` below 1 the
    table is that of round(steps / denoise) steps, of which the last `steps` are run; eta counts from the first
    step run. Raises ValueError on anything out of range.
    """
    alpha_bar = _check_alpha_bar(alphas_cumprod)
    if zero_snr:
        alpha_bar = zero_terminal_snr(alpha_bar)
    if landing not in LANDINGS:
        raise ValueError(f"landing {landing!r} is not one of {', '.join(LANDINGS)}")
    if not 0 < denoise <= 1:
        raise ValueError(f"denoise is {denoise!r}, expected above 0 and at most 1")
    if isinstance(steps, Sequence | np.ndarray):
        if denoise != 1:
            raise ValueError(f"denoise is {denoise!r} with explicit timesteps, expected 1: leave timesteps out instead")
        table = check_timesteps(steps, len(alpha_bar))
    elif denoise == 1:
        table = make_timesteps(steps, alpha_bar, spacing)
    else:
        if round(steps / denoise) > len(alpha_bar):
            raise ValueError(
                f"{steps!r} steps at denoise {denoise!r} need a table of {round(steps / denoise)}, "
                f"expected at most {len(alpha_bar)}"
            )
        table = make_timesteps(round(steps / denoise), alpha_bar, spacing)[-steps:]
    end = 1.0 if landing == "clean" else alpha_bar[0]
    levels = np.append(alpha_bar[table], end)
    return Schedule(table.copy(), np.sqrt(levels), np.sqrt(1 - levels), np.zeros(len(table))).with_eta(eta)


def make_flow_schedule(steps: int, *, shift: float = 1.0, time_scale: float = 1000.0, eta: PerStep = 0.0) -> Schedule:
    """The schedule of a flow model x_t = (1 - t) x0 + t eps, from t = 1 to 0 in `steps` even strides.

    `shift` bends t to shift t / (1 + (shift - 1) t) (Esser et al. 2024, arXiv 2403.03206, eq. 23); the model is
    told t times `time_scale`. At eta 0 this is Euler's method on the flow.
    """
    if steps < 1 or shift <= 0 or time_scale <= 0:
        raise ValueError(f"steps {steps!r}, shift {shift!r}, time_scale {time_scale!r}: expected all above 0")
    t = np.linspace(1, 0, steps + 1)
    t = shift * t / (1 + (shift - 1) * t)
    return Schedule(t[:-1] * time_scale, 1 - t, t, np.zeros(steps)).with_eta(eta)


def schedule_of_sigmas(
    sigmas: np.ndarray | torch.Tensor, timesteps: np.ndarray, *, flow: bool = False, eta: PerStep = 0.0
) -> Schedule:
    """The schedule along ComfyUI's noise levels (S + 1,), noisiest first, told to the model as `timesteps` (S,).

    A diffusion model's state there is x0 + sigma eps, ours is that times signal = 1 / sqrt(1 + sigma^2). A flow
    model's is (1 - sigma) x0 + sigma eps, as ours. Raises ValueError for levels that no run can go through.
    """
    level = np.asarray(sigmas.detach().cpu() if isinstance(sigmas, torch.Tensor) else sigmas, dtype=np.float64)
    highest = 1.0 if flow else np.inf
    finite = np.isfinite(level).all() and (level >= 0).all() and (level <= highest).all()
    if level.ndim != 1 or not len(level) or not finite or not level[:-1].all():
        raise ValueError(
            f"sigmas are {level.tolist()!r}, expected numbers above 0, and at most {highest}, then maybe 0"
        )
    signal = 1 - level if flow else 1 / np.sqrt(1 + level**2)
    noise = level.copy() if flow else level * signal
    return Schedule(timesteps, signal, noise, np.zeros(len(timesteps))).with_eta(eta)


def _check_alpha_bar(values: str | Sequence[float] | np.ndarray | torch.Tensor) -> np.ndarray:
    if isinstance(values, str):
        return cumulated(make_betas(values))
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    alpha_bar = np.asarray(values, dtype=np.float64)
    if alpha_bar.ndim != 1 or not ((alpha_bar >= 0) & (alpha_bar < 1)).all() or (np.diff(alpha_bar) > 0).any():
        raise ValueError(f"alphas_cumprod is {alpha_bar!r}, expected values falling from below 1 to at least 0")
    return alpha_bar
