"""Which training timesteps a run of S steps visits.

Every table here is noisiest first. All but the published ones have exactly S strictly decreasing entries, for
every S from 1 to the number of training timesteps.
"""

from collections.abc import Callable

import numpy as np


def uniform(steps: int, alpha_bar: np.ndarray) -> np.ndarray:
    """Even strides over the whole range, ending at timestep 1; the published table wherever that has S entries.

    A single step starts at the last timestep: x_T is pure noise and belongs there. S = T is every timestep.
    """
    total = len(alpha_bar)
    if steps == 1:
        return np.array([total - 1])
    table = np.arange(steps) * total // steps
    return (table + min(1, total - 1 - table[-1]))[::-1]


def leading(steps: int, alpha_bar: np.ndarray) -> np.ndarray:
    """Strides of the integer T // S from timestep 1 up, as diffusers' "leading" with offset 1."""
    total = len(alpha_bar)
    table = np.arange(steps) * (total // steps)
    return (table + min(1, total - 1 - table[-1]))[::-1]


def trailing(steps: int, alpha_bar: np.ndarray) -> np.ndarray:
    """Even strides down from the last timestep (Lin et al. 2023, arXiv 2305.08891, section 3.3)."""
    total = len(alpha_bar)
    return np.round(total - np.arange(steps) * total / steps).astype(np.int64) - 1


def linspace(steps: int, alpha_bar: np.ndarray) -> np.ndarray:
    """From the last timestep to timestep 0, both included; a single step is the last timestep."""
    return np.round(np.linspace(len(alpha_bar) - 1, 0, steps)).astype(np.int64)


def quad(steps: int, alpha_bar: np.ndarray) -> np.ndarray:
    """Dense near the clean end, growing as the square (Song et al. 2020, arXiv 2010.02502, appendix D.2)."""
    return np.floor(np.linspace(np.sqrt(len(alpha_bar) - 1), 0, steps) ** 2).astype(np.int64)


def karras(steps: int, alpha_bar: np.ndarray) -> np.ndarray:
    """The timesteps nearest to an even ramp in sigma^(1/7), sigma^2 = (1 - a) / a (Karras et al. 2022, eq. 5)."""
    known = alpha_bar > 0  # with zero terminal SNR the last sigma is infinite
    log_sigma = 0.5 * np.log((1 - alpha_bar[known]) / alpha_bar[known])
    ramp = np.linspace(np.exp(log_sigma[-1] / 7), np.exp(log_sigma[0] / 7), steps)
    table = np.round(np.interp(7 * np.log(ramp), log_sigma, np.arange(len(log_sigma)))).astype(np.int64)
    table[0] = len(alpha_bar) - 1
    return table


def published(steps: int, alpha_bar: np.ndarray) -> np.ndarray:
    """The published uniform table: strides of T // S plus 1, so often more than S entries.

    Entries past the last training timestep, on which the published code crashes, are left out.
    """
    total = len(alpha_bar)
    table = np.arange(0, total, total // steps) + 1
    return table[table < total][::-1]


def published_quad(steps: int, alpha_bar: np.ndarray) -> np.ndarray:
    """The published quadratic table: its top is 0.8 T, and from S = 30 its low end has repeated entries."""
    table = (np.linspace(0, np.sqrt(len(alpha_bar) * 0.8), steps) ** 2).astype(np.int64) + 1
    return table[::-1]


SPACINGS: dict[str, Callable[[int, np.ndarray], np.ndarray]] = {
    f.__name__: f for f in (uniform, leading, trailing, linspace, quad, karras, published, published_quad)
}
"""Every spacing by name; each takes S and alpha-bar (T,) and returns timesteps, noisiest first."""

AS_PUBLISHED = ("published", "published_quad")


def make_timesteps(steps: int, alpha_bar: np.ndarray, spacing: str = "uniform") -> np.ndarray:
    """The int64 timesteps of a run, noisiest first.

    Raises ValueError when `steps` is not a whole number from 1 to T or the spacing is unknown.
    """
    total = len(alpha_bar)
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not 1 <= steps <= total:
        raise ValueError(f"steps is {steps!r}, expected a whole number from 1 to {total}")
    if spacing not in SPACINGS:
        raise ValueError(f"spacing {spacing!r} is not one of {', '.join(SPACINGS)}")
    table = SPACINGS[spacing](steps, alpha_bar)
    return table if spacing in AS_PUBLISHED else _spread(table, total)


def check_timesteps(timesteps: list[int], total: int) -> np.ndarray:
    """An explicit table, noisiest first, as int64; ValueError unless strictly decreasing inside 0 ... T - 1."""
    table = np.asarray(timesteps)
    if table.ndim != 1 or len(table) == 0 or not np.issubdtype(table.dtype, np.integer):
        raise ValueError(f"timesteps are {timesteps!r}, expected a list of whole numbers")
    if table.max() >= total or table.min() < 0 or (np.diff(table) >= 0).any():
        raise ValueError(f"timesteps are {timesteps!r}, expected them to fall strictly, within {total - 1} ... 0")
    return table.astype(np.int64)


def _spread(table: np.ndarray, total: int) -> np.ndarray:
    """Parts entries that rounding made equal, moving each as little as needed."""
    rank = np.arange(len(table))[::-1]  # entries below each one
    rising = table[::-1] - rank[::-1]
    free = np.clip(np.maximum.accumulate(rising), 0, total - len(table))[::-1]
    return free + rank
