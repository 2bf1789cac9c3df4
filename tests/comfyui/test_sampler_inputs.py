"""The sampler's own inputs inside ComfyUI: a guider, parts of a run, a curve of ComfyUI's; each beside ComfyUI's own.

These tests run where COMFYUI_DIR names a ComfyUI checkout with its requirements.
"""

import importlib
import os

import pytest
import torch
from comfyui_ddim.hosts.plan import Options, Part, Plan
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS
from comfyui_ddim.sampler import PRESETS, Guidance, Scheme
from comfyui_small import (
    LEFT,
    PICTURE,
    SHAPE,
    assert_same,
    changed,
    drawn,
    node,
    prompt,
    small_side,  # noqa: F401
)
from test_patches import counted, sampled

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")

COMFYUI = PRESETS["comfyui"]


def guiders(side):
    """ComfyUI's guiders on a side, by name."""
    custom = "nodes_custom_sampler"
    return {
        "Basic": node(custom, "BasicGuider", side.model, side.positive),
        "CFG": node(custom, "CFGGuider", side.model, side.positive, side.negative, 3.0),
        "Dual CFG": node(
            custom, "DualCFGGuider", side.model, side.positive, prompt(3), side.negative, 2.0, 3.0, "nested"
        ),
        "PerpNeg": node(
            "nodes_perpneg", "PerpNegGuider", side.model, side.positive, side.negative, prompt(3), 4.0, 0.7
        ),
    }


def advanced(side, guider, sampler, sigmas, seed=7):
    """What ComfyUI's SamplerCustomAdvanced makes."""
    custom = importlib.import_module("comfy_extras.nodes_custom_sampler")
    noise = node("nodes_custom_sampler", "RandomNoise", seed)
    run = custom.SamplerCustomAdvanced
    function = getattr(run, "execute", None) or getattr(run(), run.FUNCTION)
    with torch.inference_mode():
        result = function(noise, guider, sampler, sigmas, side.latent)
    return getattr(result, "result", result)[0]["samples"]


@pytest.mark.parametrize("name", ["Basic", "CFG", "Dual CFG", "PerpNeg"])
def test_any_guider_decides(comfy, side, name):
    """Whatever else is wired and set; plain, with ancestral noise and under a mask."""
    sigmas = side.host.sigmas(side.model, COMFYUI, 5, 1.0)
    euler = comfy.samplers.sampler_object("euler")
    other = changed(side, positive=prompt(8), negative=prompt(9))
    with torch.inference_mode():
        guider = guiders(side)[name]
    with counted(side) as own:
        made = sampled(other, Plan(7, 5, scale=40.0, scheme=COMFYUI, guider=guider))
    with counted(side) as theirs:
        assert_same(made, advanced(side, guider, euler, sigmas))
    assert own == theirs
    generator = torch.Generator().manual_seed(7 + 1)
    noisy = {"eta": 0.6, "noise_sampler": lambda *levels: torch.randn(SHAPE, generator=generator)}
    made = sampled(other, Plan(7, 5, eta=0.6, scheme=COMFYUI, guider=guider))
    assert_same(made, advanced(side, guider, comfy.samplers.ksampler("euler_ancestral", noisy), sigmas))
    masked = changed(side, latent={**PICTURE, "noise_mask": LEFT[None]})
    made = sampled(changed(other, latent=masked.latent), Plan(7, 5, scheme=COMFYUI, guider=guider))
    inpainted = comfy.samplers.ksampler("euler", inpaint_options={"random": True})  # as the sampler "ddim" does
    assert_same(made, advanced(masked, guider, inpainted, sigmas))


def test_a_guider_goes_with_curves_x0_and_this_pack_s_own(side):
    scale = [1.0, 4.0, 2.0, 3.0, 0.0]
    plan = Plan(7, 5, scale=scale, eta=lambda u: 1 - u, mask=LEFT, x0=drawn(9, *SHAPE))
    own = side.host.guider(side.model, side.positive, side.negative, Guidance(scale))
    by_guider = Plan(7, 5, scale=9.0, eta=lambda u: 1 - u, mask=LEFT, x0=drawn(9, *SHAPE), guider=own)
    assert_same(sampled(changed(side, positive=prompt(8)), by_guider), sampled(side, plan))


