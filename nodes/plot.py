"""An image of what a run will do, and of what it did."""

import math
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from ..hosts import host
from ..hosts.plan import Plan
from ..sampler import PerStep, Schedule, Scheme
from .chart import Line, Panel, draw_panels, spread
from .files import with_preview
from .schedules import CURVE, SCHEDULE
from .sockets import choice, number, rare, socket, whole

__all__ = ["DDIMPlot", "Series", "Trace", "panels", "series", "trace", "trace_panels"]

BLUE, ORANGE, GREEN, PURPLE = (29, 100, 196), (201, 76, 16), (22, 128, 61), (126, 34, 206)
TEAL, RED, BROWN, GREY = (13, 116, 125), (190, 24, 60), (133, 88, 20), (71, 85, 105)


@dataclass(frozen=True)
class Series:
    """What a run of S steps does: levels before, between and after its steps, and what each step does.

    edges: (S + 1,) where each level stands on the x axis
    alpha_bar: (S + 1,) the signal's share of each level
    sigma, ancestral: (S,) std of the noise that each step adds, and what it would be at eta 1
    guidance, eta: (S,)
    """

    edges: tuple[float, ...]
    alpha_bar: tuple[float, ...]
    sigma: tuple[float, ...]
    ancestral: tuple[float, ...]
    guidance: tuple[float, ...]
    eta: tuple[float, ...]


def series(schedule: Schedule, guidance: tuple[float, ...], over: str) -> Series:
    """The numbers to draw, over "steps" (0 ... S) or over "timesteps" (the run's own, then 0)."""
    timesteps = [*schedule.timesteps.tolist(), 0]
    return Series(
        edges=tuple(map(float, timesteps if over == "timesteps" else range(len(timesteps)))),
        alpha_bar=tuple(schedule.alpha_bar.tolist()),
        sigma=tuple(schedule.sigma.tolist()),
        ancestral=tuple(schedule.with_eta(1.0).sigma.tolist()),
        guidance=guidance,
        eta=tuple(schedule.eta.tolist()),
    )


def panels(drawn: Series, x_range: tuple[float, float]) -> list[Panel]:
    """Four charts: alpha-bar, sigma, guidance and eta."""
    levels = Line(tuple(zip(drawn.edges, drawn.alpha_bar, strict=True)), dots=True)
    bound = Line(_stairs(drawn.edges, drawn.ancestral), "- - -  at eta 1", dashed=True)

    def steps(values: tuple[float, ...]) -> Line:
        return Line(_stairs(drawn.edges, values), filled=True)

    return [
        Panel("alpha-bar", _extent(drawn.alpha_bar), BLUE, (levels,), x_range, (0.0, 1.0)),
        Panel(
            "sigma, noise added",
            _extent(drawn.sigma),
            ORANGE,
            (bound, steps(drawn.sigma)),
            x_range,
            spread((*drawn.sigma, *drawn.ancestral)),
        ),
        Panel("guidance", _extent(drawn.guidance), GREEN, (steps(drawn.guidance),), x_range, spread(drawn.guidance)),
        Panel("eta", _extent(drawn.eta), PURPLE, (steps(drawn.eta),), x_range, spread(drawn.eta, 1.0)),
    ]


@dataclass(frozen=True)
class Trace:
    """What a run of S steps did: root mean squares over its latents, as the model sees them, averaged over the batch.

    x0: (S,) of each step's prediction; x0_change: (S - 1,) of its difference from the one before
    eps: (S - 1,) of the noise that each step but the first saw in its state; change: (S - 1,) of what it did to it
    """

    x0: tuple[float, ...]
    x0_change: tuple[float, ...]
    eps: tuple[float, ...]
    change: tuple[float, ...]


def trace(schedule: Schedule, states: torch.Tensor, predictions: torch.Tensor) -> Trace:
    """The trace of scaled `states` after the steps and their x0 `predictions`, each (S b, c, ...), a step's together.

    The state before the first step isn't among them. Raises ValueError where they aren't those of S steps.
    """
    steps = len(schedule)
    for name, given in (("steps_x", states), ("steps_x0", predictions)):
        if len(given) % steps or given.shape != states.shape:
            raise ValueError(
                f"{name} has the shape {'x'.join(map(str, given.shape))}, expected as many latents for each of the "
                f"run's {steps} steps in steps_x and steps_x0: from a whole run with log_every 1 and without RePaint"
            )
    x = states.double().unflatten(0, (steps, -1))
    x0 = predictions.double().unflatten(0, (steps, -1))
    per_step = (-1, *[1] * (x.ndim - 1))
    signal, noise = (torch.tensor(each[1:-1]).view(per_step) for each in (schedule.signal, schedule.noise))
    eps = (x[:-1] - signal * x0[1:]) / noise
    return Trace(*map(_rms, (x0, x0.diff(dim=0), eps, x.diff(dim=0))))


def _rms(values: torch.Tensor) -> tuple[float, ...]:
    return tuple(values.square().flatten(2).mean(2).sqrt().mean(1).tolist())


