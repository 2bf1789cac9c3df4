"""The demo's training tools on tiny networks: rescaled latents, the resumable loop, the prompt grid; and what ships."""

import json
import re
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from comfyui_ddim.demo import SHIPPED, loop
from comfyui_ddim.demo.classifier import train_classifier
from comfyui_ddim.demo.evaluate import prompt_grid, score
from comfyui_ddim.demo.loop import Budget, _Gradients, train
from comfyui_ddim.demo.scenes import PAINTS, SHAPES, Scene, Solid, caption, random_scene, render
from comfyui_ddim.demo.train import main
from comfyui_ddim.demo.train_autoencoder import psnr, to_tensor, train_autoencoder
from comfyui_ddim.demo.train_diffusion import NoiseLevels, standardise, train_text, train_unet, untrained
from comfyui_ddim.demo.words import VOCABULARY, labels
from comfyui_ddim.networks import Autoencoder, AutoencoderConfig, load_checkpoint
from torch import nn


def test_standardised_latents_have_unit_variance_and_decode_to_the_same():
    torch.manual_seed(0)
    before = Autoencoder(AutoencoderConfig((32, 32), blocks=1)).eval()
    x = torch.rand(6, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        z, log_variance = before.moments(x)
        after, shift, gain = standardise(before, z, 0.18215)
        new, new_log_variance = after.moments(x)
    scaled = new * 0.18215
    assert torch.allclose(scaled.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(scaled.std((0, 2, 3)), torch.ones(4), atol=1e-4)
    assert torch.allclose(new, (z - shift[:, None, None]) * gain[:, None, None], atol=1e-3)
    assert torch.allclose(new_log_variance, log_variance + 2 * gain.log()[:, None, None], atol=1e-4)
    assert torch.allclose(after.decode(new), before.decode(z), atol=1e-4)


def test_training_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "state.pt"

    def run(seconds: float) -> tuple[nn.Module, list[int]]:
        torch.manual_seed(0)
        network = nn.Linear(1, 1)
        steps = []

        def loss(step: int, share: float) -> torch.Tensor:
            assert 0 <= share < 1
            steps.append(step)
            return (network(torch.ones(1)) - 3).square().sum()

        return train(network, loss, Budget(seconds, 0.05, warmup=1, average=0.5), path), steps

    _, first = run(0.3)
    average, second = run(0.9)
    assert first[0] == 0 and second[0] == first[-1] + 1
    assert average(torch.ones(1)).item() == pytest.approx(3, abs=0.05)
    again, third = run(0.9)
    assert not third and torch.equal(again.weight, average.weight)  # the budget is spent
    lines = [json.loads(line) for line in path.with_suffix(".log").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20 * (i + 1) for i in range(len(lines))]


def test_workers_take_the_mean_of_their_batches(tmp_path):
    """A step of two workers equals a step on both batches at once."""
    targets = torch.tensor([[1.0], [5.0], [2.0], [-3.0]])

    def trained(workers: int) -> tuple[torch.Tensor, list[int]]:
        network, seen = nn.Linear(1, 1), []
        nn.init.constant_(network.weight, 0.5)
        nn.init.zeros_(network.bias)

        def loss(batch: int, share: float) -> torch.Tensor:
            seen.append(batch)
            rows = targets[2 * (batch % 2) : 2 * (batch % 2) + 2] if workers else targets
            return (network(torch.ones(len(rows), 1)) - rows).square().mean()

        gradients = _Gradients(loss, list(network.parameters()), workers)
        assert gradients(3, 0.5) == pytest.approx((targets - 0.5).square().mean().item())
        return torch.cat([p.grad.flatten() for p in network.parameters()]), sorted(seen)

    together, seen = trained(2)
    alone, _ = trained(0)
    assert torch.allclose(together, alone) and seen == [6, 7]


def test_noise_weights():
    """Against the weight of each prediction's error: eps below an SNR of 5, x0 above it, v where a boost lets it."""
    alpha_bar = torch.tensor([0.999, 0.9, 0.5, 0.25, 0.01])
    snr = alpha_bar / (1 - alpha_bar)
    plain = NoiseLevels().weights(alpha_bar)
    assert torch.allclose(plain, torch.minimum(snr, torch.tensor(5.0)) / snr)
    assert torch.allclose(NoiseLevels(boost=5.0).weights(alpha_bar)[2:], torch.tensor([2.0, 4.0, 5.0]))


@pytest.mark.parametrize(("beginning", "late"), [(0.0, 0.25), (0.5, 0.625), (1.0, 1.0)])
def test_timesteps_are_spread_evenly(beginning, late):
    """In every part of the range as many as its share says, one more or less where parts are cut."""
    rng = np.random.default_rng(0)
    t = torch.cat([NoiseLevels(beginning=beginning).draw(64, 1000, rng) for _ in range(50)])
    assert t.dtype == torch.int64 and t.min() >= 0 and t.max() < 1000
    assert (t >= 750).float().mean() == pytest.approx(late, abs=0.01)
    counts = torch.histc(t.float(), 4, 0, 1000)
    expected = torch.tensor([(1 - late) / 3] * 3 + [late]) * len(t)
    assert torch.allclose(counts, expected, atol=0.02 * len(t))


@pytest.fixture
def one_step(monkeypatch) -> float:
    """Seconds of training that are one step on any machine: the loop's clock goes on by a second at each look."""
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=count().__next__))
    return 3.0


