"""The preset "comfyui" against numbers recorded from ComfyUI.

`reference/comfyui.npz` holds what ComfyUI 0.3.64, commit a125cd8, gave for the cases below:
`sampler_object("ddim").sample` over the scheduler "ddim_uniform", and `euler_cfg_pp`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_ddim.sampler import (
    PRESETS,
    Guided,
    Predictor,
    ddim_steps,
)
from models import ALPHA_BAR, drawn

SHAPE = (2, 4, 6, 5)


X, X0 = drawn(*SHAPE, seed=1), drawn(*SHAPE, seed=3)
MASK = (torch.arange(30).view(1, 1, 6, 5) / 29).expand(2, 1, 6, 5) ** 2


def uncond_output(x, t):
    return 0.6 * x + 0.3 * torch.cos(2 * x - t / 200)


def eps_of_comfyui(x, t):
    """For ComfyUI, which makes t a float."""
    return 0.9 * x + 0.1 * torch.sin(3 * x + t / 100)


class Fixed:
    """The noise of the kept part, known beforehand; nothing else is asked for at eta 0."""

    sequential = False

    def __init__(self, noise):
        self.noise = noise

    def normal(self, shape, use, step, device):
        assert use == "mask"
        return self.noise


@pytest.fixture(scope="module")
def recorded():
    return np.load(Path(__file__).parents[1] / "reference" / "comfyui.npz")


def close(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=1e-5)


def predictor(schedule):
    return Predictor(lambda x, t, i: Guided(eps_of_comfyui(x, t.view(-1, 1, 1, 1))), schedule)


@pytest.mark.parametrize("steps", [7, 10, 30])
def test_comfyui_ddim(steps, recorded):
    preset = PRESETS["comfyui"]
    schedule = preset.schedule(ALPHA_BAR, steps)
    run = list(ddim_steps(predictor(schedule), preset.start(schedule, X), schedule))
    close(run[-1].x, recorded[f"comfyui {steps}"])


@pytest.mark.parametrize("steps", [10, 20])
def test_comfyui_ddim_inpainting(steps, recorded):
    """From a latent, under a soft mask; ComfyUI keeps where its own mask is 0."""
    preset = PRESETS["comfyui"]
    schedule = preset.schedule(ALPHA_BAR, steps, denoise=0.5)
    torch.manual_seed(42)
    noise = Fixed(torch.randn(*SHAPE))
    start = preset.start(schedule, X, X0)
    run = ddim_steps(predictor(schedule), start, schedule, noise=noise, inpaint=preset.inpaint(1 - MASK, X0))
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
