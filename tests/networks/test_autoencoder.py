"""The autoencoder against diffusers' implementation, its weights carried over by diffusers' own converter."""

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
