"""OpenVINO in torch's place: the same numbers, with the weights in memory once, and clear refusals."""

import copy
import subprocess
import sys

import pytest
import torch
from comfyui_ddim.networks import (
    Autoencoder,
    AutoencoderConfig,
    ControlNet,
    DiffusionRun,
    LatentDiffusion,
    ModelConfig,
    TextConfig,
    UNet,
    UNetConfig,
    use_openvino,
)
from comfyui_ddim.networks.openvino import Compiled, EngineError
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from torch import nn

pytest.importorskip("openvino", reason='needs ".[openvino]"')

UNETS = {
    "1.x": UNetConfig(channels=(32, 64), attention=(True, False), blocks=1, context=24),
    "2.x": UNetConfig(
        channels=(32, 64), attention=(True, True), blocks=1, context=24, head_width=16, linear_projection=True
    ),
}


def model_of(unet: UNetConfig) -> LatentDiffusion:
    torch.manual_seed(0)
    text = TextConfig(vocabulary=6, positions=7, width=24, layers=1, heads=4, inner=48)
    autoencoder = AutoencoderConfig(channels=(32, 64), blocks=1)
    return LatentDiffusion(ModelConfig(unet, autoencoder, text)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("openvino")


@torch.no_grad()
@pytest.mark.parametrize("family", UNETS)
def test_a_unet_equals_diffusers(folder, family):
    config = UNETS[family]
    ours = model_of(config).model.diffusion_model
    names = ["CrossAttn" if attentive else "" for attentive in config.attention]
    other = UNet2DConditionModel(
        block_out_channels=config.channels,
        layers_per_block=1,
        down_block_types=[f"{name}DownBlock2D" for name in names],
        up_block_types=[f"{name}UpBlock2D" for name in reversed(names)],
        cross_attention_dim=24,
        attention_head_dim=[c // config.head_width if config.head_width else config.heads for c in config.channels],
        use_linear_projection=config.linear_projection,
    ).eval()
    state = {f"model.diffusion_model.{name}": tensor for name, tensor in ours.state_dict().items()}
    other.load_state_dict(convert_ldm_unet_checkpoint(state, other.config))
    x, t, text = torch.randn(2, 4, 11, 6), torch.tensor([3, 981]), torch.randn(2, 7, 24)
    expected = other(x, t, text).sample
    use_openvino(ours, folder)
    assert expected.std() > 0.05
    assert torch.allclose(ours(x, t, text), expected, atol=1e-4)


@torch.no_grad()
def test_a_run_with_a_controlnet_and_shared_texts_is_torch_s(folder):
    model = model_of(UNETS["1.x"])
    net = ControlNet.copy_of(model.model.diffusion_model)
    torch.nn.init.normal_(net.zero_convs[1][0].weight)
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([500, 500])
    text, other, hint = torch.randn(1, 7, 24), torch.randn(1, 7, 24), torch.rand(1, 3, 64, 64)

    def results() -> list[torch.Tensor]:
        run = DiffusionRun(model, [900, 500])
        control = run.residuals(net, x, hint, t, text)
        plain = {"c_crossattn": [text]}
        later = run.apply_model(x, torch.tensor([900, 900]), {"c_crossattn": [other]})
        return [run.apply_model(x, t, plain), run.apply_model(x, t, plain | {"control": control}), later]

    expected = results()
    use_openvino(model, folder)
    came = results()
    assert all((expected[0] - each).abs().max() > 0.01 for each in expected[1:])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(came, expected, strict=True))


@torch.no_grad()
def test_a_run_computes_a_text_and_its_timesteps_once(folder):
    model = model_of(UNETS["1.x"])
    use_openvino(model, folder)
    layers = [
        layer
        for name, layer in model.model.diffusion_model.named_modules()
        if name.endswith(("attn2.to_k", "attn2.to_v", "emb_layers.1"))
    ]
    calls = []
    for layer in layers:
        layer.register_forward_hook(lambda *given: calls.append(given[0]))
    run, text = DiffusionRun(model, [900, 500]), torch.randn(1, 7, 24)
    for t in (900, 500):
        run.apply_model(torch.randn(2, 4, 8, 8), torch.tensor([t, t]), {"c_crossattn": [text]})
    assert sorted(map(id, calls)) == sorted(map(id, layers)) and len(layers) > 4


@torch.no_grad()
def test_an_autoencoder_is_torch_s_in_tiles_too(folder):
    torch.manual_seed(0)
    torch_s = Autoencoder(AutoencoderConfig(channels=(32, 64), blocks=1)).eval().requires_grad_(False)
    network = copy.deepcopy(torch_s)
    use_openvino(network, folder)
    pixels, z = torch.rand(1, 3, 48, 32) * 2 - 1, torch.randn(1, 4, 24, 16)
    for tile in (0, 16):
        assert torch.allclose(network.latent(pixels, tile), torch_s.latent(pixels, tile), atol=1e-4)
        assert torch.allclose(network.picture(z, tile), torch_s.picture(z, tile), atol=1e-4)


@torch.no_grad()
def test_a_copy_is_computed_with_its_own_weights(folder):
    torch_s = model_of(UNETS["1.x"])
    model = copy.deepcopy(torch_s)
    use_openvino(model, folder)
    changed = copy.deepcopy(model)
    for each in (torch_s, changed):
        each.model.diffusion_model.out[2].weight.data *= -1
        each.first_stage_model.decoder.conv_out.bias.data += 1
    x, t, text = torch.randn(1, 4, 8, 8), torch.tensor([500]), torch.randn(1, 7, 24)
    assert torch.allclose(changed.apply_model(x, t, text), torch_s.apply_model(x, t, text), atol=1e-4)
    assert torch.allclose(changed.decode_latent(x), torch_s.decode_latent(x), atol=1e-4)
    assert not torch.allclose(model.apply_model(x, t, text), torch_s.apply_model(x, t, text), atol=1e-2)


@torch.no_grad()
def test_bfloat16_is_as_near_to_float32_as_torch_s(folder):
    unet = model_of(UNETS["1.x"]).model.diffusion_model
    x, t, text = torch.randn(2, 4, 16, 16), torch.tensor([500, 20]), torch.randn(2, 7, 24)
    expected = unet(x, t, text)
    unet.bfloat16()
    given = x.bfloat16(), t, text.bfloat16()
    torch_s = unet(*given)
    use_openvino(unet, folder)
    came = unet(*given)
    assert came.dtype == torch.float32
    errors = [(each.float() - expected).pow(2).mean().sqrt() for each in (came, torch_s)]
    assert 0 < errors[0] < 1.25 * errors[1]


@torch.no_grad()
def test_weights_move_into_a_file_and_stay_what_they_are(tmp_path):
    torch.manual_seed(0)
    layer, x = nn.Conv2d(4, 8, 3).requires_grad_(False), torch.randn(1, 4, 9, 9)
    expected, weights = layer(x), layer.weight.clone()
    compiled = Compiled(layer, nn.Conv2d.forward, tmp_path)
    assert torch.allclose(compiled(x), expected, atol=1e-5)
    assert torch.equal(layer.weight, weights) and torch.equal(layer(x), expected)
    assert layer.weight.mapped is layer.bias.mapped and not list(tmp_path.iterdir())
    wider = torch.randn(1, 4, 9, 10)
    assert torch.allclose(compiled(wider), layer(wider), atol=1e-5)
    changed = copy.deepcopy(compiled)
    changed.network.weight.data[3, 2, 1, 1] += 1
    assert torch.allclose(changed(x), changed.network(x), atol=1e-5) and not torch.allclose(changed(x), expected)
    assert torch.allclose(compiled(x), expected, atol=1e-5)


@torch.no_grad()
def test_weights_that_two_networks_share_move_once(tmp_path):
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    x = torch.randn(2, 4)
    Compiled(first, nn.Linear.forward, tmp_path)(x)
    mapped = first.weight.mapped
    assert torch.allclose(Compiled(second, nn.Linear.forward, tmp_path)(x), second(x), atol=1e-5)
    assert first.weight.mapped is mapped and second.bias.mapped is not mapped


@torch.no_grad()
def test_without_room_for_a_file_it_computes_all_the_same(tmp_path, caplog):
    (tmp_path / "file").touch()
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    assert torch.allclose(Compiled(layer, nn.Linear.forward, tmp_path / "file")(x), layer(x), atol=1e-5)
    assert "takes more memory" in caplog.text and not hasattr(layer.weight, "mapped")


MEMORY = """
import sys
from pathlib import Path
import torch
from torch import nn
from comfyui_ddim.networks.openvino import Compiled


def held():
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("RssAnon")) * 1024


dtype, folder = getattr(torch, sys.argv[1]), Path(sys.argv[2])
small = nn.Linear(64, 64).requires_grad_(False).to(dtype)
Compiled(small, nn.Linear.forward, folder)(torch.ones(2, 64, dtype=dtype))  # so that it has what it takes itself
layers = nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(12))).requires_grad_(False).to(dtype)
before = held()
compiled = Compiled(layers, nn.Sequential.forward, folder)
compiled(torch.ones(2, 2048, dtype=dtype))
print((held() - before) / sum(p.nbytes for p in layers.parameters()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_in_memory_once(tmp_path, dtype):
    ran = subprocess.run([sys.executable, "-c", MEMORY, dtype, tmp_path], check=True, capture_output=True, text=True)
    assert float(ran.stdout) < 0.5


def test_what_it_cannot_do(tmp_path):
    layer = nn.Linear(4, 4)
    with pytest.raises(EngineError, match="how to do cumsum"):
        Compiled(layer, lambda layer, x: layer(x).cumsum(0), tmp_path)(torch.randn(2, 4))
    with pytest.raises(EngineError, match=r"weights of torch\.float16 on cpu, expected float32 or bfloat16"):
        use_openvino(UNet(UNETS["1.x"]).half(), tmp_path)
    assert not list(tmp_path.iterdir())
