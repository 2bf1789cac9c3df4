"""The sampler in parts inside ComfyUI's SamplerCustomAdvanced, beside the whole and beside ComfyUI's own parts.

These tests run where COMFYUI_DIR names a ComfyUI checkout with its requirements.
"""

import importlib
import os

import pytest
import torch
from comfyui_ddim.hosts.plan import Options, Plan
from comfyui_ddim.sampler import PRESETS, Guidance, Scheme, Threshold
from comfyui_small import (
    LEFT,
    PICTURE,
    SHAPE,
    assert_same,
    changed,
    drawn,
    prompt,
    small_side,  # noqa: F401
)

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")

EMPTY = {"samples": torch.zeros(SHAPE)}


@pytest.fixture(scope="module")
def own(comfy):
    """ComfyUI's nodes of the same kind."""
    return importlib.import_module("comfy_extras.nodes_custom_sampler")


def one(node, *inputs):
    """The first output of a ComfyUI node, of the classic kind or the newer."""
    function = getattr(node, "execute", None) or getattr(node(), node.FUNCTION)
    result = function(*inputs)
    return getattr(result, "result", result)[0]


def advanced(own, latent, sampler, sigmas, guider, noise=None):
    """What SamplerCustomAdvanced makes of parts."""
    with torch.inference_mode():
        noise = noise or one(own.RandomNoise, 7)
        return one(own.SamplerCustomAdvanced, noise, guider, sampler, sigmas, latent)["samples"]


def guided(side, scale=3.0, rescale=0.0, plus_plus=False):
    return side.host.guider(side.model, side.positive, side.negative, Guidance(scale, rescale, plus_plus))


def sampler(side, eta=0.0, scheme=None, options=None, start="auto", x0=None):
    return side.host.sampler(eta, scheme or Scheme(), options or Options(), start, x0)


def whole(side, plan):
    with torch.inference_mode():
        return side.host.sample(side.model, side.positive, side.negative, side.latent, plan)[0]["samples"]


SCHEMES = {
    "exact": Scheme(),
    "published": PRESETS["published"],
    "diffusers": PRESETS["diffusers"],
    "comfyui": PRESETS["comfyui"],
    "quad": Scheme(spacing="quad"),
    "trailing": Scheme(spacing="trailing"),
    "karras": Scheme(spacing="karras"),
    "timesteps": Scheme(timesteps=(900, 500, 100)),
}


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_parts_are_the_whole(side, own, scheme):
    """At eta 0.6 and with a schedule of guidance: of an empty latent, of a picture, and with a mask."""
    steps = len(scheme.timesteps) or 5
    scale = [0, 1, 3, 5, 4][:steps]
    parts = sampler(side, 0.6, scheme), guided(side, scale)
    plan = Plan(7, steps, scale=scale, eta=0.6, scheme=scheme)
    made = advanced(own, EMPTY, parts[0], side.host.sigmas(side.model, scheme, steps, 1.0), parts[1])
    assert_same(made, whole(changed(side, latent=EMPTY), plan), 1e-6)
    if scheme.timesteps:
        return
    masked = changed(side, latent={**PICTURE, "noise_mask": LEFT[None]})
    sigmas = side.host.sigmas(side.model, scheme, steps, 0.5)
    plan = Plan(7, steps, scale=scale, eta=0.6, denoise=0.5, scheme=scheme)
    assert_same(advanced(own, masked.latent, parts[0], sigmas, parts[1]), whole(masked, plan), 1e-6)


def test_every_option_is_the_whole_s(side, own):
    options = Options(1.1, 0.2, threshold=Threshold(0.9, 1.0, True), repeats=2, jump_length=2, epsilon_scaling=1.01)
    kept = drawn(8, *SHAPE)
    masked = changed(side, latent={**PICTURE, "noise_mask": LEFT[None]})
    parts = sampler(side, [1, 0, 0.5, 1], None, options, "pure noise", kept)
    made = advanced(own, masked.latent, parts, side.host.sigmas(side.model, Scheme(), 4, 1.0), guided(side))
    plan = Plan(7, 4, scale=3.0, eta=[1, 0, 0.5, 1], x0=kept, mask=LEFT[None], options=options)
    assert_same(made, whole(masked, plan), 1e-6)


