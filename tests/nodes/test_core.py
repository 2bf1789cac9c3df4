"""ComfyUI's nodes as the runner has them: closed forms, and numbers that ComfyUI gave; beside it in tests/comfyui.

`reference/core_nodes.npz` holds what ComfyUI 0.8 gave for the inputs below, with `eps_of` in place of its UNet.
"""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.hosts import host
from comfyui_ddim.hosts.standalone.host import Model
from comfyui_ddim.hosts.standalone.ksampler import KSampling
from comfyui_ddim.hosts.standalone.resize import resize, soft_ends
from comfyui_ddim.hosts.standalone.schedulers import SCHEDULERS, Levels, beta_quantile
from comfyui_ddim.nodes import STAND_IN_CLASS_MAPPINGS
from models import ALPHAS, Formula, drawn
from PIL import Image

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "core_nodes.npz")


def says(value, **options):
    return [[torch.full((1, 77, 256), value), options]]


def run(name, inputs):
    """The outputs of a stand-in."""
    node = STAND_IN_CLASS_MAPPINGS[name]
    return getattr(node(), node.FUNCTION)(**inputs)


def only(name, **inputs):
    (output,) = run(name, inputs)
    return output


LATENTS = {
    "empty": lambda: {"samples": torch.zeros(1, 4, 8, 8)},
    "two": lambda: {"samples": drawn(2, 4, 8, 8, seed=1) * 5, "batch_index": [3, 1]},
    "masked": lambda: {
        "samples": drawn(1, 4, 8, 8, seed=1) * 5,
        "noise_mask": (drawn(1, 1, 64, 64, seed=2) > 0).float(),
    },
}
PROMPTS = {
    "one": lambda: (says(0.1), says(-0.1)),
    "several": lambda: (
        says(0.3, area=(4, 6, 2, 1), strength=1.5) + says(-0.2, end_percent=0.6) + says(0.1),
        says(-0.1) + says(0.2, mask=torch.ones(1, 8, 4).repeat(1, 1, 2).tril(), mask_strength=0.4),
    ),
}
RUNS = {
    "ddim": ("ddim", "ddim_uniform", {}, "empty", "one"),
    "ddim, masked": ("ddim", "normal", {}, "masked", "one"),
    "euler, masked": ("euler", "karras", {}, "masked", "one"),
    "euler, some denoise": ("euler", "simple", {"denoise": 0.45}, "two", "one"),
    "euler_ancestral": ("euler_ancestral", "normal", {}, "empty", "one"),
    "euler_ancestral, masked": ("euler_ancestral", "beta", {}, "masked", "one"),
    "ddpm": ("ddpm", "exponential", {}, "two", "one"),
    "begin": ("ddim", "normal", {"steps": 6, "end": 3, "leftover": True}, "two", "one"),
    "begin, ended clean": ("ddpm", "karras", {"steps": 6, "end": 3}, "two", "one"),
    "end": ("ddpm", "normal", {"steps": 6, "start": 3, "add_noise": False}, "two", "one"),
    "several prompts": ("ddim", "sgm_uniform", {"steps": 5}, "empty", "several"),
}


@pytest.mark.parametrize("name", RUNS)
def test_ksampler_gives_comfyuis_numbers(name):
    sampler, scheduler, options, latent, prompt = RUNS[name]
    asked = KSampling(5, **{"steps": 4, **options}, cfg=3.0, sampler=sampler, scheduler=scheduler)
    made = host.ksample(Model(Formula()), *PROMPTS[prompt](), LATENTS[latent](), asked)["samples"]
    wanted = torch.from_numpy(REFERENCE[f"run: {name}"])
    assert (made - wanted).abs().max() <= 2e-5 * wanted.abs().max()


