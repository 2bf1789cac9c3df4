"""ComfyUI's sampler nodes, for the samplers that are DDIM."""

from ...hosts import host
from ...hosts.standalone.ksampler import SAMPLERS, KSampling
from ...hosts.standalone.schedulers import SCHEDULERS
from ..checks import verdict
from ..sockets import choice, number, seed, socket, whole

__all__ = ["KSampler", "KSamplerAdvanced", "SamplerCustomAdvanced"]

MODEL = socket("MODEL", "The model that removes the noise.")
SEED = seed("The seed of the noise: the same seed gives the same picture.")
STEPS = whole(20, 1, 10000, "Steps to take. More is slower and finer.")
CFG = number(8.0, 0.0, 100.0, 0.1, "Guidance scale: how strongly to follow the prompt. 1 is off and twice as fast.")
SAMPLER = choice(list(SAMPLERS), "The sampling method; those that aren't DDIM need ComfyUI.")
SCHEDULER = choice(list(SCHEDULERS), "How the noise levels are spread over the steps.")
POSITIVE = socket("CONDITIONING", "What the image should show.")
NEGATIVE = socket("CONDITIONING", "What it should not show.")
LATENT = socket("LATENT", "The latent to start from.")


class DdimSamplers:
    """What both samplers share: a sampler that only ComfyUI has is refused before anything runs."""

    CATEGORY = "sampling"
    FUNCTION = "sample"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def VALIDATE_INPUTS(cls, sampler_name: str | None = None) -> bool | str:
        """Say which samplers there are; None is one that another node will give."""
        return verdict(lambda name: KSampling(0, 1, 1.0, name, "normal"), sampler_name)


class KSampler(DdimSamplers):
    DESCRIPTION = "Denoises a latent under a prompt and a negative prompt."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": MODEL,
                "seed": SEED,
                "steps": STEPS,
                "cfg": CFG,
                "sampler_name": SAMPLER,
                "scheduler": SCHEDULER,
                "positive": POSITIVE,
                "negative": NEGATIVE,
                "latent_image": LATENT,
                "denoise": number(
                    1.0, 0.0, 1.0, 0.01, "How much to change the latent: 1 starts from noise alone, less keeps more."
                ),
            }
        }

    def sample(
        self,
        model,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: list,
        negative: list,
        latent_image: dict,
        denoise: float = 1.0,
    ) -> tuple[dict]:
        run = KSampling(seed, steps, cfg, sampler_name, scheduler, denoise)
        return (host.ksample(model, positive, negative, latent_image, run),)


class KSamplerAdvanced(DdimSamplers):
    DESCRIPTION = "Runs some of the steps: what is left to do can be handed to another sampler."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": MODEL,
                "add_noise": choice(["enable", "disable"], "Whether the latent gets noise first."),
                "noise_seed": SEED,
                "steps": STEPS,
                "cfg": CFG,
                "sampler_name": SAMPLER,
                "scheduler": SCHEDULER,
                "positive": POSITIVE,
                "negative": NEGATIVE,
                "latent_image": LATENT,
                "start_at_step": whole(0, 0, 10000, "The first step to run; 0 is the noisiest."),
                "end_at_step": whole(10000, 0, 10000, "The step to stop before."),
                "return_with_leftover_noise": choice(
                    ["disable", "enable"], "enable: leave the noise of the steps that weren't run."
                ),
            }
        }

    def sample(
        self,
        model,
        add_noise: str,
        noise_seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: list,
        negative: list,
        latent_image: dict,
        start_at_step: int,
        end_at_step: int,
        return_with_leftover_noise: str,
    ) -> tuple[dict]:
        run = KSampling(
            noise_seed,
            steps,
            cfg,
            sampler_name,
            scheduler,
            start=start_at_step,
            end=end_at_step,
            add_noise=add_noise == "enable",
            leftover=return_with_leftover_noise == "enable",
        )
        return (host.ksample(model, positive, negative, latent_image, run),)


class SamplerCustomAdvanced:
    CATEGORY = "model/sampling/custom"
    FUNCTION = "sample"
    RETURN_TYPES = ("LATENT", "LATENT")
    RETURN_NAMES = ("output", "denoised_output")
    DESCRIPTION = "Samples with a noise, a guider, a sampler and sigmas that are nodes of their own."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "noise": socket("NOISE", "The noise to start from."),
                "guider": socket("GUIDER", "The model, its prompts and the guidance."),
                "sampler": socket("SAMPLER", "The sampling method."),
                "sigmas": socket("SIGMAS", "The noise level before each step, and after the last."),
                "latent_image": LATENT,
            }
        }

    def sample(self, noise, guider, sampler, sigmas, latent_image: dict) -> tuple[dict, dict]:
        return host.custom_sample(noise, guider, sampler, sigmas, latent_image)
