"""ControlNet: the published rules, and equality with another implementation of the network."""

from pathlib import Path

import pytest
import torch
from comfyui_ddim.networks import (
    AutoencoderConfig,
    ControlledDiffusion,
    ControlNet,
    LatentDiffusion,
    ModelConfig,
    TextConfig,
    UNetConfig,
    load_checkpoint,
    load_controlnet,
    save_controlnet,
)
from comfyui_ddim.networks.loading.diffusers_names import published_names
from diffusers import ControlNetModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

SHIPPED = Path(__file__).parents[2] / "demo" / "ddim-scenes.safetensors"
NARROW = UNetConfig(channels=(32, 64), blocks=1, attention=(True, False), context=24, heads=4)
SMALL = ModelConfig(
    unet=NARROW,
    autoencoder=AutoencoderConfig(channels=(32, 32, 32, 32), blocks=1),
    text=TextConfig(vocabulary=6, positions=11, width=24, layers=1, heads=4, inner=48),
)


def random_weights(net: torch.nn.Module, scale: float = 0.05) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=scale)


@pytest.fixture(scope="module")
def diffusion() -> LatentDiffusion:
    torch.manual_seed(0)
    return LatentDiffusion(SMALL).eval().requires_grad_(False)


@pytest.fixture
def net(diffusion) -> ControlNet:
    torch.manual_seed(1)
    net = ControlNet.copy_of(diffusion.model.diffusion_model).eval().requires_grad_(False)
    random_weights(net)
    return net


@pytest.fixture
def given() -> dict:
    torch.manual_seed(2)
    return {
        "x": torch.randn(2, 4, 6, 5),
        "hint": torch.rand(2, 3, 48, 40),
        "t": torch.tensor([7, 900]),
        "context": torch.randn(2, 11, 24),
    }


@pytest.fixture(scope="module", params=["1.x", "2.x"])
def pair(request) -> tuple[ControlNet, ControlNetModel]:
    """Ours and diffusers' of the same weights, by diffusers' own converter."""
    heads = {"heads": 8} if request.param == "1.x" else {"head_width": 16, "linear_projection": True}
    torch.manual_seed(0)
    ours = ControlNet(UNetConfig(channels=(32, 64, 64, 96), context=24, **heads)).eval().requires_grad_(False)
    random_weights(ours, 0.1)
    other = ControlNetModel(
        block_out_channels=(32, 64, 64, 96),
        cross_attention_dim=24,
        attention_head_dim=8 if request.param == "1.x" else (2, 4, 4, 6),
        use_linear_projection=request.param == "2.x",
    ).eval()
    state = {f"control_model.{name}": tensor for name, tensor in ours.state_dict().items()}
    other.load_state_dict(convert_controlnet_checkpoint(state, other.config))
    return ours, other


@torch.no_grad()
def test_equal_to_diffusers(pair, given):
    ours, other = pair
    down, middle = other(given["x"], given["t"], given["context"], given["hint"], return_dict=False)
    came = ours(**given)
    assert len(came) == len(down) + 1 == 13
    for own, expected in zip(came, (*down, middle), strict=True):
        assert expected.std() > 0.05
        assert torch.allclose(own, expected, atol=1e-4 * expected.abs().max())


def test_names_are_the_table_s(pair):
    ours, other = pair
    names = published_names(other.state_dict())
    assert sorted(names.values()) == sorted(ours.state_dict())
    converted = {names[name]: tensor for name, tensor in other.state_dict().items()}
    assert all(torch.equal(converted[name], tensor) for name, tensor in ours.state_dict().items())


def test_a_new_one_leaves_its_unet_as_it_is(diffusion, given):
    net = ControlNet.copy_of(diffusion.model.diffusion_model)
    residuals = net(**given)
    # Input blocks: the stem, a block, a downsampling, a block; then the middle.
    assert [tuple(r.shape[1:]) for r in residuals] == [(32, 6, 5), (32, 6, 5), (32, 3, 3), (64, 3, 3), (64, 3, 3)]
    assert not any(r.any() for r in residuals)
    hidden = [s for s in net.state_dict() if not s.startswith(("input_hint", "zero_convs", "middle_block_out"))]
    theirs = diffusion.model.diffusion_model.state_dict()
    assert hidden and all(torch.equal(net.state_dict()[name], theirs[name]) for name in hidden)


