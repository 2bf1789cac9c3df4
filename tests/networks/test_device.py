"""Memory and dtypes: tiles, what doesn't fit, and what is chosen where nothing is asked for."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.executor import Context
from comfyui_ddim.executor.context import using
from comfyui_ddim.hosts.standalone.host import StandaloneHost
from comfyui_ddim.networks import NotEnoughMemory, best_dtype, cpu_has_bfloat16, load_autoencoder, load_checkpoint
from comfyui_ddim.networks import autoencoder as autoencoder_module
from comfyui_ddim.networks import device as device_module
from comfyui_ddim.networks.device import available
from comfyui_ddim.networks.tiling import in_tiles
from torch.nn import functional as F


@pytest.fixture(scope="module")
def autoencoder():
    return load_autoencoder(SHIPPED)


def decibels(x: torch.Tensor, y: torch.Tensor) -> float:
    """The distance of two pictures in [-1, 1]."""
    return -10 * math.log10(((x - y) / 2).square().mean().item())


@pytest.mark.parametrize("size", [(40, 33), (16, 50), (16, 16), (7, 9), (17, 16)])
def test_what_works_on_pixels_is_the_same_in_tiles(size):
    seen = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(max(x.shape[2:]))
        return F.interpolate(torch.sin(3 * x), scale_factor=2.0, mode="nearest")

    x = torch.randn(2, 3, *size)
    assert torch.allclose(in_tiles(network, x, 16, 4, 2), network(x), atol=1e-5)
    assert max(seen[:-1]) <= 16


def test_what_sees_its_neighbourhood_is_the_same_away_from_seams():
    x = torch.randn(1, 1, 56, 20)
    whole = F.avg_pool2d(x, 3, 1, 1)
    tiled = in_tiles(lambda part: F.avg_pool2d(part, 3, 1, 1), x, 32, 8, 1)
    # Two tiles, rows 0 to 31 and 24 to 55: what lies at neither's inner edge.
    seams = torch.zeros(56, dtype=torch.bool).index_fill(0, torch.tensor([24, 31]), True)
    assert torch.allclose(tiled[:, :, ~seams], whole[:, :, ~seams], atol=1e-6)
    assert not torch.allclose(tiled, whole, atol=1e-2)


@pytest.mark.parametrize("overlap", [-1, 16])
def test_an_overlap_that_is_no_overlap(overlap):
    with pytest.raises(ValueError, match="expected an overlap smaller than a tile"):
        in_tiles(lambda x: x, torch.zeros(1, 1, 32, 32), 16, overlap, 1)


def test_a_picture_in_tiles_looks_like_the_whole(autoencoder):
    # A picture of the kind the model knows, larger than it was trained on: repeated, turned over.
    generator = torch.Generator().manual_seed(0)
    x = F.interpolate(torch.rand(1, 3, 6, 8, generator=generator) * 2 - 1, scale_factor=32.0, mode="bicubic").clamp(
        -1, 1
    )
    z = autoencoder.latent(x, tile=0)
    assert decibels(autoencoder.picture(z, tile=0), autoencoder.picture(z, tile=16)) > 30
    tiled = autoencoder.latent(x, tile=16)
    assert tiled.shape == z.shape == (1, 4, 24, 32)
    assert (tiled - z).square().mean().sqrt() < 0.1 * z.std()


def test_it_takes_the_largest_tile_that_fits(autoencoder, monkeypatch):
    seen = []
    decode = autoencoder.decode
    monkeypatch.setattr(type(autoencoder), "decode", lambda self, z: (seen.append(tuple(z.shape[2:])), decode(z))[1])
    z = torch.randn(1, 4, 36, 50)
    for free, expected in ((1e12, {(36, 50)}), (autoencoder.memory(1, 32, 32), {(32, 32)})):
        seen.clear()
        monkeypatch.setattr(autoencoder_module, "available", lambda device, free=free: int(free))
        assert autoencoder.picture(z).shape == (1, 3, 288, 400)
        assert set(seen) == expected
    for module in (autoencoder_module, device_module):
        monkeypatch.setattr(module, "available", lambda device: 1000)
    with pytest.raises(NotEnoughMemory, match=r"needs \d+\.\d GiB on cpu, and 0\.0 GiB are free"):
        autoencoder.picture(z)


def test_a_model_that_does_not_fit_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(device_module, "available", lambda device: 2**20)
    with pytest.raises(NotEnoughMemory, match=r"ddim-scenes\.safetensors: this model.* needs 0\.0 GiB .* --dtype"):
        load_checkpoint(SHIPPED)


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="no /proc/meminfo to compare with")
def test_free_memory_is_a_share_of_what_there_is():
    total = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0]) * 1024
    assert 0 < available("cpu") <= 2 * total


def test_a_limit_on_the_address_space_counts():
    script = (
        "import resource; from comfyui_ddim.networks.device import available;"
        "size = int(open('/proc/self/statm').read().split()[0]) * 4096;"
        "resource.setrlimit(resource.RLIMIT_AS, (size + 100 * 2**20, resource.RLIM_INFINITY));"
        "print(available('cpu'))"
    )
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert 80 * 2**20 < int(out) <= 100 * 2**20


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({"a/b": ("1000", 300, 50)}, 750),
        ({"a/b": ("max", 300, 50), "a": ("900", 500, 0)}, 400),
        ({"a/b": ("1000", 300, 50), "a": ("400", 390, 0)}, 10),
        ({"a/b": ("max", 300, 50)}, None),
        ({}, None),
    ],
)
def test_a_control_groups_limit_counts(tmp_path, limits, left):
    """Files as the kernel shows them: a group's limit or one above it, less what is used, caches given back."""
    for name, (most, current, inactive) in limits.items():
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "memory.max").write_text(f"{most}\n")
        (tmp_path / name / "memory.current").write_text(f"{current}\n")
        (tmp_path / name / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\n")
    (tmp_path / "process").write_text("0::/a/b\n")
    assert device_module._control_group(tmp_path, tmp_path / "process") == left


def test_number_types_that_are_chosen():
    large = 860_000_000
    assert best_dtype("cpu", 12_000_000) == best_dtype("cuda", 12_000_000) == torch.float32
    assert best_dtype("cuda", large) == best_dtype("mps", large) == torch.float16
    assert best_dtype("cpu", large) == (torch.bfloat16 if cpu_has_bfloat16() else torch.float32)
    flags = Path("/proc/cpuinfo")
    if flags.is_file() and "flags" in (text := flags.read_text()):
        assert cpu_has_bfloat16() == ("avx512_bf16" in text or "amx_tile" in text)


@pytest.mark.parametrize(("asked", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_run_says_what_models_are_computed_in(asked, expected):
    with using(Context(device="cpu", dtype=asked)):
        model, _, vae = StandaloneHost().load_checkpoint(SHIPPED.name)
    assert model.diffusion.dtype == expected
    assert vae.autoencoder.quant_conv.weight.dtype == expected


@torch.no_grad()
def test_bfloat16_keeps_the_picture():
    from comfyui_ddim.networks import DiffusionRun
    from comfyui_ddim.sampler import Guidance, ddim_steps, make_predictor, make_schedule

    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    pictures = []
    for dtype in (torch.float32, torch.bfloat16):
        model = load_checkpoint(SHIPPED, dtype=dtype)
        schedule = make_schedule(model.alphas_cumprod, 10)
        text, empty = model.encode_text(["a large red sphere left of a small blue cube on a green floor", ""]).split(1)
        predict = make_predictor(DiffusionRun(model, schedule.timesteps), schedule, 1, text, empty, Guidance(3.0))
        *_, last = ddim_steps(predict, x, schedule)
        pictures.append(model.decode_latent(last.x / model.scale_factor))
    assert pictures[0].std() > 0.1
    assert decibels(*pictures) > 35
