"""UNets of every family against diffusers' implementation, their weights carried over by diffusers' own converter."""

from collections.abc import Callable

import pytest
import torch
from comfyui_ddim.networks import (
    AutoencoderConfig,
    ControlNet,
    DiffusionRun,
    LatentDiffusion,
    ModelConfig,
    Shared,
    TextConfig,
    UNet,
    UNetConfig,
)
from comfyui_ddim.networks.loading.diffusers_names import published_names
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
    ours = ours.to(memory_format=torch.channels_last)  # as a large file is loaded
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


def small(unet: UNetConfig) -> LatentDiffusion:
    torch.manual_seed(0)
    autoencoder = AutoencoderConfig(channels=(32,), blocks=1)
    text = TextConfig(vocabulary=6, positions=7, width=24, layers=1, heads=4, inner=48)
    return LatentDiffusion(ModelConfig(unet, autoencoder, text)).eval().requires_grad_(False)


def test_a_run_s_model_is_the_model_and_computes_what_its_steps_share_once():
    model = small(FAMILIES["1.x"])
    net = ControlNet.copy_of(model.model.diffusion_model)
    torch.nn.init.normal_(net.zero_convs[3][0].weight)
    calls = {"keys": 0, "times": 0, "hints": 0}

    def count(name: str) -> Callable:
        def hook(*_: object) -> None:
            calls[name] += 1

        return hook

    steps = (900, 500, 100)
    text, pair, hint = torch.randn(1, 7, 24), torch.randn(2, 7, 24), torch.rand(1, 3, 64, 64)
    run = DiffusionRun(model, steps)
    hooked = [
        model.model.diffusion_model.middle_block[1]
        .transformer_blocks[0]
        .attn2.to_k.register_forward_hook(count("keys")),
        model.model.diffusion_model.middle_block[0].emb_layers[1].register_forward_hook(count("times")),
        net.input_hint_block[0].register_forward_hook(count("hints")),
    ]
    came = []
    for step in (*steps, 42):
        x = torch.randn(2, 4, 8, 8)
        for given, cond in ((x, {"c_crossattn": [pair]}), (x, text), (x[:1], text)):
            t = torch.full((len(given),), step)
            control = run.residuals(net, given, hint, t, text)
            came.append((given, t, cond, control, run.apply_model(given, t, cond)))
            steered = {"c_crossattn": [text], "control": control}
            came.append((given, t, steered, control, run.apply_model(given, t, steered)))
    # Two texts, one of them for two batch sizes; the three steps together, and the one that wasn't foreseen each time.
    assert calls == {"keys": 3, "times": 1 + 6, "hints": 1}
    for hook in hooked:
        hook.remove()
    for given, t, cond, control, out in came:
        assert torch.allclose(out, model.apply_model(given, t, cond), atol=1e-5)
        for own, expected in zip(control, net(given, hint, t, text.expand(len(given), -1, -1)), strict=True):
            assert torch.allclose(own, expected, atol=1e-5)


def test_a_run_takes_timesteps_of_all_kinds():
    model = small(FAMILIES["1.x"])
    run = DiffusionRun(model, [900.5, 3])
    x, text = torch.randn(2, 4, 8, 8), torch.randn(1, 7, 24)
    for t in (torch.tensor([900.5, 3.0]), torch.tensor([3, 3]), torch.tensor([3.0, 7.25])):
        assert torch.allclose(run.apply_model(x, t, text), model.apply_model(x, t, text), atol=1e-5)


@pytest.mark.parametrize("family", ["1.x inpainting", "2.x inpainting"])
def test_inpainting_models_see_mask_and_masked_picture(family):
    model = small(FAMILIES[family])
    x, text, t = torch.randn(2, 4, 8, 8), torch.randn(2, 7, 24), torch.tensor([3, 981])
    mask, masked = torch.rand(1, 1, 8, 8), torch.randn(2, 4, 8, 8)
    expected = model.model.diffusion_model(torch.cat([x, mask.repeat(2, 1, 1, 1), masked], dim=1), t, text)
    assert torch.equal(model.apply_model(x, t, {"c_crossattn": [text], "c_concat": [mask, masked]}), expected)
    with pytest.raises(ValueError, match=r"channels, expected 9 in all.*inpainting"):
        model.apply_model(x, t, text)
    with pytest.raises(ValueError, match=r"\[4, 4\] channels, expected 9"):
        model.apply_model(x, t, {"c_crossattn": [text], "c_concat": [masked]})
