"""DDIM (Song et al. 2020, arXiv 2010.02502): numbers in, numbers out.

A run is three things: a `Schedule` (which timesteps, which levels, how much noise), a predictor (x and a step's
index in, x0 and eps out) and `ddim_steps`, the generator that goes through the one with the other:

    schedule = PRESETS["exact"].schedule(model.alphas_cumprod, 20, eta=0.0)
    noise = KeyedNoise.batch(seed, b)
    x_T = noise.normal((b, 4, 64, 64), "start", 0, device)
    predict = make_predictor(model, schedule, b, cond, uncond, Guidance(7.5))
    for step in ddim_steps(predict, x_T, schedule, noise=noise):
        ...  # step.index, step.x, step.x0

`DDIMSampler` is the published class with the published arguments.
"""

from .betas import BETA_SCHEDULES, alphas_cumprod, make_betas, zero_terminal_snr
from .conditioning import Conditioning, fit
from .curves import Curve, Interval, PerStep, resolve
from .ddim import Step, ddim_steps
from .finite import NotFiniteError
from .guidance import Guidance, Passes, Threshold, X0Filter, cfg, quantizer, rescale
from .inpaint import Inpaint, repaint_walk
from .inversion import FixedPoint, InversionStep, Replay, invert_steps
from .noise import ComfyNoise, KeyedNoise, NoiseSource, OneForAll, SequentialNoise, Variation, seed_noise, slerp
from .predictor import (
    PARAMETERIZATIONS,
    Corrector,
    Guide,
    Guided,
    Model,
    ModelGuide,
    Predict,
    Predictor,
    make_predictor,
)
from .published import DDIMSampler
from .schedule import LANDINGS, Schedule, make_flow_schedule, make_schedule, schedule_of_sigmas
from .schemes import PRESETS, Scheme
from .spacing import SPACINGS

__all__ = [
    "BETA_SCHEDULES",
    "LANDINGS",
    "PARAMETERIZATIONS",
    "PRESETS",
    "SPACINGS",
    "ComfyNoise",
    "Conditioning",
    "Corrector",
    "Curve",
    "DDIMSampler",
    "FixedPoint",
    "Guidance",
    "Guide",
    "Guided",
    "Inpaint",
    "Interval",
    "InversionStep",
    "KeyedNoise",
    "Model",
    "ModelGuide",
    "NoiseSource",
    "NotFiniteError",
    "OneForAll",
    "Passes",
    "PerStep",
    "Predict",
    "Predictor",
    "Replay",
    "Schedule",
    "Scheme",
    "SequentialNoise",
    "Step",
    "Threshold",
    "Variation",
    "X0Filter",
    "alphas_cumprod",
    "cfg",
    "ddim_steps",
    "fit",
    "invert_steps",
    "make_betas",
    "make_flow_schedule",
    "make_predictor",
    "make_schedule",
    "quantizer",
    "repaint_walk",
    "rescale",
    "resolve",
    "schedule_of_sigmas",
    "seed_noise",
    "slerp",
    "zero_terminal_snr",
]
