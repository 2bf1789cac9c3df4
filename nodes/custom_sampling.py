"""The sampler in parts, for ComfyUI's SamplerCustomAdvanced: SAMPLER, SIGMAS, GUIDER and NOISE."""

from ..hosts import host
from ..hosts.plan import Options
from ..sampler import Guidance, PerStep, Scheme
from .options import OPTIONS
from .schedules import CURVE, SCHEDULE
from .sockets import choice, number, seed, socket, whole

__all__ = ["DDIMFixedNoise", "DDIMGuider", "DDIMSamplerSelect", "DDIMSigmas"]

CATEGORY = "DDIM/custom sampling"


class DDIMSamplerSelect:
    DISPLAY_NAME = "Sampler Select (DDIM)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "DDIM as a sampler for SamplerCustomAdvanced and everything else that takes one. It follows whatever sigmas "
        "it is given; with those of Sigmas (DDIM) it makes the same image as the DDIM Sampler node."
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
                "eta": number(0.0, 0, 2, 0.01, "Fresh noise at each step: 0 is DDIM (none), 1 is DDPM (full)."),
                "start": choice(
                    ["auto", "pure noise", "latent and noise"],
                    "pure noise: the latent only gives the size. latent and noise: start from the latent with noise "
                    "on it. auto: pure noise if the latent is empty.",
                ),
            },
            "optional": {
                "eta_schedule": socket(f"{CURVE},FLOAT", "An eta for every step, in place of the number."),
                "x0": socket("LATENT", "What to keep outside the latent's mask; without it, the latent itself."),
                "schedule": socket(
                    SCHEDULE, "How to start, land and keep what is outside the mask; the steps come from the sigmas."
                ),
                "options": socket(OPTIONS, "Rarer controls, from Options (DDIM) and related nodes."),
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
        "The noise levels of a run as ComfyUI's sigmas, for SamplerCustomAdvanced with any sampler. Without a schedule "
        "exactly as many steps as asked, ending clean; Schedule (DDIM) has others."
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
                "model": socket("MODEL", "The model that will sample; each has noise levels of its own."),
                "steps": whole(20, 1, 1000, "Steps to take."),
                "denoise": number(
                    1.0, 0.01, 1, 0.01, "Below 1, the last steps of a longer run, to start from an image's latent."
                ),
            },
            "optional": {"schedule": socket(SCHEDULE, "The timesteps, from Schedule (DDIM).")},
        }

    def make(self, model, steps: int, denoise: float, schedule: Scheme | None = None) -> tuple:
        """Return SIGMAS (steps + 1,); the tables that repeat others' may have more steps."""
        return (host.sigmas(model, schedule or Scheme(), steps, denoise),)


class DDIMGuider:
    DISPLAY_NAME = "Guider (DDIM)"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Guidance with a scale for every step, for SamplerCustomAdvanced with any sampler. Steps at scale 1 or 0 take "
        "half the time."
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
                "model": socket("MODEL", "The model that removes the noise."),
                "positive": socket("CONDITIONING", "What the image should show."),
                "negative": socket("CONDITIONING", "What it should not show."),
                "cfg": number(5.0, 0, 100, 0.1, "Guidance scale: how strongly to follow the prompt. 1 is off."),
            },
            "optional": {
                "guidance_schedule": socket(
                    f"{CURVE},FLOAT", "A guidance scale for every step, in place of cfg; over the sigmas of its run."
                ),
                "options": socket(
                    OPTIONS,
                    "From Rescale Guidance (DDIM): rescale works with any sampler, CFG++ with DDIM and ComfyUI's own "
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
        "Noise from a latent, such as that of Noise (DDIM) or Invert (DDIM), for SamplerCustomAdvanced with any "
        "sampler."
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
                "x_T": socket("LATENT", "The noise to start from, of unit variance."),
                "seed": seed("The seed of the noise that steps add later, at eta above 0."),
            }
        }

    def make(self, x_T: dict, seed: int) -> tuple:
        return (host.fixed_noise(x_T["samples"], seed),)
