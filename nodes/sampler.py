"""The sampler node."""

from typing import Any

import torch

from ..hosts import host
from ..hosts.plan import Options, Part, Plan
from ..sampler import PerStep, Scheme
from .options import OPTIONS
from .schedules import CURVE, SCHEDULE
from .sockets import number, rare, seed, socket, toggle, whole

__all__ = ["DDIMSampler"]


class DDIMSampler:
    DISPLAY_NAME = "DDIM Sampler"
    CATEGORY = "DDIM"
    DESCRIPTION = (
        "The DDIM sampler, with every control of the original implementation. It runs exactly the number of steps you "
        "ask for and ends on a clean image. Further controls are optional inputs."
    )
    FUNCTION = "sample"
    RETURN_TYPES = ("LATENT", "LATENT", "LATENT", "LATENT")
    RETURN_NAMES = ("latent", "x0", "steps_x", "steps_x0")
    OUTPUT_TOOLTIPS = (
        "The denoised latent: decode it to get the image.",
        "The model's last prediction of the clean latent.",
        "The noisy latent after each step, in order, as one batch: decode it for a film strip.",
        "The prediction of the clean latent at each step, in order, as one batch.",
    )
    SEARCH_ALIASES = ("ksampler", "ddim", "ddpm", "denoise", "eta", "x_T", "img2img", "inpaint", "song 2020")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": socket("MODEL", "The model that denoises the latent."),
                "positive": socket("CONDITIONING", "What the image should show."),
                "negative": socket("CONDITIONING", "What it should not show."),
                "latent": socket("LATENT", "The latent to denoise; at denoise 1 only its size and batch count matter."),
                "seed": seed("The seed of the noise: the same seed gives the same image."),
                "steps": whole(
                    20,
                    1,
                    1000,
                    "Number of sampling steps: exactly this many, except with presets that reproduce other samplers. "
                    "More steps are slower and finer.",
                ),
                "cfg": number(
                    5.0, 0, 100, 0.1, "Guidance scale: how closely to follow the prompt. 1 is off and twice as fast."
                ),
                "eta": number(
                    0.0, 0, 2, 0.01, "Amount of fresh noise added at each step: 0 is DDIM (none), 1 is DDPM (full)."
                ),
                "denoise": number(
                    1.0,
                    0.01,
                    1,
                    0.01,
                    "Denoising strength: 1 starts from pure noise; lower values keep more of the latent.",
                ),
            },
            "optional": {
                "guidance_schedule": socket(f"{CURVE},FLOAT", "A guidance scale for each step; replaces cfg."),
                "eta_schedule": socket(f"{CURVE},FLOAT", "An eta for each step; replaces eta."),
                "x_T": socket(
                    "LATENT", "Initial noise, used as it is instead of the seed's noise; should have unit variance."
                ),
                "mask": socket(
                    "MASK", "White (1) is inpainted, black (0) is kept: the opposite of the original sampler's mask."
                ),
                "x0": socket("LATENT", "The latent to keep outside the mask; by default the input latent."),
                "schedule": socket(SCHEDULE, "The timestep schedule, from Schedule (DDIM)."),
                "options": socket(OPTIONS, "Less common settings, from Options (DDIM) and related nodes."),
                "guider": socket(
                    "GUIDER",
                    "A ComfyUI guider, such as PerpNeg or Dual CFG. It takes precedence: model, positive, negative and "
                    "cfg are then ignored.",
                ),
                "start_step": rare(
                    whole(
                        0,
                        0,
                        10000,
                        "The step to start at. Above 0, the latent must still contain noise, as left by a sampler that "
                        "stopped there.",
                    )
                ),
                "end_step": rare(
                    whole(10000, 1, 10000, "The step to stop before; a value past the last step runs to the end.")
                ),
                "leftover_noise": rare(
                    toggle(
                        False,
                        "When stopping early, leave the noise in so that another sampler can continue. Off returns the "
                        "clean prediction.",
                    )
                ),
            },
        }

    def sample(
        self,
        model,
        positive: list,
        negative: list,
        latent: dict,
        seed: int,
        steps: int,
        cfg: float,
        eta: float,
        denoise: float,
        guidance_schedule: PerStep | None = None,
        eta_schedule: PerStep | None = None,
        x_T: dict | None = None,
        mask: torch.Tensor | None = None,
        x0: dict | None = None,
        schedule: Scheme | None = None,
        options: Options | None = None,
        guider: Any = None,
        start_step: int = 0,
        end_step: int = 10000,
        leftover_noise: bool = False,
    ) -> tuple[dict, dict, dict, dict]:
        """Return LATENT four times: the result, its x0, and both after each step."""
        if guider is not None and guidance_schedule is not None:
            raise ValueError("guider and guidance_schedule are both linked, expected one: a guider has its own scale")
        plan = Plan(
            seed=seed,
            steps=steps,
            scale=cfg if guidance_schedule is None else guidance_schedule,
            eta=eta if eta_schedule is None else eta_schedule,
            denoise=denoise,
            x_T=x_T and x_T["samples"],
            mask=mask,
            x0=x0 and x0["samples"],
            scheme=schedule or Scheme(),
            options=options or Options(),
            part=Part(start_step, end_step, leftover_noise),
            guider=guider,
        )
        return host.sample(model, positive, negative, latent, plan)
