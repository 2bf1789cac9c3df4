"""The figures of docs/sampler.md that need no network: data whose model is known exactly, in a few seconds.

python benchmarks/sampler_figures.py
"""

import numpy as np
import torch
from comfyui_ddim.sampler import (
    FixedPoint,
    Inpaint,
    KeyedNoise,
    Predict,
    Replay,
    Schedule,
    ddim_steps,
    invert_steps,
    make_schedule,
    repaint_walk,
)

MEAN, VAR = 0.3, 0.64


def gaussian(schedule: Schedule) -> Predict:
    """The exact predictor of N(0.3, 0.8^2) data."""

    def predict(x: torch.Tensor, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        s, n = float(schedule.signal[i]), float(schedule.noise[i])
        off = (x - s * MEAN) / (VAR * s**2 + n**2)
        return MEAN + VAR * s * off, n * off

    return predict


def round_trip(steps: int, solve: FixedPoint, replay: bool = False) -> float:
    """Rms of a picture after inversion and the way back, in float32."""
    schedule = make_schedule("scaled_linear", steps)
    x = x0 = MEAN + VAR**0.5 * torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    seen = Replay()
    for step in invert_steps(gaussian(schedule), x0, schedule, solve):
        seen.see(step)
        x = step.x
    for step in ddim_steps(gaussian(schedule), x, schedule, after=seen.correct if replay else None):
        x = step.x
    return (x - x0).double().pow(2).mean().sqrt().item()


def order(spacing: str, landing: str) -> float:
    """How fast the error falls with the number of steps: minus the slope of their logarithms, eta 0, float64."""
    x_T = torch.randn(1, 1000, generator=torch.Generator().manual_seed(0)).double()
    counts, errors = (25, 50, 100, 200), []
    for count in counts:
        schedule = make_schedule("scaled_linear", count, spacing=spacing, landing=landing)
        (s, s_end), (n, n_end) = schedule.signal[[0, -1]], schedule.noise[[0, -1]]
        exact = s_end * MEAN + (x_T - s * MEAN) * np.sqrt((s_end**2 * VAR + n_end**2) / (s**2 * VAR + n**2))
        *_, last = ddim_steps(gaussian(schedule), x_T, schedule)
        errors.append((last.x - exact).pow(2).mean().sqrt().item())
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0].item()


def hole(repeats: int) -> float:
    """Mean of a pixel whose neighbour, correlated by 0.9, is kept at 1.5: it should be 1.35."""
    schedule, x0, count = make_schedule("scaled_linear", 20), 1.5, 20_000
    covariance = torch.tensor([[1, 0.9], [0.9, 1]], dtype=torch.float64)

    def predict(x: torch.Tensor, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        s, n = float(schedule.signal[i]), float(schedule.noise[i])
        weight = torch.linalg.inv(s**2 * covariance + n**2 * torch.eye(2, dtype=torch.float64)).to(x)
        eps = n * torch.einsum("ij,bjn->bin", weight, x)
        return (x - n * eps) / s, eps

    start = torch.randn(1, 2, count, generator=torch.Generator().manual_seed(0))
    kept = Inpaint(torch.tensor([1.0, 0.0]).view(1, 2, 1), torch.full((1, 2, count), x0))
    walk = repaint_walk(20, 2, repeats)
    *_, last = ddim_steps(predict, start, schedule, noise=KeyedNoise.batch(0, 1), inpaint=kept, walk=walk)
    return last.x[0, 1].mean().item()


def main() -> None:
    """Prints them."""
    ways = {"plain": (FixedPoint(), False), "fixed point, 5": (FixedPoint(5), False)}
    ways["replay"] = (FixedPoint(measure=True), True)
    for name, (solve, replay) in ways.items():
        trips = ", ".join(f"{count} steps {round_trip(count, solve, replay):.3g}" for count in (10, 50, 200))
        print(f"round trip, {name}: {trips}")
    for spacing, landing in (("karras", "first"), ("trailing", "clean")):
        print(f"order of convergence, {spacing} spacing, landing {landing}: {order(spacing, landing):.2f}")
    print(f"RePaint: {hole(1):.2f} without, {hole(10):.2f} with stretches of 2 run 10 times, 1.35 expected")


if __name__ == "__main__":
    main()
