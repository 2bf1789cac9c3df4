"""The networks on a device that is not the CPU: weights and numbers where they belong, no wait between."""

from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import pytest
import torch
from comfyui_ddim.demo import SHIPPED, SHIPPED_CONTROL
from comfyui_ddim.networks import (
    Autoencoder,
    AutoencoderConfig,
    ControlledDiffusion,
    ControlNet,
    DiffusionRun,
    LatentDiffusion,
    ModelConfig,
    TextConfig,
    UNetConfig,
    load_autoencoder,
    load_checkpoint,
    load_controlnet,
    save_checkpoint,
)
from comfyui_ddim.networks.loading.checkpoint import save_controlnet
from comfyui_ddim.networks.text.prompt import encode, tokenize
from comfyui_ddim.sampler import DDIMSampler, make_schedule
from gpu.emulated import CPU, DEVICE, emulated
from models import drawn

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
CLOSE = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}
"""How far the numbers may be from the CPU's, which computes some layers another way: rms, of the result's own."""
NARROW = UNetConfig(channels=(32, 64), blocks=1, attention=(True, False), context=24, heads=4)
UNETS = {
    "1.x": NARROW,
    "2.x": replace(NARROW, linear_projection=True, head_width=16),
    "inpainting": replace(NARROW, in_channels=9),
    "deep": replace(NARROW, depth=2, attention=(True, True)),
}
TEXTS = {
    "CLIP": TextConfig(vocabulary=40, positions=12, width=24, layers=3, heads=4, inner=48),
    "OpenCLIP": TextConfig(
        vocabulary=40, positions=12, width=24, layers=3, heads=4, inner=48, activation="gelu", skip=2, pad=0
    ),
}
AUTOENCODER = AutoencoderConfig(channels=(32, 32), blocks=1)
TEXT = "a (big:1.3) red disc, [and] a ((small)) blue square on green, " * 12


def random(network):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return network.requires_grad_(False)


def model_of(unet: str, text: str = "CLIP") -> LatentDiffusion:
    torch.manual_seed(0)
    return random(LatentDiffusion(ModelConfig(unet=UNETS[unet], autoencoder=AUTOENCODER, text=TEXTS[text])))


@cache
def shipped(device: str, dtype: torch.dtype):
    return load_checkpoint(SHIPPED, device, dtype), load_controlnet(SHIPPED_CONTROL, device, dtype)


@contextmanager
def on_device(run, dtype):
    """What `run` gives on the device, which must be what it gives on the CPU; afterwards the device."""
    expected = flat(run(CPU))
    with emulated() as gpu:
        got = flat(run(DEVICE))
        for ours, theirs in zip(got, expected, strict=True):
            assert ours.device == DEVICE and ours.dtype == theirs.dtype
            ours, theirs = ours.cpu().double(), theirs.double()
            assert (ours - theirs).pow(2).mean().sqrt() <= CLOSE[dtype] * theirs.pow(2).mean().sqrt()
            gpu.reads.pop()
        yield gpu


def flat(found):
    return [found] if isinstance(found, torch.Tensor) else list(found)


def waits(gpu):
    return sorted(read.place for read in gpu.reads)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_loading(dtype):
    with emulated() as gpu:
        networks = [*shipped(str(DEVICE), dtype), load_autoencoder(SHIPPED, str(DEVICE), dtype)]
        for network in networks:
            assert {(p.device, p.dtype) for p in network.parameters()} == {(DEVICE, dtype)}
            assert not [*network.buffers()]
        assert not gpu.reads


def test_saving(tmp_path):
    with emulated():
        model, net = shipped(str(DEVICE), torch.float32)
        save_checkpoint(model, tmp_path / "model.safetensors")
        save_controlnet(net, tmp_path / "net.safetensors")
    again, first = load_checkpoint(tmp_path / "model.safetensors").state_dict(), load_checkpoint(SHIPPED).state_dict()
    assert all(torch.equal(again[name], first[name]) for name in first)
    load_controlnet(tmp_path / "net.safetensors")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("unet", UNETS)
