"""The networks: the published layout name for name, and loading that is strict."""

import json
import math
import struct
from pathlib import Path

import pytest
import torch
from comfyui_ddim.networks import (
    AutoencoderConfig,
    CheckpointError,
    LatentDiffusion,
    ModelConfig,
    TextConfig,
    UNetConfig,
    WordTokenizer,
    load_checkpoint,
    model_config,
    save_checkpoint,
)
from comfyui_ddim.networks.unet import timestep_embedding
from safetensors.torch import load_file, save_file

# Names and shapes as another implementation of Stable Diffusion 1.x has them.
LAYOUT = Path(__file__).parents[1] / "reference" / "sd1_layout.txt"

SMALL = ModelConfig(
    unet=UNetConfig(channels=(32, 64), blocks=1, attention=(False, True), context=32, heads=4),
    autoencoder=AutoencoderConfig(channels=(32, 32, 64, 64), blocks=1),
    text=TextConfig(vocabulary=6, positions=11, width=32, layers=1, heads=4, inner=64),
    vocabulary=("<start>", "<end>", "a", "cube", "red", "sphere"),
)


def published() -> dict[str, list[int]]:
    rows = (line.split(" ") for line in LAYOUT.read_text().splitlines())
    return {name: [int(n) for n in shape.split("x")] for name, shape in rows}


@pytest.fixture(scope="module")
def small() -> LatentDiffusion:
    torch.manual_seed(0)
    return LatentDiffusion(SMALL).eval().requires_grad_(False)


@pytest.fixture
def saved(small, tmp_path) -> Path:
    save_checkpoint(small, tmp_path / "small.safetensors", torch.float32)
    return tmp_path / "small.safetensors"


def test_full_size_names_and_shapes_are_the_published_ones():
    with torch.device("meta"):
        model = LatentDiffusion(ModelConfig())
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == published()
    # The counts that the publications give: 859.52 M, 83.65 M and 123.06 M.
    parts = (model.model, model.first_stage_model, model.cond_stage_model)
    counts = [sum(p.numel() for p in part.parameters()) for part in parts]
    assert counts == [859_520_964, 83_653_863, 123_060_480]


def test_full_size_is_recognised_from_shapes_alone():
    assert model_config(published()) == ModelConfig()


def test_save_and_load_round_trip(small, saved):
    loaded = load_checkpoint(saved)
    assert loaded.config == SMALL
    x, t = torch.randn(2, 4, 6, 5), torch.tensor([3, 900])
    cond = small.encode_text(["a red cube", "sphere"])
    assert torch.equal(loaded.encode_text(["a red cube", "sphere"]), cond)
    assert torch.equal(loaded.apply_model(x, t, cond), small.apply_model(x, t, cond))
    z = torch.randn(1, 4, 4, 4)
    assert torch.equal(loaded.decode_latent(z), small.decode_latent(z))


def test_half_precision_file_is_computed_in_float32(small, tmp_path):
    save_checkpoint(small, tmp_path / "half.safetensors")
    assert load_file(tmp_path / "half.safetensors")["model.diffusion_model.out.2.bias"].dtype == torch.float16
    assert load_checkpoint(tmp_path / "half.safetensors").dtype == torch.float32


def test_derived_tables_in_published_files_are_ignored(saved):
    tensors = load_file(saved)
    extra = ("betas", "sqrt_alphas_cumprod", "posterior_variance", "model_ema.decay", "logvar")
    tensors |= {name: torch.zeros(3) for name in extra}
    tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.zeros(1, 11)
    save_file(tensors, saved, metadata_of(saved))
    load_checkpoint(saved)


def metadata_of(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])["__metadata__"]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("model.diffusion_model.out.2.bias", None, "missing"),
        ("model.diffusion_model.extra", torch.zeros(1), "unexpected"),
        ("first_stage_model.decoder.conv_out.weight", torch.zeros(3, 32, 1, 1), r"shape \[3, 32, 1, 1\], expected"),
        ("model.diffusion_model.input_blocks.0.0.weight", None, "no tensor"),
    ],
)
def test_a_wrong_tensor_is_an_error_that_names_file_and_tensor(saved, name, change, said):
    tensors, metadata = load_file(saved), metadata_of(saved)
    if change is None:
        del tensors[name]
    else:
        tensors[name] = change
    save_file(tensors, saved, metadata)
    with pytest.raises(CheckpointError, match=said) as raised:
        load_checkpoint(saved)
    assert name in str(raised.value) and str(saved) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", struct.pack("<Q", 2**40) + b"{}"])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors.*safetensors"):
        load_checkpoint(path)


def test_a_truncated_checkpoint(saved):
    saved.write_bytes(saved.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"small\.safetensors"):
        load_checkpoint(saved)


def test_no_such_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_timestep_embedding_is_cosines_then_sines():
    embedding = timestep_embedding(torch.tensor([0, 7]), 4)
    frequency = math.exp(-math.log(10000) / 2)
    expected = [math.cos(7), math.cos(7 * frequency), math.sin(7), math.sin(7 * frequency)]
    assert torch.allclose(embedding, torch.tensor([[1.0, 1, 0, 0], expected]), atol=1e-6)


def test_noise_schedule_is_the_published_one(small):
    # Stable Diffusion's first and last alpha-bar, as its published configuration gives them.
    assert small.alphas_cumprod[0].item() == pytest.approx(0.99915, abs=1e-8)
    assert small.alphas_cumprod[-1].item() == pytest.approx(0.00466, abs=5e-6)
    x, noise = torch.full((1, 4, 2, 2), 2.0), torch.full((1, 4, 2, 2), 3.0)
    a = small.alphas_cumprod[500].item()
    expected = math.sqrt(a) * 2 + math.sqrt(1 - a) * 3
    assert torch.allclose(small.q_sample(x, torch.tensor([500]), noise), torch.full_like(x, expected), atol=1e-6)


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (16, 9)])
def test_unet_takes_odd_sizes(small, size):
    cond = small.encode_text(["a cube"])
    assert small.apply_model(torch.randn(3, 4, *size), torch.tensor([1, 2, 3]), cond).shape == (3, 4, *size)


def test_a_token_sees_only_those_before_it(small):
    first, second = small.encode_text(["a red cube", "a red sphere"])
    assert torch.equal(first[:3], second[:3])
    assert not torch.allclose(first[3:], second[3:])


def test_tokenizer_lays_words_out_as_clip_does(caplog):
    tokenizer = WordTokenizer(SMALL.vocabulary, 6)
    assert tokenizer(["a Red, cube!", ""]).tolist() == [[0, 2, 4, 3, 1, 1], [0, 1, 1, 1, 1, 1]]
    assert not caplog.records
    assert tokenizer(["a zebra"]).tolist() == [[0, 2, 1, 1, 1, 1]]
    assert "zebra" in caplog.text
    assert tokenizer(["a a a a a a"]).tolist() == [[0, 2, 2, 2, 2, 1]]
    assert "uses only the first 4" in caplog.text