def test_every_network_takes_a_step_from_nothing(tmp_path, one_step):
    """Judge, autoencoder, text transformer and UNet: each loss reaches every parameter that is trained."""
    scenes = [random_scene(np.random.default_rng(i)) for i in range(64)]
    pictures = np.stack([render(scenes[i % 4], samples=1) for i in range(64)])
    budget = Budget(one_step, 1e-3)
    train_classifier(pictures, scenes, budget, tmp_path / "judge.pt", "cpu", 0)
    train_autoencoder(pictures, scenes, budget, tmp_path / "autoencoder.pt", "cpu", 0)
    text = train_text(scenes, budget, tmp_path / "text.pt", "cpu", 0)
    both = untrained(text, "cpu", 0)
    train_unet(both, torch.randn(64, 4, 16, 16), scenes, budget, tmp_path / "unet.pt", "cpu", 0, batch=4)
    for name in ("judge", "autoencoder", "text", "unet"):
        assert torch.load(tmp_path / f"{name}.pt", weights_only=True)["step"] == 1


def test_a_finished_model_is_trained_further(tmp_path, one_step):
    """A step of it: the autoencoder stays as it is, the rest is trained, the file loads."""
    budget = ["--minutes", str(one_step / 60), "--scenes", "6", "--control-minutes", "0"]
    main(["--folder", str(tmp_path), "--refine", str(SHIPPED), *budget])
    before, after = (load_checkpoint(p, dtype=torch.float32) for p in (SHIPPED, tmp_path / "ddim-scenes.safetensors"))
    assert after.config == before.config
    same = {name: torch.equal(p, after.get_parameter(name)) for name, p in before.named_parameters()}
    assert all(kept for name, kept in same.items() if name.startswith("first_stage_model."))
    for part in ("model.", "cond_stage_model."):
        assert not all(kept for name, kept in same.items() if name.startswith(part))