@pytest.mark.parametrize("key", [key for key in REFERENCE if key.startswith("sigmas: ")])
def test_schedulers_give_comfyuis_numbers(key):
    name, steps = key.split()[1:]
    sigmas = SCHEDULERS[name](Levels.of(ALPHAS), int(steps))
    assert np.allclose(sigmas.numpy(), REFERENCE[key], rtol=2e-6, atol=0)


@pytest.mark.parametrize("key", [key for key in REFERENCE if key.startswith("resize: ")])
def test_resizing_gives_comfyuis_numbers(key):
    method, width, height, crop = key.split()[1:]
    x = torch.rand(1, 3 if method == "lanczos" else 4, 6, 5, generator=torch.Generator().manual_seed(4))
    made = resize(x if method == "lanczos" else x * 4 - 2, int(width), int(height), method, crop)
    assert np.allclose(made.numpy(), REFERENCE[key], atol=1e-5)


def inputs_of(node, **changes):
    """Arguments for a sampler node: its declared defaults, and what is changed."""
    declared = node.INPUT_TYPES()["required"]
    defaults = {name: options["default"] for name, (_, options) in declared.items() if "default" in options}
    return {**defaults, **changes}


def test_the_nodes_hand_on_what_they_are_asked():
    model = Model(Formula())
    positive, negative = PROMPTS["one"]()
    common = {"model": model, "positive": positive, "negative": negative, "latent_image": LATENTS["two"]()}
    common |= {"steps": 6, "cfg": 3.0, "scheduler": "normal"}
    plain = inputs_of(STAND_IN_CLASS_MAPPINGS["KSampler"], seed=5, sampler_name="ddim", **common)
    advanced = inputs_of(STAND_IN_CLASS_MAPPINGS["KSamplerAdvanced"], noise_seed=5, sampler_name="ddim", **common)
    whole = only("KSampler", **plain)["samples"]
    assert torch.equal(whole, only("KSamplerAdvanced", **advanced)["samples"])
    assert not torch.equal(whole, only("KSampler", **{**plain, "denoise": 0.5})["samples"])
    begun = only("KSamplerAdvanced", **{**advanced, "end_at_step": 3, "return_with_leftover_noise": "enable"})
    assert np.allclose(begun["samples"], REFERENCE["run: begin"], atol=1e-3)
    rest = {**advanced, "start_at_step": 3, "add_noise": "disable", "latent_image": begun}
    assert torch.allclose(only("KSamplerAdvanced", **rest)["samples"], whole, atol=1e-4)


def test_a_sampler_or_scheduler_of_comfyui_alone_is_named_before_any_work():
    for node in ("KSampler", "KSamplerAdvanced"):
        check = STAND_IN_CLASS_MAPPINGS[node].VALIDATE_INPUTS
        assert check("ddim") is True and check() is True
        assert check("dpmpp_2m") == (
            "sampler 'dpmpp_2m' is not one of those that run without ComfyUI (euler, euler_ancestral, ddpm, ddim): "
            "run with --comfyui DIR"
        )
    with pytest.raises(ValueError, match="scheduler 'align_your_steps' is not one of those that run without ComfyUI"):
        KSampling(0, 20, 7.0, "ddim", "align_your_steps")
    with pytest.raises(ValueError, match="sampler 'uni_pc' is not one"):
        KSampling(0, 20, 7.0, "uni_pc", "normal")


def test_no_uncond_pass_at_scale_one():
    model = Formula()
    host.ksample(Model(model), says(0.1), says(0.2), LATENTS["empty"](), KSampling(0, 3, 1.0, "ddim", "normal"))
    host.ksample(Model(model), says(0.1), says(0.2), LATENTS["empty"](), KSampling(0, 2, 3.0, "ddim", "normal"))
    assert model.calls == [1, 1, 1, 2, 2]