def trace_panels(edges: tuple[float, ...], seen: Trace, x_range: tuple[float, float]) -> list[Panel]:
    """Four charts: what the model predicted and what the steps did."""

    def chart(title: str, colour: tuple[int, int, int], values: tuple[float, ...]) -> Panel:
        line = Line(_stairs(edges[-len(values) - 1 :], values), filled=True) if values else Line(())
        return Panel(title, _extent(values) if values else "", colour, (line,), x_range, spread(values))

    return [
        chart("x0, rms", TEAL, seen.x0),
        chart("eps, rms", RED, seen.eps),
        chart("change of x0, rms", BROWN, seen.x0_change),
        chart("change of x, rms", GREY, seen.change),
    ]


def _stairs(edges: tuple[float, ...], values: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    """Corners of a line that has each value from its edge to the next."""
    return tuple(chain.from_iterable(((edges[i], v), (edges[i + 1], v)) for i, v in enumerate(values)))


def _extent(values: tuple[float, ...]) -> str:
    low, high = (f"{each:.3g}" for each in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def headline(schedule: Schedule) -> str:
    """The run in a line: how many steps, between which timesteps, and where it ends."""
    first, last, end = schedule.timesteps[0], schedule.timesteps[-1], schedule.alpha_bar[-1]
    steps = f"{len(schedule)} steps" if len(schedule) > 1 else "1 step"
    table = f"timesteps {first:g} to {last:g}" if len(schedule) > 1 else f"timestep {first:g}"
    return f"{steps}, {table}, ends {'clean' if end == 1 else f'at alpha-bar {end:.4g}'}"


class DDIMPlot:
    DISPLAY_NAME = "Plot Schedule (DDIM)"
    CATEGORY = "DDIM/schedules"
    DESCRIPTION = (
        "Plots a run before it runs: the signal left at each step (alpha-bar), the noise that each step adds (sigma), "
        "guidance and eta. With the sampler's steps_x and steps_x0, also what happened."
    )
    FUNCTION = "plot"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("plot",)
    OUTPUT_TOOLTIPS = ("The plots, as one image.",)
    SEARCH_ALIASES = ("plot", "chart", "graph", "alphas_cumprod", "show schedule", "sigmas")
    HAS_INTERMEDIATE_OUTPUT = True  # ComfyUI shows its picture also when the node comes from the cache

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": socket("MODEL", "The model that the sampler uses; its noise levels are plotted."),
                "steps": whole(20, 1, 1000, "Number of steps, as in the sampler."),
                "cfg": number(5.0, 0, 100, 0.1, "Guidance scale, as in the sampler."),
                "eta": number(0.0, 0, 2, 0.01, "Eta, as in the sampler: 0 is DDIM, 1 is DDPM."),
                "denoise": number(1.0, 0.01, 1, 0.01, "Denoise, as in the sampler: lower starts later in the run."),
                "over": choice(
                    ["steps", "timesteps"],
                    "The x axis: the steps of the run, or the model's training timesteps.",
                ),
                "width": rare(whole(768, 320, 2048, "Width of the image in pixels.", 8)),
                "height": rare(whole(512, 256, 2048, "Height of the image in pixels.", 8)),
            },
            "optional": {
                "guidance_schedule": socket(f"{CURVE},FLOAT", "A guidance scale for each step; replaces cfg."),
                "eta_schedule": socket(f"{CURVE},FLOAT", "An eta for each step; replaces eta."),
                "schedule": socket(SCHEDULE, "The timestep schedule, from Schedule (DDIM)."),
                "steps_x": socket(
                    "LATENT", "The sampler's steps_x: together with steps_x0 it adds four plots of what happened."
                ),
                "steps_x0": socket("LATENT", "The sampler's steps_x0."),
            },
        }

    def plot(
        self,
        model,
        steps: int,
        cfg: float,
        eta: float,
        denoise: float,
        over: str,
        width: int,
        height: int,
        guidance_schedule: PerStep | None = None,
        eta_schedule: PerStep | None = None,
        schedule: Scheme | None = None,
        steps_x: dict | None = None,
        steps_x0: dict | None = None,
    ) -> tuple | dict:
        """Return IMAGE (1, height, width, 3); ValueError where the sampler would raise it."""
        plan = Plan(
            seed=0,
            steps=steps,
            scale=cfg if guidance_schedule is None else guidance_schedule,
            eta=eta if eta_schedule is None else eta_schedule,
            denoise=denoise,
            scheme=schedule or Scheme(),
        )
        if (steps_x is None) != (steps_x0 is None):
            raise ValueError("only one of steps_x and steps_x0 is linked, expected both or neither")
        run = host.schedule(model, plan)
        drawn = series(run, plan.guidance.scales(len(run)), over)
        top = host.schedule(model, Plan(seed=0, steps=1)).timesteps[0]
        x_range = (math.ceil(top / 10) * 10.0, 0.0) if over == "timesteps" else (0.0, float(len(run)))
        label = "timestep" if over == "timesteps" else "step"
        charts = panels(drawn, x_range)
        if steps_x is not None:
            seen = trace(run, *(host.scaled(model, each["samples"]) for each in (steps_x, steps_x0)))
            charts += trace_panels(drawn.edges, seen, x_range)
        picture = draw_panels(charts, headline(run), label, width, height)
        return with_preview(torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None])
