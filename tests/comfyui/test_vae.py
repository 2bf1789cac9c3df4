"""Our nodes' way through ComfyUI's VAE; COMFYUI_DIR names its checkout."""

import os

import pytest
import torch

if "COMFYUI_DIR" not in os.environ:
    pytest.skip("COMFYUI_DIR names no ComfyUI", allow_module_level=True)


@pytest.fixture
def overflowing(comfy):
    """The shipped model's VAE in a number type, both of its first convolutions' weights times a factor."""
    from comfyui_ddim.demo import SHIPPED
    from comfyui_ddim.hosts.comfyui.checkpoint import load_checkpoint

    def make(factor, dtype):
        vae = load_checkpoint(SHIPPED)[2]
        network = vae.first_stage_model.float()
        with torch.no_grad():
            network.encoder.conv_in.weight *= factor
            network.decoder.conv_in.weight *= factor
        network.to(dtype)
        vae.vae_dtype = dtype
        return vae

    return make


def given(way):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 4, 16, 16, generator=generator) if way == "decode" else torch.rand(1, 128, 128, 3)


def through_node(way, vae, x):
    from comfyui_ddim.nodes.latents import DDIMDecode, DDIMEncode

    return DDIMDecode().decode({"samples": x}, vae)[0] if way == "decode" else DDIMEncode().encode(x, vae)[0]["samples"]


@pytest.mark.parametrize("way", ["decode", "encode"])
def test_what_overflows_in_half_precision_is_computed_in_float32(overflowing, caplog, way):
    x, half = given(way), overflowing(1e5, torch.float16)
    assert getattr(half, way)(x).isnan().any()
    result = through_node(way, half, x)
    assert "overflowed in float16, trying again in float32" in caplog.text
    assert torch.allclose(result, through_node(way, overflowing(1e5, torch.float32), x), atol=0.02)
    assert getattr(half, way)(x).isnan().any()  # its own weights are as they were


def test_infinity_of_the_last_layer_is_the_white_or_black_that_float32_gives(overflowing):
    """ComfyUI clamps it before anybody sees it, and so it does with the number beyond float16 that it stands for."""
    x, pictures = given("decode")[..., :4, :4], []
    for dtype in (torch.float16, torch.float32):
        vae = overflowing(1, torch.float32)
        with torch.no_grad():
            vae.first_stage_model.decoder.conv_out.weight *= 2e5
            vae.first_stage_model.decoder.conv_out.bias *= 2e5
            vae.first_stage_model.to(dtype)
            raw = vae.first_stage_model.decode(x.to(dtype)).float()
        vae.vae_dtype = dtype
        pictures.append(through_node("decode", vae, x))
        assert raw.isinf().any() == (dtype == torch.float16) and not raw.isnan().any()
    at_infinity = raw.abs().movedim(1, -1) > torch.finfo(torch.float16).max  # `raw` is float32's here
    assert at_infinity.any() and torch.equal(pictures[0][at_infinity], pictures[1][at_infinity])


@pytest.mark.parametrize("way", ["decode", "encode"])
def test_what_overflows_in_float32_is_an_error(overflowing, way):
    with pytest.raises(ValueError, match=r"the VAE gave NaN or infinity in float32, expected finite numbers"):
        through_node(way, overflowing(1e38, torch.float32), given(way) * 50)