def test_levels_between_timesteps_are_geometric():
    levels = Levels.of(ALPHAS)
    low, high = levels.sigmas[10], levels.sigmas[11]
    assert levels.at(torch.tensor(10.5)).item() == pytest.approx((low * high).sqrt().item(), rel=1e-6)
    assert levels.nearest(torch.tensor([low * 1.001, high * 0.999])).tolist() == [10, 11]
    ends = Levels.of(torch.tensor([0.99, 0.5, 0.0]))
    assert torch.isfinite(ends.sigmas).all()


def test_beta_quantiles_match_closed_forms():
    p = np.linspace(0.01, 1, 50)
    assert np.allclose(beta_quantile(p, 0.5), np.sin(np.pi * p / 2) ** 2, atol=1e-12)  # the arcsine distribution
    assert np.allclose(beta_quantile(p, 1.0), p, atol=1e-12)  # the even one
    x = beta_quantile(p, 2.0)
    assert np.allclose(3 * x**2 - 2 * x**3, p, atol=1e-12)


def test_the_linear_quadratic_schedule_is_what_its_name_says():
    sigmas = SCHEDULERS["linear_quadratic"](Levels.of(ALPHAS), 10).double()
    strides = -sigmas.diff() / sigmas[0]
    assert torch.allclose(strides[:5], torch.full((5,), 0.025 / 5).double(), atol=1e-6)
    assert torch.allclose(strides[5:].diff().diff(), torch.zeros(3).double(), atol=1e-6)
    assert sigmas[-1] == 0


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "bislerp", "lanczos"])
def test_resizing_keeps_what_is_even(method):
    """One colour stays it, in any size and cut; a size below 1 is refused."""
    x = torch.tensor([0.2, 0.4, 0.8]).reshape(1, 3, 1, 1).expand(2, 3, 7, 9)
    for crop in ("disabled", "center"):
        made = resize(x, 5, 13, method, crop)
        assert made.shape == (2, 3, 13, 5) and torch.allclose(made, x[:, :, :1, :1].expand_as(made), atol=1e-6)
    with pytest.raises(ValueError, match="a size of 0 x 3, expected at least 1 x 1"):
        resize(x, 0, 3, method)


def test_cropping_keeps_the_middle():
    x = torch.arange(10.0).expand(1, 1, 4, 10)
    assert resize(x, 4, 4, "nearest-exact", "center")[0, 0, 0].tolist() == [3, 4, 5, 6]
    assert resize(x.mT, 4, 4, "nearest-exact", "center")[0, 0, :, 0].tolist() == [3, 4, 5, 6]


def test_bislerp_goes_along_the_arc():
    """Half way between two unit vectors at a right angle lies the unit vector between them; lengths mix linearly."""
    x = torch.tensor([[1.0, 0.0], [0.0, 3.0]]).reshape(1, 2, 1, 2)
    made = resize(x, 4, 1, "bislerp")[0, :, 0]
    angles, lengths = torch.atan2(made[1], made[0]), made.norm(dim=0)
    assert torch.allclose(angles, torch.tensor([0, 0.25, 0.75, 1]) * torch.pi / 2, atol=1e-6)
    assert torch.allclose(lengths, torch.tensor([1, 1.5, 2.5, 3]), atol=1e-6)


def test_ends_are_soft():
    assert soft_ends(6, 3, True, False).tolist() == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])
    assert soft_ends(4, 0, True, True).tolist() == [1, 1, 1, 1]


def test_masks_grow_and_shrink():
    mask = torch.zeros(1, 9, 9)
    mask[0, 4, 4] = 1
    diamond = only("GrowMask", mask=mask, expand=2, tapered_corners=True)
    square = only("GrowMask", mask=mask, expand=2, tapered_corners=False)
    away = (torch.arange(9) - 4).abs()
    assert torch.equal(diamond[0], (away[:, None] + away[None, :] <= 2).float())
    assert torch.equal(square[0], (torch.maximum(away[:, None], away[None, :]) <= 2).float())
    assert torch.equal(only("GrowMask", mask=square, expand=-2, tapered_corners=False), mask)
    assert only("GrowMask", mask=mask, expand=16384, tapered_corners=True).min() == 1  # and not after 16384 rounds
    assert only("GrowMask", mask=mask, expand=-1, tapered_corners=True).max() == 0


