"""The core and the presets against numbers recorded from diffusers and ComfyUI.

`reference/others.npz` holds what they gave for the cases below, with the model outputs of `output`:

- diffusers 0.42.1: `DDIMScheduler.step`, fed the noise of `Z`; `DDIMInverseScheduler.step`; the guidance rescale of
  the Stable Diffusion pipeline
- ComfyUI 0.3.64, commit a125cd8: `sampler_object("ddim").sample` over the scheduler "ddim_uniform", `euler_cfg_pp`
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_ddim.sampler import (
    PRESETS,
    Guided,
    Predictor,
    Threshold,
    alphas_cumprod,
    ddim_steps,
    invert_steps,
    make_betas,
    rescale,
    zero_terminal_snr,
)

ALPHA_BAR = alphas_cumprod(make_betas())
SHAPE = (2, 4, 6, 5)
DIFFUSERS = [(kind, eta) for kind in ("epsilon", "v_prediction", "sample") for eta in (0.0, 0.5, 1.0)]


def fixed(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X, Z, X0 = fixed(*SHAPE, seed=1), fixed(50, *SHAPE, seed=2), fixed(*SHAPE, seed=3)
MASK = (torch.arange(30).view(1, 1, 6, 5) / 29).expand(2, 1, 6, 5) ** 2


def output(x, t):
    """A model output of whatever kind."""
    return 0.7 * x + 0.2 * torch.sin(3 * x + t / 100)


def uncond_output(x, t):
    return 0.6 * x + 0.3 * torch.cos(2 * x - t / 200)


def eps_of_comfyui(x, t):
    """For ComfyUI, which makes t a float."""
    return 0.9 * x + 0.1 * torch.sin(3 * x + t / 100)


class Given:
    """Noise known beforehand."""

    sequential = False

    def __init__(self, z, fixed=None):
        self.z, self.fixed = z, fixed

    def normal(self, shape, use, step, device):
        return self.fixed if use == "mask" else self.z[step]


@pytest.fixture(scope="module")
def recorded():
    return np.load(Path(__file__).parent / "reference" / "others.npz")


def close(ours, theirs, atol=1e-5):
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=atol)


def predictor(schedule, kind="eps", out=output, **kwargs):
    return Predictor(lambda x, t, i: Guided(out(x, t.view(-1, 1, 1, 1))), schedule, kind, **kwargs)


KINDS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}


@pytest.mark.parametrize(("kind", "eta"), DIFFUSERS)
def test_every_step_is_diffusers(kind, eta, recorded):
    schedule = PRESETS["diffusers"].schedule(ALPHA_BAR, 10, eta)
    run = ddim_steps(predictor(schedule, KINDS[kind]), X, schedule, noise=Given(Z))
    states = torch.stack([torch.stack([step.x, step.x0]) for step in run])
    # An x0-model's eps is a difference over a small noise level: float32 leaves less of it.
    close(states, recorded[f"step {kind} {eta}"], 2e-5 if kind == "sample" else 1e-5)


def test_zero_terminal_snr_is_diffusers(recorded):
    close(zero_terminal_snr(ALPHA_BAR), recorded["zero terminal snr"])


def test_inversion_is_diffusers(recorded):
    schedule = PRESETS["diffusers"].schedule(ALPHA_BAR, 20)
    close(torch.stack([step.x for step in invert_steps(predictor(schedule), X0, schedule)]), recorded["inverse"])


def test_rescale_is_diffusers(recorded):
    close(rescale(3 * X + X0, X, 0.7), recorded["rescale"])


def test_threshold_is_diffusers(recorded):
    close(Threshold(0.9).filter(1)(3 * X, 0), recorded["threshold"])


@pytest.mark.parametrize("steps", [7, 10, 30])
def test_comfyui_ddim(steps, recorded):
    preset = PRESETS["comfyui"]
    schedule = preset.schedule(ALPHA_BAR, steps)
    run = list(ddim_steps(predictor(schedule, out=eps_of_comfyui), preset.start(schedule, X), schedule))
    close(run[-1].x, recorded[f"comfyui {steps}"])


@pytest.mark.parametrize("steps", [10, 20])
def test_comfyui_ddim_inpainting(steps, recorded):
    """From a latent, under a soft mask; ComfyUI keeps where its own mask is 0."""
    preset = PRESETS["comfyui"]
    schedule = preset.schedule(ALPHA_BAR, steps, denoise=0.5)
    torch.manual_seed(42)
    noise = Given(Z, fixed=torch.randn(*SHAPE))
    start = preset.start(schedule, X, X0)
    run = ddim_steps(
        predictor(schedule, out=eps_of_comfyui), start, schedule, noise=noise, inpaint=preset.inpaint(1 - MASK, X0)
    )
    close(list(run)[-1].x, recorded[f"comfyui inpaint {steps}"])


def test_comfyui_cfg_plus_plus(recorded):
    """Its guidance scale is CFG++'s lambda."""
    preset = PRESETS["comfyui"]
    schedule = preset.schedule(ALPHA_BAR, 20)

    def guide(x, t, i):
        t = t.view(-1, 1, 1, 1)
        cond, uncond = eps_of_comfyui(x, t), uncond_output(x, t)
        return Guided(uncond + 0.6 * (cond - uncond), uncond)

    predict = Predictor(guide, schedule, plus_plus=True)
    close(list(ddim_steps(predict, preset.start(schedule, X), schedule))[-1].x, recorded["comfyui cfg++"])