def test_a_guider_goes_with_rescale_and_cfg_plus_plus(side):
    for how in ({"rescale": 0.7}, {"plus_plus": True}):
        with torch.inference_mode():
            guider = node("nodes_custom_sampler", "CFGGuider", side.model, side.positive, side.negative, 0.8)
        options = Options(**how)
        made = sampled(changed(side, positive=prompt(8)), Plan(7, 5, scale=1.0, options=options, guider=guider))
        assert_same(made, sampled(side, Plan(7, 5, scale=0.8, options=options)))


# --- parts


def ksampler(side, start, end, latent, leftover, steps=8):
    """What ComfyUI's KSamplerAdvanced makes of the steps from start to end."""
    nodes = importlib.import_module("nodes")
    switch = {True: "enable", False: "disable"}
    with torch.inference_mode():
        return nodes.KSamplerAdvanced().sample(
            side.model,
            switch[not start],
            7,
            steps,
            3.0,
            "ddim",
            "ddim_uniform",
            side.positive,
            side.negative,
            latent,
            start,
            end,
            switch[leftover],
        )[0]["samples"]


@pytest.mark.parametrize("flow", [False, True], ids=["diffusion", "flow"])
def test_a_part_is_that_of_ksampler_advanced(side, flow):
    """Noise left in or not, at either end; so that a run may change between the two samplers."""
    if flow:
        side = changed(side, model=node("nodes_model_advanced", "ModelSamplingSD3", side.model, 3.0))
    first = ksampler(side, 0, 4, side.latent, True)

    def ours(start, end, latent, leftover):
        plan = Plan(7, 8, scale=3.0, scheme=COMFYUI, part=Part(start, end, leftover))
        return sampled(changed(side, latent=latent), plan)

    assert_same(ours(0, 4, side.latent, True), first)
    assert_same(ours(0, 4, side.latent, False), ksampler(side, 0, 4, side.latent, False))
    open_end = {"samples": first}
    assert_same(ours(4, 6, open_end, True), ksampler(side, 4, 6, open_end, True))
    assert_same(ours(4, 10000, open_end, False), ksampler(side, 4, 10000, open_end, False))
    assert_same(ours(4, 10000, open_end, False), ksampler(side, 0, 10000, side.latent, False))


WAYS = {
    "exact": Scheme(),
    "published": PRESETS["published"],
    "comfyui": COMFYUI,
    "diffusers": PRESETS["diffusers"],
}


@pytest.mark.parametrize("flow", [False, True], ids=["diffusion", "flow"])
@pytest.mark.parametrize("scheme", WAYS.values(), ids=WAYS)
def test_joined_parts_are_the_single_run(side, scheme, flow):
    """With eta, curves and a mask."""
    if flow:
        side = changed(side, model=node("nodes_model_advanced", "ModelSamplingSD3", side.model, 3.0))

    def part(latent, *which):
        plan = Plan(
            7, 6, scale=lambda u: 1 + 3 * u, eta=0.5, scheme=scheme, mask=LEFT, x0=PICTURE["samples"], part=Part(*which)
        )
        return {"samples": sampled(changed(side, latent=latent), plan)}

    joined = part(part(part(PICTURE, 0, 2, True), 2, 4, True), 4)
    assert_same(joined["samples"], part(PICTURE)["samples"], 3e-5)


# --- ComfyUI's curve


def test_comfyuis_curve_drives_a_run(side):
    curve = {"points": [[0.0, 0.2], [0.5, 0.9], [1.0, 0.1]], "interpolation": "linear"}
    try:
        made = node("nodes_curve", "CurveEditor", curve)
    except ImportError:
        pytest.skip("this ComfyUI has no CurveEditor")
    (schedule,) = NODE_CLASS_MAPPINGS["DDIMCurve"]().make(["5"], drawn=[made], drawn_range=["1, 6"])[0]
    scale = [2.0, 3.75, 5.5, 3.5, 1.5]
    assert_same(sampled(side, Plan(7, 5, scale=schedule)), sampled(side, Plan(7, 5, scale=scale)))