def test_small_nodes():
    assert torch.equal(only("SolidMask", value=0.25, width=3, height=2), torch.full((1, 2, 3), 0.25))
    mask = torch.rand(2, 3)
    assert torch.equal(only("InvertMask", mask=mask), 1 - mask)
    image = only("MaskToImage", mask=mask)
    assert image.shape == (1, 2, 3, 3)
    assert torch.equal(only("ImageToMask", image=image, channel="green")[0], mask)
    with pytest.raises(ValueError, match="an image of 3 channels, expected 4: it has no alpha channel"):
        only("ImageToMask", image=image, channel="alpha")
    red = only("EmptyImage", width=3, height=2, batch_size=2, color=0xFF8000)
    assert red.shape == (2, 2, 3, 3) and red[1, 1, 2].tolist() == pytest.approx([1, 128 / 255, 0])
    assert torch.equal(only("ImageInvert", image=red), 1 - red)
    both = only("ImageBatch", image1=red, image2=torch.zeros(1, 4, 6, 4))
    assert both.shape == (3, 2, 3, 4) and both[0, 0, 0, 3] == 1


def test_latents_out_of_batches_keep_their_places():
    samples = {"samples": torch.arange(4.0).reshape(4, 1, 1, 1), "noise_mask": torch.arange(2.0).reshape(2, 1, 1, 1)}
    taken = only("LatentFromBatch", samples=samples, batch_index=1, length=2)
    assert taken["samples"].flatten().tolist() == [1, 2] and taken["batch_index"] == [1, 2]
    assert taken["noise_mask"].flatten().tolist() == [1, 0]
    again = only("LatentFromBatch", samples=taken, batch_index=1, length=9)
    assert again["samples"].flatten().tolist() == [2] and again["batch_index"] == [2]
    twice = only("RepeatLatentBatch", samples=taken, amount=2)
    assert twice["samples"].flatten().tolist() == [1, 2, 1, 2] and twice["batch_index"] == [1, 2, 3, 4]


def test_latents_are_pasted_with_soft_edges():
    below, above = {"samples": torch.zeros(1, 1, 6, 6)}, {"samples": torch.ones(1, 1, 4, 4)}
    made = only("LatentComposite", samples_to=below, samples_from=above, x=0, y=16, feather=16)["samples"][0, 0]
    assert made[2:, 0].tolist() == pytest.approx([0.5, 1, 1, 1])  # the picture's own edges are hard
    assert made[3].tolist() == pytest.approx([1, 1, 1, 0.5, 0, 0])
    cut = only("LatentComposite", samples_to=below, samples_from=above, x=32, y=40, feather=0)["samples"]
    assert cut.sum() == 2 and below["samples"].sum() == 0
    with pytest.raises(ValueError, match=r"samples_from of shape \(2, 1, 4, 4\), expected \(1, 1\), with the batch"):
        only("LatentComposite", samples_to=below, samples_from={"samples": torch.ones(2, 1, 4, 4)}, x=0, y=0)


class Blocks:
    """A VAE of averages."""

    def encode(self, pixels):
        return torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)


def test_holes_are_grey_and_grow():
    pixels, mask = torch.ones(1, 32, 32, 3), torch.zeros(1, 32, 32)
    mask[:, 8:16, 8:16] = 0.6
    latent = only("VAEEncodeForInpaint", pixels=pixels, vae=Blocks(), mask=mask, grow_mask_by=3)
    assert latent["samples"][0, 0, 1, 1] == 0.5 and latent["samples"].sum() == 3 * 15.5
    assert latent["noise_mask"].sum() == 10 * 10 and pixels.min() == 1
    inputs = {"positive": says(1.0), "negative": says(2.0, strength=0.3), "vae": Blocks(), "pixels": pixels}
    positive, negative, latent = run("InpaintModelConditioning", {**inputs, "mask": mask, "noise_mask": False})
    assert latent.keys() == {"samples"} and latent["samples"].min() == 1
    for entries in (positive, negative):
        assert entries[0][1]["concat_latent_image"][0, 0, 1, 1] == 0.5
        assert torch.equal(entries[0][1]["concat_mask"], mask[None])
    assert negative[0][1]["strength"] == 0.3 and "concat_mask" not in inputs["positive"][0][1]


