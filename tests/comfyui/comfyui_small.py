"""Small models of ComfyUI's own classes, with random weights, and what ComfyUI's and this pack's samplers make of them.

Tests import what they need, the fixture `side` with it.
"""

import importlib
import inspect
from types import SimpleNamespace

import pytest
import torch
from comfyui_ddim.hosts.plan import Plan
from comfyui_ddim.sampler import PRESETS

SHAPE = (1, 4, 8, 8)
WIDTH = 32
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": WIDTH,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": WIDTH,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
    "legacy": False,
    "dtype": torch.float32,
}
"""Stable Diffusion 1.5's UNet, narrower and with two levels instead of four."""


def drawn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def fill(module, seed=0):
    """Weights of a size that keeps activations in bounds; buffers that a checkpoint would bring too."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.state_dict().items():
        norm = weight.ndim == 1 and name.endswith("weight")
        size = 1 / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.02
        weight.copy_(1 if norm else torch.randn(weight.shape, generator=generator) * size)
    return module.eval()


def small_model(comfy, **changes):
    """MODEL."""
    known = comfy.supported_models.SD15({**UNET, **changes})
    known.unet_config |= {"num_heads": 4, **changes}
    model = known.get_model({}, device="cpu")
    fill(model.diffusion_model)
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def prompt(seed, **extra):
    """CONDITIONING of random words."""
    return [[drawn(seed, 1, 6, WIDTH), extra]]


@pytest.fixture(scope="module", name="side")
def small_side(comfy):
    """A small model with two prompts."""
    from comfyui_ddim.hosts.comfyui.host import ComfyHost

    with torch.inference_mode():
        return SimpleNamespace(
            host=ComfyHost(), model=small_model(comfy), positive=prompt(1), negative=prompt(2), latent=PICTURE
        )


PICTURE = {"samples": drawn(5, *SHAPE) * 5}
LEFT = torch.zeros(1, 64, 64)
LEFT[:, :, :28] = 1


def changed(side, **changes):
    return SimpleNamespace(**{**vars(side), **changes})


def node(module, name, *inputs):
    """What a node of comfy_extras gives, be it of the classic kind or the newer."""
    cls = getattr(importlib.import_module(f"comfy_extras.{module}"), name)
    function = getattr(cls, "execute", None) or getattr(cls(), cls.FUNCTION)
    result = function(*inputs)
    assert not inspect.iscoroutine(result)
    return getattr(result, "result", result)[0]


def comfyuis(comfy, side, steps=5, denoise=1.0, cfg=4.0, seed=7, **how):
    """What ComfyUI's KSampler makes of it."""
    samples, index = side.latent["samples"], side.latent.get("batch_index")
    with torch.inference_mode():
        return comfy.sample.sample(
            side.model,
            comfy.sample.prepare_noise(samples, seed, index),
            steps,
            cfg,
            how.get("sampler", "ddim"),
            how.get("scheduler", "ddim_uniform"),
            side.positive,
            side.negative,
            samples,
            denoise,
            noise_mask=side.latent.get("noise_mask"),
            sigmas=how.get("sigmas"),
            disable_pbar=True,
            seed=seed,
        )


def ours(side, steps=5, denoise=1.0, cfg=4.0, seed=7, scheme="comfyui", **more):
    """What DDIMSampler makes of it."""
    scheme = PRESETS[scheme] if isinstance(scheme, str) else scheme
    plan = Plan(seed, steps, scale=cfg, denoise=denoise, scheme=scheme, **more)
    with torch.inference_mode():
        return side.host.sample(side.model, side.positive, side.negative, side.latent, plan)[0]["samples"]


def assert_same(a, b, limit=1e-5):
    """Unscaled latents agree to `limit` of what the model sees."""
    assert a.shape == b.shape and torch.isfinite(a).all()
    assert (a - b).abs().max() <= limit * max(1 / 0.18215, b.abs().max())
