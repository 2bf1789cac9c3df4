"""The nodes: widgets in, one call into the host, a tuple out."""

from typing import Any

from .conditioning import DDIMConditioning
from .custom_sampling import DDIMFixedNoise, DDIMGuider, DDIMSamplerSelect, DDIMSigmas
from .inversion import DDIMInvert
from .latents import DDIMDecode, DDIMEmptyLatent, DDIMEncode
from .loading import DDIMLoadControlNet, DDIMLoadModel
from .masks import DDIMMask
from .noise import DDIMNoise
from .options import DDIMOptions, DDIMRescale, DDIMScoreCorrector, DDIMThreshold
from .pictures import DDIMExampleImage, DDIMFilmStrip
from .plot import DDIMPlot
from .sampler import DDIMSampler
from .schedules import DDIMCurve, DDIMGuidanceSchedule, DDIMSchedule

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "STAND_IN_CLASS_MAPPINGS"]

NODE_CLASS_MAPPINGS: dict[str, type] = {
    node.__name__: node
    for node in (
        DDIMLoadModel,
        DDIMConditioning,
        DDIMEmptyLatent,
        DDIMSampler,
        DDIMGuidanceSchedule,
        DDIMCurve,
        DDIMSchedule,
        DDIMOptions,
        DDIMThreshold,
        DDIMRescale,
        DDIMNoise,
        DDIMInvert,
        DDIMMask,
        DDIMEncode,
        DDIMDecode,
        DDIMExampleImage,
        DDIMFilmStrip,
        DDIMScoreCorrector,
        DDIMLoadControlNet,
        DDIMSamplerSelect,
        DDIMSigmas,
        DDIMGuider,
        DDIMFixedNoise,
        DDIMPlot,
    )
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "DDIMLoadModel": "Load Model (DDIM)",
    "DDIMConditioning": "Conditioning (DDIM)",
    "DDIMEmptyLatent": "Empty Latent (DDIM)",
    "DDIMSampler": "DDIM Sampler",
    "DDIMGuidanceSchedule": "Guidance Schedule (DDIM)",
    "DDIMCurve": "Curve (DDIM)",
    "DDIMSchedule": "Schedule (DDIM)",
    "DDIMOptions": "Options (DDIM)",
    "DDIMThreshold": "Threshold (DDIM)",
    "DDIMRescale": "Rescale Guidance (DDIM)",
    "DDIMNoise": "Noise (DDIM)",
    "DDIMInvert": "Invert (DDIM)",
    "DDIMMask": "Mask (DDIM)",
    "DDIMEncode": "Encode (DDIM)",
    "DDIMDecode": "Decode (DDIM)",
    "DDIMExampleImage": "Example Image (DDIM)",
    "DDIMFilmStrip": "Film Strip (DDIM)",
    "DDIMScoreCorrector": "Score Corrector (DDIM)",
    "DDIMLoadControlNet": "Load ControlNet (DDIM)",
    "DDIMSamplerSelect": "Sampler Select (DDIM)",
    "DDIMSigmas": "Sigmas (DDIM)",
    "DDIMGuider": "Guider (DDIM)",
    "DDIMFixedNoise": "Fixed Noise (DDIM)",
    "DDIMPlot": "Plot Schedule (DDIM)",
}


def __getattr__(name: str) -> Any:
    # Late: ComfyUI has these nodes itself, and only the runner brings its own.
    if name != "STAND_IN_CLASS_MAPPINGS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .core import STAND_IN_CLASS_MAPPINGS

    return STAND_IN_CLASS_MAPPINGS