def test_unet(unet, dtype):
    whole = model_of(unet).to(dtype)

    def run(device):
        model = whole.to(device)
        x, text, t = (v.to(device) for v in (drawn(2, 4, 10, 6), drawn(2, 7, 24, seed=1), torch.tensor([801, 3])))
        cond = {"c_crossattn": [text, text]}
        if unet == "inpainting":
            cond["c_concat"] = [drawn(1, 5, 10, 6, seed=2).to(device)]
        steps = DiffusionRun(model, [801, 3])
        return model.apply_model(x, t, cond), steps.apply_model(x, t, cond), model.q_sample(x, t, x)

    with on_device(run, dtype) as gpu:
        assert not gpu.reads


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_controlnet(dtype):
    whole = model_of("1.x").to(dtype)
    control = random(ControlNet.copy_of(whole.model.diffusion_model))

    def run(device):
        model, net = whole.to(device), control.to(device)
        x, text, t = (v.to(device) for v in (drawn(2, 4, 8, 8), drawn(2, 7, 24, seed=1), torch.tensor([500, 500])))
        hint = drawn(1, 3, 64, 64, seed=3).sigmoid().to(device)
        both = ControlledDiffusion(model, net, 0.8, guess=True)
        hinted = both.apply_model(x, t, {"c_crossattn": [text], "c_concat": [hint]})
        plain = both.apply_model(x, t, {"c_crossattn": [text], "c_concat": None})
        steps = DiffusionRun(model, [500])
        residuals = steps.residuals(net, x, hint, t, text)
        steered = steps.apply_model(x, t, {"c_crossattn": [text], "control": list(residuals)})
        torch.manual_seed(0)
        return hinted, plain, steered, *residuals, *ControlNet.copy_of(model.model.diffusion_model).parameters()

    with on_device(run, dtype) as gpu:
        assert not gpu.reads


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tile", [None, 0, 6])
def test_autoencoder(tile, dtype):
    whole = random(Autoencoder(AUTOENCODER)).to(dtype)

    def run(device):
        network = whole.to(device)
        pixels, latents = drawn(1, 3, 24, 32).clamp(-1, 1).to(device), drawn(1, 4, 14, 10, seed=1).to(device)
        moments = network.moments(pixels.to(dtype))
        sampled = network.encode(pixels.to(dtype), moments[0])
        return network.latent(pixels, tile), network.picture(latents, tile), sampled, *moments

    with on_device(run, dtype) as gpu:  # what comes in and what goes out is finite, each way
        assert waits(gpu) == ["networks/autoencoder.py:Autoencoder._finite"] * 4


@pytest.mark.parametrize("way", ["latent", "picture"])
def test_an_autoencoder_that_overflows(way, caplog):
    """It is copied in float32, where it is."""
    whole = random(Autoencoder(AUTOENCODER))
    for first in (whole.encoder.conv_in, whole.decoder.conv_in):
        first.weight.mul_(1e5)
    whole = whole.half()
    given = drawn(1, 3, 16, 16).clamp(-1, 1) if way == "latent" else drawn(1, 4, 8, 8)
    with on_device(lambda device: getattr(whole.to(device), way)(given.to(device)), torch.float16) as gpu:
        assert waits(gpu) == ["networks/autoencoder.py:Autoencoder._finite"] * 3
        assert whole.quant_conv.weight.dtype == torch.float16
    assert "float32" in caplog.text


class Letters:
    """A tokenizer of letters."""

    length, start, end, pad = 12, 38, 39, 39

    def words(self, text):
        return [ord(letter) % 37 for letter in text]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("prompt", ["plain", "(some:1.3) (weights)", "embedding:it and (more:0.5)", TEXT])
def test_text(prompt, text, dtype):
    whole = model_of("1.x", text).cond_stage_model.transformer.to(dtype)
    chunks = tokenize(prompt, Letters(), lambda name: drawn(2, 24, seed=4))
    empty = tokenize("", Letters())

    def run(device):
        return encode(whole.to(device), [chunks, empty], Letters(), 2)

    with on_device(run, dtype) as gpu:
        assert not gpu.reads


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_published_sampler_on_the_shipped_model(dtype):
    """Its text, the sampler as published, its picture: all of one model on the device."""

    def run(device):
        model, _ = shipped(str(device), dtype)
        text = model.encode_text(["a (red:1.2) disc", ""])
        sampler = DDIMSampler(model, device=device)
        options = {"unconditional_guidance_scale": 3.0, "unconditional_conditioning": text[1:], "verbose": False}
        x, _ = sampler.sample(3, 1, (4, 8, 8), text[:1], x_T=drawn(1, 4, 8, 8).to(device), **options)
        pixels = drawn(1, 3, 16, 16).to(device)
        return text, x, model.decode_latent(x[:, :, :2, :2] / model.scale_factor), model.encode_picture(pixels)

    with on_device(run, dtype) as gpu:
        assert {place for place in waits(gpu) if not place.startswith("networks/autoencoder")} == {
            "sampler/conditioning.py:fit",
            "sampler/finite.py:check_finite",
            "sampler/finite.py:Watch.check",
        }


def test_devices_without_float64():
    with emulated(doubles=False):
        model, net = shipped(str(DEVICE), torch.float32)
        x, t = drawn(1, 4, 16, 16).to(DEVICE), torch.tensor([500]).to(DEVICE)
        text = model.encode_text(["a red disc"])
        steps = DiffusionRun(model, make_schedule(model.alphas_cumprod, 3).timesteps)
        residuals = steps.residuals(net, x, drawn(1, 3, 128, 128).to(DEVICE), t, text)
        model.apply_model(model.q_sample(x, t), t, {"c_crossattn": [text], "control": list(residuals)})
        model.decode_latent(x)
        model.encode_picture(drawn(1, 3, 64, 64).to(DEVICE))