@pytest.mark.parametrize("how", [{"rescale": 0.7}, {"plus_plus": True}], ids=["rescale", "CFG++"])
def test_guidance_s_variants_come_from_the_guider_or_the_options(side, own, how):
    scale = [0.0, 0.4, 0.8, 1.0]
    sigmas = side.host.sigmas(side.model, Scheme(), 4, 1.0)
    wanted = whole(changed(side, latent=EMPTY), Plan(7, 4, scale=scale, options=Options(**how)))
    by_guider = advanced(own, EMPTY, sampler(side), sigmas, guided(side, scale, **how))
    by_options = advanced(own, EMPTY, sampler(side, options=Options(**how)), sigmas, guided(side, scale))
    assert_same(by_guider, wanted, 1e-6)
    assert_same(by_options, wanted, 1e-6)
    assert (wanted - whole(changed(side, latent=EMPTY), Plan(7, 4, scale=scale))).abs().max() > 0.05


def test_published_noise_is_the_whole_s(side, own):
    options = Options(published_noise=True)
    made = advanced(
        own,
        EMPTY,
        sampler(side, 1.0, PRESETS["published"], options),
        side.host.sigmas(side.model, PRESETS["published"], 5, 1.0),
        guided(side),
    )
    plan = Plan(7, 5, scale=3.0, eta=1.0, scheme=PRESETS["published"], options=options)
    assert_same(made, whole(changed(side, latent=EMPTY), plan), 1e-6)


@pytest.mark.parametrize(
    "scheduler", ["karras", "beta", "normal", "simple", "sgm_uniform", "exponential", "kl_optimal"]
)
def test_any_sigmas_will_do(comfy, side, own, scheduler):
    """Also between training steps. All of these begin at the model's last level, where DDIM is Euler's method."""
    sigmas = comfy.samplers.calculate_sigmas(side.model.get_model_object("model_sampling"), scheduler, 5)
    guider = one(own.CFGGuider, side.model, side.positive, side.negative, 3.0)
    made = advanced(own, EMPTY, sampler(side), sigmas, guider)
    assert_same(made, advanced(own, EMPTY, comfy.samplers.sampler_object("euler"), sigmas, guider))


def test_split_sigmas_go_on_where_they_stopped(comfy, side, own):
    sigmas = side.host.sigmas(side.model, Scheme(), 6, 1.0)
    guider = guided(side)
    between = advanced(own, EMPTY, sampler(side), sigmas[:4], guider)
    made = advanced(own, {"samples": between}, sampler(side), sigmas[3:], guider, one(own.DisableNoise))
    assert_same(made, advanced(own, EMPTY, sampler(side), sigmas, guider))
    euler = comfy.samplers.sampler_object("euler")
    last = advanced(own, {"samples": between}, euler, sigmas[3:], guider, one(own.DisableNoise))
    assert_same(made, last)


def test_sigmas_that_rise_take_a_picture_back(comfy, side, own):
    """From near the picture, where float32 is good to 1e-4, up to noise."""
    sigmas = side.host.sigmas(side.model, Scheme(), 6, 1.0)[:-1].flip(0)
    guider = guided(side, 1.0)
    made = advanced(own, PICTURE, sampler(side), sigmas, guider, one(own.DisableNoise))
    euler = comfy.samplers.sampler_object("euler")
    assert_same(made, advanced(own, PICTURE, euler, sigmas, guider, one(own.DisableNoise)), 1e-4)


def test_no_steps_change_nothing(side, own):
    sigmas = side.host.sigmas(side.model, Scheme(), 6, 1.0)
    for few in (sigmas[:0], sigmas[-1:]):
        made = advanced(own, PICTURE, sampler(side), few, guided(side), one(own.DisableNoise))
        assert_same(made, PICTURE["samples"])