def test_prompts_are_mixed_joined_and_emptied():
    long, short = [[torch.full((1, 4, 2), 1.0), {"a": 1}]], [[torch.full((1, 2, 2), 3.0), {}]]
    ((text, options),) = only(
        "ConditioningAverage", conditioning_to=long, conditioning_from=short, conditioning_to_strength=0.5
    )
    assert text[0, :, 0].tolist() == [2, 2, 0.5, 0.5] and options == {"a": 1}
    ((text, _),) = only("ConditioningConcat", conditioning_to=long, conditioning_from=short)
    assert text[0, :, 0].tolist() == [1, 1, 1, 1, 3, 3]
    assert only("ConditioningCombine", conditioning_1=long, conditioning_2=short) == long + short
    assert only("ConditioningZeroOut", conditioning=long)[0][0].abs().max() == 0
    with pytest.raises(ValueError, match="conditioning_from has no entries, expected a prompt"):
        only("ConditioningConcat", conditioning_to=long, conditioning_from=[])


def test_a_second_prompt_to_mix_in_is_told(caplog):
    long = [[torch.zeros(1, 4, 2), {}]]
    only("ConditioningConcat", conditioning_to=long, conditioning_from=long + long)
    assert "ConditioningConcat: conditioning_from combines 2 prompts, only the first is used" in caplog.text


def test_files_are_read_as_pictures_and_masks(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    frames = [Image.fromarray(pixels[..., :3] // (i + 1)) for i in range(2)]
    frames[0].save(tmp_path / "b.webp", save_all=True, append_images=frames[1:], lossless=True)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    with using(Context(input_dir=tmp_path)):
        image, mask = run("LoadImage", {"image": "a.png"})
        assert torch.equal(image[0], torch.from_numpy(pixels[..., :3] / np.float32(255)))
        assert torch.equal(mask[0], 1 - torch.from_numpy(pixels[..., 3] / np.float32(255)))
        assert torch.equal(only("LoadImageMask", image="a.png", channel="alpha"), mask)
        assert torch.equal(only("LoadImageMask", image="a.png", channel="blue"), image[..., 2])
        image, mask = run("LoadImage", {"image": "b.webp"})
        assert image.shape == (2, 4, 5, 3) and mask.shape == (2, 64, 64) and mask.max() == 0
        for name in ("LoadImage", "LoadImageMask"):
            node = STAND_IN_CLASS_MAPPINGS[name]
            assert node.VALIDATE_INPUTS(image="a.png [input]") is True
            assert node.VALIDATE_INPUTS(image="gone.png") == "no such image in the input folder: 'gone.png'"
            assert "leads out of the folder" in node.VALIDATE_INPUTS(image="../a.png")
        with pytest.raises(ValueError, match=r"'broken\.png' is not a readable image"):
            run("LoadImage", {"image": "broken.png"})


@pytest.mark.parametrize("name", STAND_IN_CLASS_MAPPINGS)
def test_every_stand_in_takes_what_it_declares(name):
    """The method's arguments are the declared inputs."""
    node = STAND_IN_CLASS_MAPPINGS[name]
    inputs = node.INPUT_TYPES()
    declared = {key for kind in ("required", "optional", "hidden") for key in inputs.get(kind, {})}
    assert set(inspect.signature(getattr(node, node.FUNCTION)).parameters) - {"self"} == declared