def test_it_learns_from_zero(diffusion, given):
    net = ControlNet.copy_of(diffusion.model.diffusion_model)
    sum(r.square().sum() + r.sum() for r in net(**given)).backward()
    assert all(conv[0].weight.grad.abs().sum() > 0 for conv in net.zero_convs)


def test_it_fits_the_shipped_model():
    model = load_checkpoint(SHIPPED)
    net = ControlNet.copy_of(model.model.diffusion_model)
    cond = {"c_crossattn": [model.encode_text(["a red cube"])], "c_concat": [torch.rand(1, 3, 128, 128)]}
    x, t = torch.randn(1, 4, 16, 16), torch.tensor([500])
    controlled = ControlledDiffusion(model, net).apply_model(x, t, cond)
    assert torch.allclose(controlled, model.apply_model(x, t, cond["c_crossattn"][0]), atol=1e-5)


def test_residuals_are_added_where_the_paper_adds_them(diffusion):
    # With the middle's residual alone, the UNet is that residual further at its middle, and nowhere before.
    unet = diffusion.model.diffusion_model
    x, t, context = torch.randn(1, 4, 4, 4), torch.tensor([3]), torch.randn(1, 11, 24)
    zeros = [torch.zeros(1, c, s, s) for c, s in ((32, 4), (32, 4), (32, 2), (64, 2))]
    shift = torch.randn(1, 64, 2, 2)
    seen = []
    hook = unet.middle_block.register_forward_hook(lambda module, args, out: out + shift)
    expected = unet(x, t, context)
    hook.remove()
    assert torch.allclose(unet(x, t, context, [*zeros, shift]), expected, atol=1e-6)
    # And the first one reaches only the last output block's skip.
    hook = unet.output_blocks[-1].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    first = torch.randn(1, 32, 4, 4)
    for control in (None, [first, *zeros[1:], 0 * shift]):
        unet(x, t, context, control)
    hook.remove()
    assert torch.allclose(seen[1][:, :32], seen[0][:, :32]) and torch.allclose(seen[1][:, 32:], seen[0][:, 32:] + first)


@pytest.mark.parametrize("guess", [False, True])
def test_scales_are_the_published_ones(diffusion, net, guess, given):
    model = ControlledDiffusion(diffusion, net, 0.7, guess)
    assert model.control_scales == pytest.approx([0.7 * (0.825 ** (4 - i) if guess else 1) for i in range(5)])
    residuals = net(**given)
    control = [scale * r for scale, r in zip(model.control_scales, residuals, strict=True)]
    expected = diffusion.model.diffusion_model(given["x"], given["t"], given["context"], control)
    cond = {"c_crossattn": [given["context"]], "c_concat": [given["hint"]]}
    assert torch.allclose(model.apply_model(given["x"], given["t"], cond), expected, atol=1e-6)
    free = model.apply_model(given["x"], given["t"], cond | {"c_concat": None})
    assert torch.equal(free, diffusion.apply_model(given["x"], given["t"], given["context"]))
    assert not torch.allclose(free, expected, atol=1e-3)


def test_save_and_load_round_trip(net, given, tmp_path):
    save_controlnet(net, tmp_path / "control.safetensors", torch.float32)
    loaded = load_controlnet(tmp_path / "control.safetensors")
    assert loaded.config == NARROW
    assert all(torch.equal(a, b) for a, b in zip(loaded(**given), net(**given), strict=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hint": torch.rand(2, 3, 48, 32)}, "hint of shape"),
        ({"hint": torch.rand(3, 3, 48, 40)}, "hint of shape"),
        ({"context": torch.randn(2, 11, 32)}, "another kind of model"),
        ({"x": torch.randn(2, 9, 6, 5)}, "9 channels"),
    ],
)
def test_what_does_not_fit(net, given, change, said):
    with pytest.raises(ValueError, match=said):
        net(**given | change)


def test_a_controlnet_for_another_family(diffusion):
    with pytest.raises(ValueError, match="expected one for"):
        ControlledDiffusion(diffusion, ControlNet(UNetConfig(channels=(32, 64), blocks=1, attention=(True, False))))
    with pytest.raises(ValueError, match=r"residuals of \[32\] channels"):
        unet = diffusion.model.diffusion_model
        unet(torch.randn(1, 4, 4, 4), torch.tensor([3]), torch.randn(1, 11, 24), [torch.zeros(1, 32, 4, 4)])
