"""The core beside diffusers, step by step: the same model outputs, the same noise."""

import numpy as np
import pytest
import torch
from comfyui_ddim.sampler import (
    PRESETS,
    Guided,
    Predictor,
    Threshold,
    ddim_steps,
    invert_steps,
    rescale,
    zero_terminal_snr,
)
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddim_inverse import DDIMInverseScheduler
from models import ALPHA_BAR, drawn

SHAPE = (2, 4, 6, 5)
KINDS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
STABLE_DIFFUSION = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


X, Z, X0 = drawn(*SHAPE, seed=1), drawn(250, *SHAPE, seed=2), drawn(*SHAPE, seed=3)


def output(x, t):
    """A model output of whatever kind."""
    return 0.7 * x + 0.2 * torch.sin(3 * x + t / 100)


class Given:
    """Noise known beforehand."""

    sequential = False

    def normal(self, shape, use, step, device):
        return Z[step]


def predictor(schedule, kind="eps"):
    return Predictor(lambda x, t, i: Guided(output(x, t.view(-1, 1, 1, 1))), schedule, kind)


@pytest.mark.parametrize("steps", [1, 10, 50, 250])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_is_diffusers(kind, eta, steps):
    theirs = DDIMScheduler(**STABLE_DIFFUSION, prediction_type=kind)
    theirs.set_timesteps(steps)
    schedule = PRESETS["diffusers"].schedule(ALPHA_BAR, steps, eta)
    assert schedule.timesteps.tolist() == theirs.timesteps.tolist()
    before = X
    for i, step in enumerate(ddim_steps(predictor(schedule, KINDS[kind]), X, schedule, noise=Given())):
        t = theirs.timesteps[i]
        # Each step is taken from where ours stood: what counts is the step, not how a wild model spreads rounding.
        expected = theirs.step(output(before, t), t, before, eta=eta, variance_noise=Z[i])
        before = step.x
        # An x0-model's eps is a difference over a small noise level: float32 leaves less of it.
        atol = 2e-5 if kind == "sample" else 1e-5
        torch.testing.assert_close(step.x, expected.prev_sample, rtol=0, atol=atol)
        torch.testing.assert_close(step.x0, expected.pred_original_sample, rtol=0, atol=atol)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_whole_run_is_diffusers(kind, eta):
    theirs = DDIMScheduler(**STABLE_DIFFUSION, prediction_type=kind)
    theirs.set_timesteps(20)
    x = X
    for i, t in enumerate(theirs.timesteps):
        x = theirs.step(output(x, t), t, x, eta=eta, variance_noise=Z[i]).prev_sample
    schedule = PRESETS["diffusers"].schedule(ALPHA_BAR, 20, eta)
    for step in ddim_steps(predictor(schedule, KINDS[kind]), X, schedule, noise=Given()):
        ours = step.x
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [10, 20, 50])
def test_inversion_is_diffusers(steps):
    theirs = DDIMInverseScheduler(**STABLE_DIFFUSION)
    theirs.set_timesteps(steps)
    x = X0
    for t in theirs.timesteps:
        x = theirs.step(output(x, t), t, x).prev_sample
    schedule = PRESETS["diffusers"].schedule(ALPHA_BAR, steps)
    for step in invert_steps(predictor(schedule), X0, schedule):
        ours = step.x
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-5)


def test_zero_terminal_snr_is_diffusers():
    theirs = DDIMScheduler(**STABLE_DIFFUSION, rescale_betas_zero_snr=True).alphas_cumprod
    np.testing.assert_allclose(zero_terminal_snr(ALPHA_BAR), theirs, rtol=0, atol=1e-5)


def test_rescale_is_diffusers():
    torch.testing.assert_close(rescale(3 * X + X0, X, 0.7), rescale_noise_cfg(3 * X + X0, X, 0.7), rtol=0, atol=1e-5)


def test_threshold_is_diffusers():
    theirs = DDIMScheduler(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=1e9)
    expected = theirs._threshold_sample(3 * X)
    torch.testing.assert_close(Threshold(0.9).filter(1)(3 * X, 0), expected, rtol=0, atol=1e-5)