@pytest.mark.parametrize("levels", [[1.0, 0.0, 0.5], [float("inf"), 1.0], [-1.0, -2.0]])
def test_levels_that_no_run_goes_through_are_named(side, own, levels):
    with pytest.raises(ValueError, match="sigmas are"):
        advanced(own, PICTURE, sampler(side), torch.tensor(levels), guided(side))


def passes(side):
    """A copy of the side whose model counts how many prompts each pass has: 0 is the prompt, 1 the negative one."""
    model, seen = side.model.clone(), []

    def count(apply_model, given):
        seen.append(sorted(given["cond_or_uncond"]))
        return apply_model(given["input"], given["timestep"], **given["c"])

    model.set_model_unet_function_wrapper(count)
    return changed(side, model=model), seen


def test_comfyuis_samplers_take_the_schedule_too(comfy, side, own):
    """Euler has one call a step, Heun two but for the last: the second belongs to the step that it leads to."""
    counted, seen = passes(side)
    scale = [0, 1, 3, 1]
    sigmas = side.host.sigmas(side.model, Scheme(), 4, 1.0)
    euler = advanced(own, EMPTY, comfy.samplers.sampler_object("euler"), sigmas, guided(counted, scale))
    assert seen == [[1], [0], [0, 1], [0]]
    assert_same(euler, advanced(own, EMPTY, sampler(side, start="latent and noise"), sigmas, guided(side, scale)))
    seen.clear()
    advanced(own, EMPTY, comfy.samplers.sampler_object("heun"), sigmas, guided(counted, scale))
    assert seen == [[1], [0], [0], [0, 1], [0, 1], [0], [0]]


def test_a_schedule_of_another_length_is_named_before_anything_runs(side, own):
    counted, seen = passes(side)
    with pytest.raises(ValueError, match="guidance scale has 3 values, expected one for each of the 5 steps"):
        advanced(own, EMPTY, sampler(side), side.host.sigmas(side.model, Scheme(), 5, 1.0), guided(counted, [1, 2, 3]))
    assert not seen


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_guidance_1_halves_the_work(side, own, scale):
    """In the whole and in parts; what is counted are pictures through the model."""
    counted, seen = passes(side)
    whole(changed(counted, latent=EMPTY), Plan(7, 5, scale=scale))
    advanced(own, EMPTY, sampler(side), side.host.sigmas(side.model, Scheme(), 5, 1.0), guided(counted, scale))
    assert sum(map(len, seen)) == 2 * (5 if scale == 1 else 10)


def test_fixed_noise_is_x_T(side, own):
    x_T = drawn(3, *SHAPE)
    sigmas = side.host.sigmas(side.model, Scheme(), 5, 1.0)
    noise = side.host.fixed_noise(x_T, 7)
    made = advanced(own, EMPTY, sampler(side, 0.5), sigmas, guided(side), noise)
    assert_same(made, whole(changed(side, latent=EMPTY), Plan(7, 5, scale=3.0, eta=0.5, x_T=x_T)), 1e-6)
    with pytest.raises(ValueError, match="x_T has the shape"):
        advanced(own, {"samples": torch.zeros(1, 4, 6, 6)}, sampler(side), sigmas, guided(side), noise)


def test_other_guiders_serve(side, own):
    """One prompt alone, and two prompts with a scale each."""
    sigmas = side.host.sigmas(side.model, PRESETS["comfyui"], 5, 1.0)
    euler = own.comfy.samplers.sampler_object("euler")
    basic = one(own.BasicGuider, side.model, side.positive)
    dual = one(own.DualCFGGuider, side.model, side.positive, prompt(3), side.negative, 2.0, 3.0, "regular")
    for guider in (basic, dual):
        made = advanced(own, EMPTY, sampler(side, scheme=PRESETS["comfyui"]), sigmas, guider)
        assert_same(made, advanced(own, EMPTY, euler, sigmas, guider))
