"""From an image back to the noise that it comes from."""

from dataclasses import replace

from ..hosts import host
from ..hosts.plan import Options, Plan
from ..sampler import FixedPoint, Scheme
from .options import OPTIONS
from .schedules import SCHEDULE
from .sockets import choice, number, rare, socket, whole

__all__ = ["DDIMInvert"]


class DDIMInvert:
    DISPLAY_NAME = "Invert (DDIM)"
    CATEGORY = "DDIM"
    DESCRIPTION = (
        "Finds the noise that DDIM would turn into a given image: sample from it again with another prompt to edit "
        "the image. Use the same steps and schedule in the sampler, and eta 0."
    )
    FUNCTION = "invert"
    RETURN_TYPES = ("LATENT", OPTIONS, "FLOAT", "FLOAT", "INT")
    RETURN_NAMES = ("x_T", "options", "residual", "residuals", "calls")
    OUTPUT_TOOLTIPS = (
        "The noise, for the sampler's x_T input.",
        "Options that bring the sampler back to the image exactly, in mode 'exact'.",
        "The largest error of any step; in plain mode, how far it is off.",
        "The error of each step, in the sampler's order, as one list of numbers.",
        "The number of model calls.",
    )
    SEARCH_ALIASES = ("encode", "unsampler", "noise inversion", "ddim encode")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": socket("MODEL", "The model that will sample from the noise."),
                "positive": socket("CONDITIONING", "A prompt that describes the image; or an empty one."),
                "negative": socket("CONDITIONING", "A negative prompt; has no effect at cfg 1."),
                "latent": socket("LATENT", "The image's latent."),
                "steps": whole(50, 1, 1000, "Number of steps; use the same number in the sampler."),
                "cfg": number(1.0, 0, 100, 0.1, "Guidance scale during inversion; 1 (off) is the most stable."),
                "mode": choice(
                    ["plain", "fixed point", "exact"],
                    "plain: one model call per step. fixed point: several, until the step converges. exact: also "
                    "records the remaining errors, for the sampler to undo.",
                    "fixed point",
                ),
                "iterations": whole(5, 1, 100, "fixed point: at most this many model calls per step; exact: one more."),
                "tolerance": rare(number(1e-4, 0, 1, 1e-5, "fixed point: a step whose error is at most this is done.")),
                "damping": rare(
                    number(1.0, 0.05, 1, 0.05, "Fraction of each correction that is applied; lower is more stable.")
                ),
            },
            "optional": {
                "schedule": socket(SCHEDULE, "The timesteps, from Schedule (DDIM); give the sampler the same."),
                "options": socket(OPTIONS, "Options from another node, to which these are added."),
                "denoise": number(
                    1.0,
                    0.01,
                    1,
                    0.01,
                    "How far to invert: 1 is to pure noise. Below 1, give the sampler the same, and the same latent: "
                    "an edit that keeps more of the image.",
                ),
            },
        }

    def invert(
        self,
        model,
        positive: list,
        negative: list,
        latent: dict,
        steps: int,
        cfg: float,
        mode: str,
        iterations: int,
        tolerance: float,
        damping: float,
        schedule: Scheme | None = None,
        options: Options | None = None,
        denoise: float = 1.0,
    ) -> tuple[dict, Options, float, list[float], int]:
        """Return LATENT of noise, DDIM_OPTIONS, the largest residual, all of them, and the number of model calls."""
        plan = Plan(seed=0, steps=steps, scale=cfg, denoise=denoise, scheme=schedule or Scheme())
        count = 1 if mode == "plain" else iterations
        solve = FixedPoint(count, 0.0 if mode == "exact" else tolerance, damping, measure=mode == "exact")
        result = host.invert(model, positive, negative, latent, plan, solve)
        noise = result.x_T if denoise == 1 else result.eps
        options = replace(options or Options(), replay=result.replay)
        return {"samples": noise}, options, max(result.residuals), result.residuals[::-1], result.calls
