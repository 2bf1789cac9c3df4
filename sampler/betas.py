"""Noise schedules of the forward process: betas, alpha-bar, and its rescale to zero terminal SNR."""

import math

import numpy as np

BETA_SCHEDULES = ("scaled_linear", "linear", "cosine", "squared_cosine", "sqrt")
"""Names that `make_betas` knows. The published code says "linear" for `scaled_linear`, "sqrt_linear" for
`linear` and "squaredcos_cap_v2" for `squared_cosine`."""


def make_betas(
    kind: str = "scaled_linear", num_timesteps: int = 1000, start: float = 0.00085, end: float = 0.012
) -> np.ndarray:
    """Betas of the forward process, (num_timesteps,) float64.

    `scaled_linear` is linear in sqrt(beta), `linear` in beta, `sqrt` the square root of `linear`; all three run
    from `start` to `end` (for `sqrt`, from their roots). `cosine` and `squared_cosine` are two names of the field
    for one schedule (Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17, s = 0.008, beta at most 0.999); they use
    neither bound. The defaults are Stable Diffusion's.
    """
    if kind not in BETA_SCHEDULES:
        raise ValueError(f"beta schedule {kind!r} is not one of {', '.join(BETA_SCHEDULES)}")
    if num_timesteps < 1:
        raise ValueError(f"num_timesteps is {num_timesteps!r}, expected at least 1")
    if kind in ("cosine", "squared_cosine"):
        u = np.arange(num_timesteps + 1) / num_timesteps
        alpha_bar = np.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        return np.clip(1 - alpha_bar[1:] / alpha_bar[:-1], 0, 0.999)
    if not 0 < start <= end < 1:
        raise ValueError(f"betas run from {start!r} to {end!r}, expected 0 < start <= end < 1")
    if kind == "scaled_linear":
        return np.linspace(math.sqrt(start), math.sqrt(end), num_timesteps) ** 2
    betas = np.linspace(start, end, num_timesteps)
    return np.sqrt(betas) if kind == "sqrt" else betas


def alphas_cumprod(betas: np.ndarray) -> np.ndarray:
    """alpha-bar of every timestep, the running product of 1 - beta, float64."""
    return np.cumprod(1 - np.asarray(betas, dtype=np.float64))


def zero_terminal_snr(alphas_cumprod: np.ndarray) -> np.ndarray:
    """Alpha-bar rescaled so that the last timestep holds no signal at all (Lin et al. 2023, arXiv 2305.08891, alg. 1).

    The first value stays, the last becomes exactly 0. Only v- and x0-models can start from there.
    """
    root = np.sqrt(np.asarray(alphas_cumprod, dtype=np.float64))
    first, last = root[0], root[-1]
    return ((root - last) * first / (first - last)) ** 2
