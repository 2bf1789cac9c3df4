"""What the sampling loop costs besides the model: microseconds a step at eta 0, on (1, 4, 64, 64), one CPU thread.

The model costs nothing: it returns a tensor it has. "with x0" also computes the prediction of x0, which every step
yields; "and a look for NaN" does what finds a model's NaN at its step: no loop that gives both can take less. Each
candidate runs in turn, many times, and its best time counts. diffusers' DDIMScheduler is measured too where it is
installed.

    python benchmarks/sampler_overhead.py [--steps 200] [--repeats 30]
"""

import argparse
import math
import time
from collections.abc import Callable

import torch
from comfyui_ddim.sampler import DDIMSampler, ddim_steps, make_predictor, make_schedule


class Free:
    """A model that returns what it has."""

    num_timesteps, parameterization = 1000, "eps"
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas_cumprod = torch.cumprod(1 - betas, 0)
    alphas_cumprod_prev = torch.cat([torch.ones(1), alphas_cumprod[:-1]])

    def __init__(self, eps: torch.Tensor) -> None:
        self.eps = eps

    def apply_model(self, x: torch.Tensor, t: torch.Tensor, cond: None) -> torch.Tensor:
        """The same eps always."""
        return self.eps


def candidates(x: torch.Tensor, steps: int) -> dict[str, Callable[[], object]]:
    """What to measure, by name; each runs `steps` steps."""
    model = Free(torch.randn_like(x))
    schedule = make_schedule(model.alphas_cumprod, steps)
    predict = make_predictor(model, schedule, 1, None)
    scales = list(zip(schedule.signal[1:].tolist(), schedule.direction.tolist(), strict=True))

    @torch.no_grad()
    def update() -> None:
        state = x
        for signal, noise in scales:
            state = (signal * state).add_(model.eps, alpha=noise)

    @torch.no_grad()
    def with_x0(look: bool) -> None:
        state = x
        for signal, noise in scales:
            x0 = (state * signal).add_(model.eps, alpha=-noise)
            state = (x0 * signal).add_(model.eps, alpha=noise)
            if look and not math.isfinite(state.sum().item()):
                raise ValueError("NaN")

    def ours() -> None:
        for _ in ddim_steps(predict, x, schedule):
            pass

    sampler = DDIMSampler(model)
    found = {
        "the update alone": update,
        "with x0": lambda: with_x0(False),
        "and a look for NaN": lambda: with_x0(True),
        "ddim_steps": ours,
        "DDIMSampler.sample": lambda: sampler.sample(steps, 1, x.shape[1:], x_T=x, verbose=False),
    }
    try:
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    except ImportError:
        return found
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    scheduler.set_timesteps(steps)

    @torch.no_grad()
    def diffusers() -> None:
        state = x
        for t in scheduler.timesteps:
            state = scheduler.step(model.apply_model(state, t, None), t, state).prev_sample

    return found | {"diffusers DDIMScheduler": diffusers}


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    runs = candidates(torch.randn(1, 4, 64, 64), args.steps)
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(args.repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], (time.perf_counter() - start) / args.steps * 1e6)
    for name, us in best.items():
        print(f"{name:24} {us:6.1f} us a step, {us / best['ddim_steps']:5.2f} of ddim_steps")


if __name__ == "__main__":
    main()
