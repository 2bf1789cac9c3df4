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
        "DDIM with every control of the published sampler: exactly as many steps as asked, ending on a clean image. "
        "Everything else comes in through the optional inputs."
    )
    FUNCTION = "sample"
    RETURN_TYPES = ("LATENT", "LATENT", "LATENT", "LATENT")
    RETURN_NAMES = ("latent", "x0", "steps_x", "steps_x0")
    OUTPUT_TOOLTIPS = (
        "The finished latent: decode it to an image.",
        "The model's last prediction of the clean latent.",
        "The noisy latent after each step, in order, as one batch: decode it to a film strip.",
        "The prediction of the clean latent at each step, in order, as one batch.",
    )
    SEARCH_ALIASES = ("ksampler", "ddim", "ddpm", "denoise", "eta", "x_T", "img2img", "inpaint", "song 2020")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": socket("MODEL", "The model that removes the noise."),
                "positive": socket("CONDITIONING", "What the image should show."),
                "negative": socket("CONDITIONING", "What it should not show."),
                "latent": socket("LATENT", "Size and number of images; below denoise 1 also what to start from."),
                "seed": seed("The seed of the noise: the same seed gives the same image."),
                "steps": whole(
                    20,
                    1,
                    1000,
                    "Number of steps: exactly this many, except with presets that reproduce other samplers. More is "
                    "slower and finer.",
                ),
                "cfg": number(
                    5.0, 0, 100, 0.1, "Guidance scale: how strongly to follow the prompt. 1 is off and twice as fast."
                ),
                "eta": number(0.0, 0, 2, 0.01, "Fresh noise at each step: 0 is DDIM (none), 1 is DDPM (full)."),
                "denoise": number(
                    1.0,
                    0.01,
                    1,
                    0.01,
                    "How much to change the latent: 1 starts from pure noise, less keeps more of it.",
                ),
            },
            "optional": {
                "guidance_schedule": socket(f"{CURVE},FLOAT", "A guidance scale for every step, in place of cfg."),
                "eta_schedule": socket(f"{CURVE},FLOAT", "An eta for every step, in place of the one above."),
                "x_T": socket(
                    "LATENT", "Noise to start from, in place of the seed's; of unit variance, used as it is."
                ),
                "mask": socket(
                    "MASK", "White (1) is inpainted, black (0) is kept: the opposite of the published sampler's mask."
                ),
                "x0": socket("LATENT", "What to keep outside the mask; without it, the latent itself."),
                "schedule": socket(SCHEDULE, "The timesteps, from Schedule (DDIM)."),
                "options": socket(OPTIONS, "Rarer controls, from Options (DDIM) and related nodes."),
                "guider": socket(
                    "GUIDER",
                    "Any guider of ComfyUI's, such as PerpNeg or Dual CFG. It decides: model, positive, negative and "
                    "cfg above then don't count.",
                ),
                "start_step": rare(
                    whole(
                        0,
                        0,
                        10000,
                        "The first step to take. Above 0, the latent is one with its noise left in, from another "
                        "sampler's end_step.",
                    )
                ),
                "end_step": rare(whole(10000, 1, 10000, "Stop before this step; past the last one runs to the end.")),
                "leftover_noise": rare(
                    toggle(
                        False,
                        "At an earlier end_step, leave the noise in, for another sampler to go on. Off gives the clean "
                        "prediction there.",
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
            raise ValueError("guider and guidance_schedule are both wired, expected one: a guider has its own scale")
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
