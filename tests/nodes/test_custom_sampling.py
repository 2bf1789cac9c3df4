"""The sampler in parts without ComfyUI: SamplerCustomAdvanced gives what the whole sampler gives."""

import pytest
import torch
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, STAND_IN_CLASS_MAPPINGS

EMPTY = {"samples": torch.zeros(2, 4, 8, 8)}
PICTURE = {"samples": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3)) * 5}
LEFT = torch.zeros(1, 64, 64)
LEFT[..., :28] = 1


def run(name, *inputs, **more):
    cls = {**NODE_CLASS_MAPPINGS, **STAND_IN_CLASS_MAPPINGS}[name]
    with using(Context(device="cpu")), torch.inference_mode():
        return getattr(cls(), cls.FUNCTION)(*inputs, **more)


@pytest.fixture(scope="module")
def shipped():
    """The shipped model with two prompts."""
    model, clip, _ = run("DDIMLoadModel", SHIPPED.name)
    return model, *run("DDIMConditioning", clip, "a small red cube", "")


def parts(shipped, latent, eta=0.0, cfg=3.0, steps=5, denoise=1.0, start="auto", options=None, schedule=None, **of):
    guider = run("DDIMGuider", *shipped, cfg, of.get("guidance_schedule"), options)[0]
    sampler = run("DDIMSamplerSelect", eta, start, of.get("eta_schedule"), of.get("x0"), schedule, options)[0]
    sigmas = run("DDIMSigmas", shipped[0], steps, denoise, schedule)[0]
    noise = run("DDIMFixedNoise", of["x_T"], 7)[0] if "x_T" in of else run("RandomNoise", 7)[0]
    return run("SamplerCustomAdvanced", noise, guider, sampler, sigmas, latent)


def whole(shipped, latent, eta=0.0, cfg=3.0, steps=5, denoise=1.0, **more):
    return run("DDIMSampler", *shipped, latent, 7, steps, cfg, eta, denoise, **more)


def apart(made, wanted):
    return (made["samples"] - wanted["samples"]).abs().max()


def scheme(preset):
    return run("DDIMSchedule", preset, "as preset", "as preset", "")[0]


WAYS = {
    "plain": {},
    "eta": {"eta": 0.8},
    "curves": {"guidance_schedule": [0, 1, 3, 5, 4], "eta_schedule": lambda u: u},
    "x_T": {"x_T": {"samples": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(8))}},
    "published": {"eta": 0.5, "schedule": scheme("published")},
    "diffusers": {"eta": 0.5, "schedule": scheme("diffusers")},
    "comfyui": {"schedule": scheme("comfyui")},
    "rescale": {"cfg": 9.0, "options": run("DDIMRescale", 0.7, False)[0]},
    "CFG++": {"cfg": 0.6, "options": run("DDIMRescale", 0.0, True)[0]},
    "threshold": {"options": run("DDIMThreshold", 0.9, 1.0, True)[0]},
}


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_the_parts_are_the_whole(shipped, how):
    made, wanted = parts(shipped, EMPTY, **how), whole(shipped, EMPTY, **how)
    assert apart(made[0], wanted[0]) < 1e-3 and apart(made[1], wanted[1]) < 1e-3
    assert apart(made[0], whole(shipped, EMPTY, steps=4)[0]) > 0.1


@pytest.mark.parametrize("preset", ["exact", "published", "diffusers", "comfyui"])
def test_the_parts_are_the_whole_from_an_image_with_a_mask(shipped, preset):
    masked = {**PICTURE, "noise_mask": LEFT}
    how = {"schedule": scheme(preset), "denoise": 0.5, "eta": 0.4}
    assert apart(parts(shipped, masked, **how)[0], whole(shipped, masked, **how)[0]) < 1e-3


def test_split_sigmas_go_on_where_they_stopped(shipped):
    sigmas = run("DDIMSigmas", shipped[0], 6, 1.0)[0]
    guider, sampler = run("DDIMGuider", *shipped, 3.0)[0], run("DDIMSamplerSelect", 0.0, "auto")[0]
    nothing = run("DDIMFixedNoise", EMPTY, 7)[0]
    first, _ = run("SamplerCustomAdvanced", run("RandomNoise", 7)[0], guider, sampler, sigmas[:4], EMPTY)
    second, _ = run("SamplerCustomAdvanced", nothing, guider, sampler, sigmas[3:], first)
    assert apart(second, whole(shipped, EMPTY, steps=6)[0]) < 1e-2
    same, _ = run("SamplerCustomAdvanced", nothing, guider, sampler, sigmas[6:], second)
    assert torch.equal(same["samples"], second["samples"])


def test_a_guider_guides_the_sampler_node(shipped):
    guider = run("DDIMGuider", *shipped, 3.0, None, run("DDIMRescale", 0.7, False)[0])[0]
    wanted = whole(shipped, EMPTY, options=run("DDIMRescale", 0.7, False)[0])[0]
    assert torch.equal(whole(shipped, EMPTY, cfg=9.0, guider=guider)[0]["samples"], wanted["samples"])


def test_parts_that_only_comfyui_has_are_named(shipped):
    sigmas, noise = run("DDIMSigmas", shipped[0], 4, 1.0)[0], run("RandomNoise", 7)[0]
    guider, sampler = run("DDIMGuider", *shipped, 3.0)[0], run("DDIMSamplerSelect", 0.0, "auto")[0]
    with pytest.raises(ValueError, match="guider is object, expected one of this pack's; others need ComfyUI"):
        run("SamplerCustomAdvanced", noise, object(), sampler, sigmas, EMPTY)
    with pytest.raises(ValueError, match="sampler is object, expected one of this pack's; others need ComfyUI"):
        run("SamplerCustomAdvanced", noise, guider, object(), sigmas, EMPTY)
    with pytest.raises(ValueError, match=r"seeds are .*3, 1, 4.*, expected 2"):
        seeds = run("DDIMOptions", 1.0, 0.0, False, 1, 10, 1, "per sample", None, None, "3, 1, 4")[0]
        parts(shipped, EMPTY, options=seeds)
