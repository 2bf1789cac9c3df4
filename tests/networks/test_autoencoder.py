"""The autoencoder against diffusers' implementation, its weights carried over by diffusers' own converter."""

import copy

import pytest
import torch
from comfyui_ddim.networks import Autoencoder, AutoencoderConfig
from comfyui_ddim.networks.loading.diffusers_names import published_names
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint


@pytest.fixture(scope="module")
def pair() -> tuple[Autoencoder, AutoencoderKL]:
    torch.manual_seed(0)
    ours = Autoencoder(AutoencoderConfig(channels=(32, 32, 64, 64))).eval().requires_grad_(False)
    other = AutoencoderKL(
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=2,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    ).eval()
    state = {f"first_stage_model.{name}": tensor for name, tensor in ours.state_dict().items()}
    other.load_state_dict(convert_ldm_vae_checkpoint(state, other.config))
    return ours, other


@torch.no_grad()
def test_equal_to_diffusers(pair):
    ours, other = pair
    x, z = torch.rand(2, 3, 48, 64) * 2 - 1, torch.randn(2, 4, 6, 8)
    distribution = other.encode(x).latent_dist
    mean, log_variance = ours.moments(x)
    assert mean.std() > 0.05
    assert torch.allclose(mean, distribution.mean, atol=1e-4)
    assert torch.allclose(log_variance, distribution.logvar, atol=1e-4)
    decoded = other.decode(z).sample
    assert decoded.std() > 0.05
    assert torch.allclose(ours.decode(z), decoded, atol=1e-4)


def test_names_are_the_table_s(pair):
    ours, other = pair
    names = published_names(other.state_dict())
    assert sorted(names.values()) == sorted(ours.state_dict())
    converted = {names[name]: tensor for name, tensor in other.state_dict().items()}
    assert all(torch.equal(converted[n].reshape(t.shape), t) for n, t in ours.state_dict().items())


def test_names_from_before_attention_was_shared():
    old = {"query": "q", "key": "k", "value": "v", "proj_attn": "proj_out", "group_norm": "norm"}
    names = ["encoder.down_blocks.0.resnets.0.conv1.weight"]
    names += [f"decoder.mid_block.attentions.0.{name}.weight" for name in old]
    assert list(published_names(names).values())[1:] == [f"decoder.mid.attn_1.{name}.weight" for name in old.values()]


@pytest.fixture(scope="module")
def overflowing(pair) -> Autoencoder:
    """In float16 both ways overflow at their first convolution, whose results the next normalisation makes small."""
    network = copy.deepcopy(pair[0])
    network.decoder.conv_in.weight *= 1e5
    network.encoder.conv_in.weight *= 1e5
    return network


@pytest.mark.parametrize("tile", [0, 32, None])
@pytest.mark.parametrize("way", ["latent", "picture"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_what_overflows_in_half_precision_is_computed_in_float32(overflowing, caplog, way, tile, dtype):
    given = torch.rand(1, 3, 320, 64) * 2 - 1 if way == "latent" else torch.randn(1, 4, 40, 8)
    expected = getattr(overflowing, way)(given, 0)
    half = copy.deepcopy(overflowing).to(dtype)
    assert not caplog.records
    result = getattr(half, way)(given, tile)
    assert result.isfinite().all()
    near = {"atol": 0.02, "rtol": 0.02}  # the weights were rounded to half precision
    assert torch.allclose(result, expected, **near) or tile == 32  # tiles differ from the whole, see test_tiling
    assert [record.getMessage().count("again in float32") for record in caplog.records] == [1] * (
        dtype != torch.float32
    )


@pytest.mark.parametrize("way", ["latent", "picture"])
@pytest.mark.parametrize("tile", [0, 32])
def test_what_overflows_in_float32_is_an_error(pair, way, tile):
    network = copy.deepcopy(pair[0])
    network.decoder.conv_in.weight *= 1e38
    network.encoder.conv_in.weight *= 1e38
    given = torch.rand(1, 3, 320, 64) * 200 - 1 if way == "latent" else torch.randn(1, 4, 40, 8) * 100
    with pytest.raises(ValueError, match=r"the autoencoder gave NaN or infinity in float32, expected finite"):
        getattr(network, way)(given, tile)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_comes_in_broken_is_named(pair, value):
    with pytest.raises(ValueError, match="decoding a latent: the input has NaN or infinity"):
        pair[0].picture(torch.full((1, 4, 8, 8), value))
    with pytest.raises(ValueError, match="encoding an image: the input has NaN or infinity"):
        pair[0].latent(torch.full((1, 3, 64, 64), value))


def test_infinity_at_the_very_end_is_seen(pair, caplog):
    """It would be clamped to white, a picture like another."""
    network = copy.deepcopy(pair[0]).half()
    network.decoder.norm_out.weight.fill_(1e4)
    network.decoder.norm_out.bias.fill_(6e4)
    network.decoder.conv_out.weight.abs_()
    z = torch.randn(1, 4, 8, 8)
    assert network.decode(z.half()).isinf().any()
    assert not network.decode(z.half()).isnan().any()
    network.picture(z)
    assert "again in float32" in caplog.text
