"""The rarer controls of a run, from small nodes that can be wired one behind the other."""

from dataclasses import replace

from ..hosts.plan import Options
from ..sampler import PerStep, Threshold
from .checks import as_text, shown, verdict
from .schedules import CURVE
from .sockets import choice, number, rare, socket, text, toggle, whole

__all__ = ["OPTIONS", "SCORE_CORRECTOR", "DDIMOptions", "DDIMRescale", "DDIMScoreCorrector", "DDIMThreshold"]

OPTIONS = "DDIM_OPTIONS"
"""The socket type: an `Options`."""

SCORE_CORRECTOR = "DDIM_SCORE_CORRECTOR"
"""A socket type: an object with the published `modify_score(model, eps, x, t, cond)`."""

MAX_SEEDS = 4096
"""As many as a batch may hold."""

BEFORE = socket(OPTIONS, "Options from another node, to which these are added.")


class DDIMOptions:
    DISPLAY_NAME = "Options (DDIM)"
    CATEGORY = "DDIM/options"
    DESCRIPTION = "Less common settings of the DDIM sampler. At their defaults they change nothing."
    FUNCTION = "make"
    RETURN_TYPES = (OPTIONS,)
    RETURN_NAMES = ("options",)
    OUTPUT_TOOLTIPS = ("For the sampler's options input.",)
    SEARCH_ALIASES = ("temperature", "noise_dropout", "repaint", "log_every_t")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "temperature": number(
                    1.0, 0, 4, 0.01, "Factor on the fresh noise of each step; has no effect at eta 0."
                ),
                "noise_dropout": number(
                    0.0,
                    0,
                    0.99,
                    0.01,
                    "Fraction of the fresh noise that is dropped; the rest is scaled up; has no effect at eta 0.",
                ),
                "quantize_x0": rare(
                    toggle(False, "Snap predictions to the codebook; for models with a VQ first stage only.")
                ),
                "log_every_t": whole(
                    1, 1, 1000, "Keep every n-th step, and the last, for the sampler's steps outputs; 1 keeps all."
                ),
                "repaint_jump_length": whole(10, 1, 1000, "RePaint: how many steps each jump goes back."),
                "repaint_repeats": whole(1, 1, 100, "RePaint: how many times each stretch of steps is run; 1 is off."),
                "noise": rare(
                    choice(
                        ["per sample", "published"],
                        "per sample: an image is the same alone or in a batch. published: drawn in the original order.",
                    )
                ),
            },
            "optional": {
                "temperature_schedule": socket(f"{CURVE},FLOAT", "A temperature for each step; replaces temperature."),
                "options": BEFORE,
                "seeds": text(
                    "",
                    "A seed for each image of the batch, like '3, 1, 4'; replaces the sampler's. Each image is the one "
                    "that its seed gives on its own. Empty is off.",
                    False,
                ),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, seeds: str | None = None) -> bool | str:
        return verdict(parse_seeds, seeds)

    def make(
        self,
        temperature: float,
        noise_dropout: float,
        quantize_x0: bool,
        log_every_t: int,
        repaint_jump_length: int,
        repaint_repeats: int,
        noise: str,
        temperature_schedule: PerStep | None = None,
        options: Options | None = None,
        seeds: str = "",
    ) -> tuple[Options]:
        changed = replace(
            options or Options(),
            temperature=temperature if temperature_schedule is None else temperature_schedule,
            dropout=noise_dropout,
            quantize=quantize_x0,
            log_every=log_every_t,
            jump_length=repaint_jump_length,
            repeats=repaint_repeats,
            published_noise=noise == "published",
            seeds=parse_seeds(seeds),
        )
        return (changed,)


def parse_seeds(written: str) -> tuple[int, ...]:
    """Whole numbers from 0 up, separated by commas or spaces; ValueError for anything else."""
    words = as_text(written).replace(",", " ").split()
    if len(words) > MAX_SEEDS:
        raise ValueError(f"{len(words)} seeds, expected at most {MAX_SEEDS}")
    if any(len(word) > 20 or not word.isdecimal() or int(word) >= 2**64 for word in words):
        raise ValueError(f"seeds {shown(written)}, expected whole numbers from 0 to 2**64 - 1, like '3, 1, 4'")
    return tuple(map(int, words))