def test_a_finished_models_decoder_is_trained_further(tmp_path, one_step):
    """A step of it reaches every parameter of the decoder, and none of what the latents depend on."""
    budget = ["--minutes", str(one_step / 60), "--scenes", "8", "--control-minutes", "0"]
    main(["--folder", str(tmp_path), "--sharpen", str(SHIPPED), *budget])
    before, after = (load_checkpoint(p, dtype=torch.float32) for p in (SHIPPED, tmp_path / "ddim-scenes.safetensors"))
    assert after.config == before.config
    decoding = ("first_stage_model.decoder.", "first_stage_model.post_quant_conv.")
    same = {name: torch.equal(p, after.get_parameter(name)) for name, p in before.named_parameters()}
    assert all(kept for name, kept in same.items() if not name.startswith(decoding))
    assert not all(kept for name, kept in same.items() if name.startswith(decoding))
    trained = torch.load(tmp_path / "decoder.pt", weights_only=True)["network"]  # not yet rounded to float16
    for name, p in before.first_stage_model.decoder.named_parameters():
        assert not torch.equal(p, trained[f"1.{name}"]), name


def test_training_further_needs_a_model(tmp_path, capsys):
    for arguments, message in (
        (["--refine", str(tmp_path / "none.safetensors")], "--refine .*none.safetensors: no such file"),
        (["--sharpen", str(tmp_path / "none.safetensors")], "--sharpen .*none.safetensors: no such file"),
        (["--refine", str(SHIPPED), "--checkpoint", str(SHIPPED)], "--checkpoint and --refine: expected one of them"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["--folder", str(tmp_path / "runs"), *arguments])
        assert stop.value.code == 2
        assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_psnr_of_a_known_error():
    x = torch.zeros(2, 3, 4, 4)
    assert psnr(x, x + 0.2).tolist() == pytest.approx([20.0, 20.0], abs=1e-4)  # a tenth of the range of 2


def test_the_prompt_grid_names_everything_and_repeats_nothing():
    scenes = prompt_grid()
    prompts = [caption(scene) for scene in scenes]
    assert len(set(prompts)) == len(prompts) >= 200
    assert {word for prompt in prompts for word in prompt.split()} >= set(VOCABULARY[2:]) - {"and", "right of"} - {
        "and"
    }
    for kinds, of in ((SHAPES, "shape"), (PAINTS, "paint")):
        counts = [sum(getattr(solid, of) == kind for scene in scenes for solid in scene.solids) for kind in kinds]
        assert max(counts) <= 1.5 * min(counts)


class _Seen:
    """A judge that sees what it is told to."""

    def __init__(self, scenes: list[Scene]) -> None:
        self.scenes = scenes

    def labels(self, pictures: torch.Tensor) -> list[dict[str, str]]:
        return [labels(scene) for scene in self.scenes]


def test_what_is_right_in_a_picture():
    def pair(left: str, right: str, shape: str = "cube", sky: str = "blue") -> Scene:
        return Scene((Solid(shape, left, "large", -1.08, 0), Solid("cone", right, "small", 1.08, 0)), "gray", sky)

    said = [pair("red", "blue")] * 4 + [Scene((Solid("cube", "red", "large", 0.0, 0.0),), "gray", "blue")]
    seen = [
        pair("red", "red"),  # the right one has the left one's colour
        pair("green", "blue"),  # wrong, but not the other's
        pair("red", "blue", "sphere"),
        pair("red", "blue", sky="dark"),
        Scene((Solid("cube", "red", "large", 1.15, 0.0),), "gray", "blue"),
    ]
    result = score(_Seen(seen), torch.zeros(5, 3, 8, 8), said)
    assert (result.count, result.colour, result.binding) == (5, 0.6, 0.8)
    assert (result.shape, result.size, result.place, result.floor, result.sky) == (0.8, 1.0, 0.8, 1.0, 0.8)
    assert result.all == 0.0


def test_what_ships_is_small_and_keeps_renders():
    assert SHIPPED.stat().st_size <= 25e6
    model = load_checkpoint(SHIPPED)
    assert model.config.vocabulary == VOCABULARY
    rng = np.random.default_rng(123)
    x = to_tensor(np.stack([render(random_scene(rng)) for _ in range(8)]))
    latents = model.encode_picture(x) * model.scale_factor
    assert latents.std().item() == pytest.approx(1, abs=0.15)
    assert psnr(x, model.decode_latent(latents / model.scale_factor)).mean() > 27
