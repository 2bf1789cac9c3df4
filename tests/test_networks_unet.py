"""UNets of every family against diffusers' implementation, their weights carried over by diffusers' own converter."""

import pytest
import torch
from comfyui_ddim.networks import AutoencoderConfig, LatentDiffusion, ModelConfig, Shared, TextConfig, UNet, UNetConfig
from comfyui_ddim.networks.names import published_names
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

NARROW = {"channels": (32, 64, 64, 96), "context": 24}
FAMILIES = {
    "1.x": UNetConfig(**NARROW, heads=8),
    "1.x inpainting": UNetConfig(**NARROW, heads=8, in_channels=9),
    "2.x": UNetConfig(**NARROW, head_width=16, linear_projection=True),
    "2.x inpainting": UNetConfig(**NARROW, head_width=16, linear_projection=True, in_channels=9),
    "of two blocks' depth": UNetConfig(**NARROW, heads=4, depth=2, blocks=1, attention=(False, True, False, True)),
}


def theirs(config: UNetConfig) -> UNet2DConditionModel:
    """diffusers' network of a configuration; it calls the number of heads their width."""
    cross = ["CrossAttn" if attentive else "" for attentive in config.attention]
    return UNet2DConditionModel(
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        block_out_channels=config.channels,
        layers_per_block=config.blocks,
        down_block_types=[f"{kind}DownBlock2D" for kind in cross],
        up_block_types=[f"{kind}UpBlock2D" for kind in reversed(cross)],
        cross_attention_dim=config.context,
        transformer_layers_per_block=config.depth,
        attention_head_dim=[c // config.head_width if config.head_width else config.heads for c in config.channels],
        use_linear_projection=config.linear_projection,
    ).eval()


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request) -> tuple[UNet, UNet2DConditionModel]:
    torch.manual_seed(0)
    ours, other = UNet(FAMILIES[request.param]).eval(), theirs(FAMILIES[request.param])
    state = {f"model.diffusion_model.{name}": tensor for name, tensor in ours.state_dict().items()}
    other.load_state_dict(convert_ldm_unet_checkpoint(state, other.config))
    return ours, other


@pytest.mark.parametrize("size", [(8, 8), (11, 6)])
def test_equal_to_diffusers(pair, size):
    ours, other = pair
    x, context = torch.randn(2, ours.config.in_channels, *size), torch.randn(2, 7, 24)
    t = torch.tensor([3, 981])
    with torch.no_grad():
        expected = other(x, t, context).sample
        came = ours(x, t, context)
    assert expected.std() > 0.05
    assert torch.allclose(came, expected, atol=1e-4)


def test_names_are_the_table_s(pair):
    ours, other = pair
    names = published_names(other.state_dict())
    assert sorted(names.values()) == sorted(ours.state_dict())
    converted = {names[name]: tensor for name, tensor in other.state_dict().items()}
    assert all(torch.equal(converted[name], tensor) for name, tensor in ours.state_dict().items())


@torch.no_grad()
def test_what_is_shared_between_calls_changes_nothing():
    torch.manual_seed(0)
    unet = UNet(FAMILIES["1.x"]).eval()
    text, calls = torch.randn(1, 7, 24), []
    unet.middle_block[1].transformer_blocks[0].attn2.to_k.register_forward_hook(lambda *_: calls.append(1))
    shared = Shared(text)
    for t in (900, 500, 100):
        x, t = torch.randn(1, 4, 8, 8), torch.tensor([t])
        assert torch.equal(unet(x, t, shared), unet(x, t, text))
    assert len(calls) == 1 + 3


@pytest.mark.parametrize("family", ["1.x inpainting", "2.x inpainting"])
def test_inpainting_models_see_mask_and_masked_picture(family):
    torch.manual_seed(0)
    config = ModelConfig(
        unet=FAMILIES[family],
        autoencoder=AutoencoderConfig(channels=(32,), blocks=1),
        text=TextConfig(vocabulary=6, positions=7, width=24, layers=1, heads=4, inner=48),
    )
    model = LatentDiffusion(config).eval().requires_grad_(False)
    x, text, t = torch.randn(2, 4, 8, 8), torch.randn(2, 7, 24), torch.tensor([3, 981])
    mask, masked = torch.rand(1, 1, 8, 8), torch.randn(2, 4, 8, 8)
    expected = model.model.diffusion_model(torch.cat([x, mask.repeat(2, 1, 1, 1), masked], dim=1), t, text)
    assert torch.equal(model.apply_model(x, t, {"c_crossattn": [text], "c_concat": [mask, masked]}), expected)
    with pytest.raises(ValueError, match=r"channels, expected 9 in all.*inpainting"):
        model.apply_model(x, t, text)
    with pytest.raises(ValueError, match=r"\[4, 4\] channels, expected 9"):
        model.apply_model(x, t, {"c_crossattn": [text], "c_concat": [masked]})