class DDIMThreshold:
    DISPLAY_NAME = "Threshold (DDIM)"
    CATEGORY = "DDIM/options"
    DESCRIPTION = (
        "Tames oversaturated images at high guidance: predictions past a percentile are clipped and the "
        "rest is scaled (Imagen's dynamic thresholding)."
    )
    FUNCTION = "make"
    RETURN_TYPES = (OPTIONS,)
    RETURN_NAMES = ("options",)
    OUTPUT_TOOLTIPS = ("For the sampler's options input.",)
    SEARCH_ALIASES = ("dynamic thresholding", "imagen")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "percentile": number(0.995, 0.5, 1, 0.001, "Fraction of values that stay below the threshold."),
                "floor": number(
                    3.0, 0.1, 100, 0.1, "The threshold is at least this; 1 suits pixels, 3 or more latents."
                ),
                "per_channel": rare(
                    toggle(True, "A threshold for each channel, which suits latents; off is one for all.")
                ),
            },
            "optional": {
                "percentile_schedule": socket(f"{CURVE},FLOAT", "A percentile for each step; replaces percentile."),
                "options": BEFORE,
            },
        }

    def make(
        self,
        percentile: float,
        floor: float,
        per_channel: bool,
        percentile_schedule: PerStep | None = None,
        options: Options | None = None,
    ) -> tuple[Options]:
        value = percentile if percentile_schedule is None else percentile_schedule
        return (replace(options or Options(), threshold=Threshold(value, floor, per_channel)),)


class DDIMRescale:
    DISPLAY_NAME = "Rescale Guidance (DDIM)"
    CATEGORY = "DDIM/options"
    DESCRIPTION = (
        "Guidance that keeps contrast in check: rescaled to the standard deviation of the prompt's own prediction, or "
        "CFG++."
    )
    FUNCTION = "make"
    RETURN_TYPES = (OPTIONS,)
    RETURN_NAMES = ("options",)
    OUTPUT_TOOLTIPS = ("For the sampler's options input.",)
    SEARCH_ALIASES = ("rescale cfg", "cfg++")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "rescale": number(
                    0.7, 0, 1, 0.01, "How much of the prompt's own standard deviation to restore; 0 is off."
                ),
                "cfg_plus_plus": toggle(
                    False, "CFG++: the sampler's cfg is then 0 to 1, about a twelfth of the usual."
                ),
            },
            "optional": {"options": BEFORE},
        }

    def make(self, rescale: float, cfg_plus_plus: bool, options: Options | None = None) -> tuple[Options]:
        return (replace(options or Options(), rescale=rescale, plus_plus=cfg_plus_plus),)


class DDIMScoreCorrector:
    DISPLAY_NAME = "Score Corrector (DDIM)"
    CATEGORY = "DDIM/options"
    DESCRIPTION = (
        "Changes the noise that the model predicts, at every step after guidance: by a score corrector like "
        "those of the original sampler, by epsilon scaling (Ning et al. 2023), or both."
    )
    FUNCTION = "make"
    RETURN_TYPES = (OPTIONS,)
    RETURN_NAMES = ("options",)
    OUTPUT_TOOLTIPS = ("For the sampler's options input.",)
    SEARCH_ALIASES = ("epsilon scaling", "exposure bias", "modify_score", "classifier guidance")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "epsilon_scaling": number(
                    1.005,
                    0.5,
                    2,
                    0.001,
                    "The predicted noise is divided by this: 1 is off; 1.002 to 1.01 corrects an overestimate.",
                ),
            },
            "optional": {
                "epsilon_scaling_schedule": socket(
                    f"{CURVE},FLOAT", "A divisor for each step; replaces epsilon_scaling."
                ),
                "score_corrector": socket(
                    SCORE_CORRECTOR, "From another pack: an object with modify_score(model, eps, x, t, cond)."
                ),
                "options": BEFORE,
            },
        }

    def make(
        self,
        epsilon_scaling: float,
        epsilon_scaling_schedule: PerStep | None = None,
        score_corrector: object | None = None,
        options: Options | None = None,
    ) -> tuple[Options]:
        """Return DDIM_OPTIONS; ValueError for a corrector without `modify_score`."""
        if score_corrector is not None and not hasattr(score_corrector, "modify_score"):
            raise ValueError(f"score_corrector is {score_corrector!r}, expected an object with modify_score")
        scaling = epsilon_scaling if epsilon_scaling_schedule is None else epsilon_scaling_schedule
        return (replace(options or Options(), score_corrector=score_corrector, epsilon_scaling=scaling),)
