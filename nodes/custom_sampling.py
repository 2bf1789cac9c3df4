"""The sampler in parts, for ComfyUI's SamplerCustomAdvanced: SAMPLER, SIGMAS, GUIDER and NOISE."""

from ..hosts import host
from ..hosts.plan import Options
from ..sampler import Guidance, PerStep, Scheme
from .options import OPTIONS
from .schedules import CURVE, SCHEDULE
from .sockets import choice, number, rare, seed, socket, whole

__all__ = ["DDIMFixedNoise", "DDIMGuider", "DDIMSamplerSelect", "DDIMSigmas"]

CATEGORY = "DDIM/custom sampling"


class DDIMSamplerSelect:
    DISPLAY_NAME = "Sampler Select (DDIM)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "DDIM as a SAMPLER, for SamplerCustomAdvanced and any other node that takes one. It follows the sigmas it is "
        "given; with those from Sigmas (DDIM) it makes the same image as DDIM Sampler."
    )
    FUNCTION = "make"
    RETURN_TYPES = ("SAMPLER",)
    RETURN_NAMES = ("sampler",)
    OUTPUT_TOOLTIPS = ("The sampler, for SamplerCustomAdvanced's sampler input.",)
    SEARCH_ALIASES = ("ksampler select", "samplercustom", "eta")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "eta": number(
                    0.0, 0, 2, 0.01, "Amount of fresh noise added at each step: 0 is DDIM (none), 1 is DDPM (full)."
                ),
                "start": rare(
                    choice(
                        ["auto", "pure noise", "latent and noise"],
                        "pure noise: only the latent's size is used. latent and noise: start from the latent with "
                        "noise added. auto: pure noise if the latent is empty.",
                    )
                ),
            },
            "optional": {
                "eta_schedule": socket(f"{CURVE},FLOAT", "An eta for each step; replaces eta."),
                "x0": socket("LATENT", "The latent to keep outside the mask; by default the input latent."),
                "schedule": socket(
                    SCHEDULE,
                    "How the run starts, lands and keeps the area outside the mask; the steps come from the sigmas.",
                ),
                "options": socket(OPTIONS, "Less common settings, from Options (DDIM) and related nodes."),
            },
        }

    def make(
        self,
        eta: float,
        start: str,
        eta_schedule: PerStep | None = None,
        x0: dict | None = None,
        schedule: Scheme | None = None,
        options: Options | None = None,
    ) -> tuple:
        own = eta if eta_schedule is None else eta_schedule
        return (host.sampler(own, schedule or Scheme(), options or Options(), start, x0 and x0["samples"]),)


class DDIMSigmas:
    DISPLAY_NAME = "Sigmas (DDIM)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "The noise levels of a run as SIGMAS, for SamplerCustomAdvanced with any sampler. By default exactly the "
        "number of steps you ask for, ending without noise; Schedule (DDIM) offers others."
    )
    FUNCTION = "make"
    RETURN_TYPES = ("SIGMAS",)
    RETURN_NAMES = ("sigmas",)
    OUTPUT_TOOLTIPS = ("The noise level before each step, and after the last.",)
    SEARCH_ALIASES = ("basic scheduler", "timesteps", "ddim_uniform", "trailing", "karras", "quad")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": socket("MODEL", "The model to sample with, whose noise levels are used."),
                "steps": whole(20, 1, 1000, "Number of sampling steps."),
                "denoise": number(
                    1.0,
                    0.01,
                    1,
                    0.01,
                    "Denoising strength: below 1, only the last steps of a longer schedule, for image to image.",
                ),
            },
            "optional": {"schedule": socket(SCHEDULE, "The timestep schedule, from Schedule (DDIM).")},
        }

    def make(self, model, steps: int, denoise: float, schedule: Scheme | None = None) -> tuple:
        """Return SIGMAS (steps + 1,); the tables that repeat others' may have more steps."""
        return (host.sigmas(model, schedule or Scheme(), steps, denoise),)


class DDIMGuider:
    DISPLAY_NAME = "Guider (DDIM)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Guidance with a scale for each step as a GUIDER, for SamplerCustomAdvanced with any sampler. Steps at scale 1 "
        "or 0 take half the time."
    )
    FUNCTION = "make"
    RETURN_TYPES = ("GUIDER",)
    RETURN_NAMES = ("guider",)
    OUTPUT_TOOLTIPS = ("The guider, for SamplerCustomAdvanced's guider input.",)
    SEARCH_ALIASES = ("cfg guider", "dynamic cfg", "guidance interval", "rescale cfg")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": socket("MODEL", "The model that denoises the latent."),
                "positive": socket("CONDITIONING", "What the image should show."),
                "negative": socket("CONDITIONING", "What it should not show."),
                "cfg": number(5.0, 0, 100, 0.1, "Guidance scale: how closely to follow the prompt. 1 is off."),
            },
            "optional": {
                "guidance_schedule": socket(
                    f"{CURVE},FLOAT", "A guidance scale for each step of the run; replaces cfg."
                ),
                "options": socket(
                    OPTIONS,
                    "From Rescale Guidance (DDIM): rescaling works with any sampler, CFG++ with DDIM and ComfyUI's "
                    "cfg_pp samplers.",
                ),
            },
        }

    def make(
        self,
        model,
        positive: list,
        negative: list,
        cfg: float,
        guidance_schedule: PerStep | None = None,
        options: Options | None = None,
    ) -> tuple:
        scale, own = cfg if guidance_schedule is None else guidance_schedule, options or Options()
        return (host.guider(model, positive, negative, Guidance(scale, own.rescale, own.plus_plus)),)


class DDIMFixedNoise:
    DISPLAY_NAME = "Fixed Noise (DDIM)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "A latent of noise, such as that of Noise (DDIM), Load Noise (DDIM) or Invert (DDIM), as a NOISE for "
        "SamplerCustomAdvanced with any sampler."
    )
    FUNCTION = "make"
    RETURN_TYPES = ("NOISE",)
    RETURN_NAMES = ("noise",)
    OUTPUT_TOOLTIPS = ("The noise, for SamplerCustomAdvanced's noise input.",)
    SEARCH_ALIASES = ("random noise", "x_T", "latent to noise")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "x_T": socket("LATENT", "The initial noise, of unit variance."),
                "seed": seed("The seed of the noise added during sampling, at eta above 0."),
            }
        }

    def make(self, x_T: dict, seed: int) -> tuple:
        return (host.fixed_noise(x_T["samples"], seed),)
