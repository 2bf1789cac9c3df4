"""The nodes: what every one of them must say of itself, and what the simple ones compute."""

import json

import numpy as np
import pytest
import torch
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.hosts.fit import latent_mask
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS, STAND_IN_CLASS_MAPPINGS
from comfyui_ddim.nodes.files import inside
from comfyui_ddim.nodes.masks import draw, soften
from comfyui_ddim.nodes.pictures import strip
from comfyui_ddim.sampler import seed_noise
from PIL import Image

ALL = {**NODE_CLASS_MAPPINGS, **STAND_IN_CLASS_MAPPINGS}
SOCKETS = {"MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK"}
SOCKETS |= {"SAMPLER", "SIGMAS", "GUIDER", "NOISE", "CURVE", "HISTOGRAM", "UPSCALE_MODEL"}
SOCKETS |= {"DDIM_CURVE", "DDIM_SCHEDULE", "DDIM_OPTIONS", "DDIM_SCORE_CORRECTOR", "CONTROL_NET"}

# Once published, a key, an input's name and an output's place never change: saved workflows name them. Add, don't edit.
PUBLISHED = {
    "DDIMLoadModel": (["ckpt_name"], ["MODEL", "CLIP", "VAE"]),
    "DDIMConditioning": (["clip", "positive", "negative"], ["CONDITIONING", "CONDITIONING"]),
    "DDIMEmptyLatent": (["width", "height", "batch_size"], ["LATENT"]),
    "DDIMSampler": (
        "model positive negative latent seed steps cfg eta denoise guidance_schedule eta_schedule x_T mask x0 "
        "schedule options guider start_step end_step leftover_noise".split(),
        ["LATENT", "LATENT", "LATENT", "LATENT"],
    ),
    "DDIMGuidanceSchedule": (["shape", "start", "end", "first", "last"], ["DDIM_CURVE"]),
    "DDIMCurve": (["curve", "values", "drawn", "drawn_range"], ["DDIM_CURVE"]),
    "DDIMSchedule": (["preset", "spacing", "landing", "timesteps"], ["DDIM_SCHEDULE"]),
    "DDIMOptions": (
        "temperature noise_dropout quantize_x0 log_every_t repaint_jump_length repaint_repeats noise "
        "temperature_schedule options seeds".split(),
        ["DDIM_OPTIONS"],
    ),
    "DDIMThreshold": (["percentile", "floor", "per_channel", "percentile_schedule", "options"], ["DDIM_OPTIONS"]),
    "DDIMRescale": (["rescale", "cfg_plus_plus", "options"], ["DDIM_OPTIONS"]),
    "DDIMLoadNoise": (["file"], ["LATENT"]),
    "DDIMNoise": (["latent", "seed", "variation_seed", "strength", "frames", "x_T_from", "x_T_to"], ["LATENT"]),
    "DDIMInvert": (
        "model positive negative latent steps cfg mode iterations tolerance damping schedule options denoise".split(),
        ["LATENT", "DDIM_OPTIONS", "FLOAT", "FLOAT", "INT"],
    ),
    "DDIMMask": (
        ["shape", "width", "height", "left", "top", "right", "bottom", "feather", "invert", "mask"],
        ["MASK"],
    ),
    "DDIMLoadControlNet": (["control_net_name", "guess_mode"], ["CONTROL_NET"]),
    "DDIMEncode": (["pixels", "vae"], ["LATENT"]),
    "DDIMDecode": (["samples", "vae"], ["IMAGE"]),
    "DDIMExampleImage": (["image"], ["IMAGE"]),
    "DDIMScoreCorrector": (
        ["epsilon_scaling", "epsilon_scaling_schedule", "score_corrector", "options"],
        ["DDIM_OPTIONS"],
    ),
    "DDIMPlot": (
        "model steps cfg eta denoise over width height guidance_schedule eta_schedule schedule "
        "steps_x steps_x0".split(),
        ["IMAGE"],
    ),
    "DDIMFilmStrip": (["images", "columns", "gap", *(f"images_{i}" for i in range(2, 7))], ["IMAGE"]),
    "DDIMSamplerSelect": (["eta", "start", "eta_schedule", "x0", "schedule", "options"], ["SAMPLER"]),
    "DDIMSigmas": (["model", "steps", "denoise", "schedule"], ["SIGMAS"]),
    "DDIMGuider": (["model", "positive", "negative", "cfg", "guidance_schedule", "options"], ["GUIDER"]),
    "DDIMFixedNoise": (["x_T", "seed"], ["NOISE"]),
}
# ComfyUI's own names, inputs in their order, and outputs.
COMFYUI = {
    "CheckpointLoaderSimple": (["ckpt_name"], ["MODEL", "CLIP", "VAE"]),
    "CLIPTextEncode": (["text", "clip"], ["CONDITIONING"]),
    "EmptyLatentImage": (["width", "height", "batch_size"], ["LATENT"]),
    "LoadImage": (["image"], ["IMAGE", "MASK"]),
    "PreviewImage": (["images"], []),
    "SaveImage": (["images", "filename_prefix"], []),
    "SetLatentNoiseMask": (["samples", "mask"], ["LATENT"]),
    "VAEDecode": (["samples", "vae"], ["IMAGE"]),
    "VAEEncode": (["pixels", "vae"], ["LATENT"]),
}


def inputs(node: type) -> dict[str, tuple]:
    declared = node.INPUT_TYPES()
    return {**declared.get("required", {}), **declared.get("optional", {})}


@pytest.mark.parametrize(("name", "wanted"), [*PUBLISHED.items(), *COMFYUI.items()])
def test_names_are_for_ever(name, wanted):
    names, outputs = wanted
    assert list(inputs(ALL[name]))[: len(names)] == names
    assert list(ALL[name].RETURN_TYPES)[: len(outputs)] == outputs


def test_every_node_has_a_name_and_a_prefix():
    assert set(NODE_DISPLAY_NAME_MAPPINGS) == set(NODE_CLASS_MAPPINGS) >= set(PUBLISHED)
    assert all(key.startswith("DDIM") for key in NODE_CLASS_MAPPINGS)
    assert set(STAND_IN_CLASS_MAPPINGS) >= set(COMFYUI)


@pytest.mark.parametrize("name", ALL)
def test_a_node_says_what_it_is(name):
    node = ALL[name]
    assert callable(getattr(node, node.FUNCTION))
    assert node.DESCRIPTION and node.CATEGORY
    for label, (kind, options) in inputs(node).items():
        assert options["tooltip"].endswith("."), label
        if isinstance(kind, list):
            assert not kind or options.get("default", kind[0]) in kind
        elif options.get("forceInput"):
            assert "default" not in options
        elif kind in ("INT", "FLOAT"):
            assert options["min"] <= options["default"] <= options["max"]
        elif kind not in ("STRING", "BOOLEAN"):
            assert set(kind.split(",")) <= SOCKETS | {"FLOAT"}
    if name in NODE_CLASS_MAPPINGS:
        assert len(node.OUTPUT_TOOLTIPS) == len(node.RETURN_TYPES)
    json.dumps(node.INPUT_TYPES())  # the browser gets it as JSON


def test_drawn_masks_cover_their_box():
    box = draw("rectangle", 40, 20, 0.25, 0.5, 0.75, 1.0, 0)
    assert box.shape == (1, 20, 40)
    assert box.sum() == 20 * 10 and box[0, 10:, 10:30].min() == 1
    ellipse = draw("ellipse", 200, 100, 0.0, 0.0, 1.0, 1.0, 0)
    assert ellipse.mean().item() == pytest.approx(np.pi / 4, abs=0.005)
    with pytest.raises(ValueError, match="expected left < right"):
        draw("ellipse", 8, 8, 0.5, 0, 0.5, 1, 0)


def test_feathering_keeps_the_middle_and_softens_the_edge():
    mask = draw("rectangle", 64, 64, 0.25, 0.25, 0.75, 0.75, 8)
    assert mask[0, 32, 32] == 1 and mask[0, 0, 0] == 0
    edge = mask[0, 32, 8:24]
    assert (edge.diff() >= -1e-6).all() and ((edge > 0.01) & (edge < 0.99)).sum() >= 8
    assert torch.equal(soften(mask, 0), mask)


def test_mask_node_adds_and_inverts():
    node = NODE_CLASS_MAPPINGS["DDIMMask"]()
    wired = torch.zeros(1, 16, 16)
    wired[:, :, :4] = 1
    (both,) = node.make("rectangle", 99, 99, 0.75, 0.0, 1.0, 1.0, 0, False, wired)
    assert both.shape == (1, 16, 16) and both.sum() == 2 * 4 * 16
    (turned,) = node.make("none", 8, 8, 0, 0, 1, 1, 0, True, wired)
    assert torch.equal(turned, 1 - wired)
    with pytest.raises(ValueError, match="no mask is linked"):
        node.make("none", 8, 8, 0, 0, 1, 1, 0, False)


def test_masks_reach_the_latent():
    mask = draw("rectangle", 128, 128, 0.5, 0.0, 1.0, 1.0, 0)
    small = latent_mask(mask, torch.zeros(3, 4, 16, 16))
    assert small.shape == (1, 1, 16, 16)
    assert small[0, 0, :, 8:].min() == 1 and small[0, 0, :, :8].max() == 0


def test_film_strip_lays_out_in_reading_order():
    images = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 2, 3, 3) / 10
    sheet = strip(images, columns=3, gap=1)
    assert sheet.shape == (1, 2 + 1 + 2, 3 * 3 + 2, 3)
    assert sheet[0, 0, [0, 4, 8], 0].tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert sheet[0, 3, [0, 4, 8], 0].tolist() == pytest.approx([0.3, 0.4, 1.0])  # the last cell stays white
    assert sheet[0, 2].min() == 1  # the gap
    assert strip(images, columns=0, gap=0).shape == (1, 2, 15, 3)


def test_film_strip_refuses_mixed_sizes():
    with pytest.raises(ValueError, match="expected all of one size"):
        NODE_CLASS_MAPPINGS["DDIMFilmStrip"]().lay_out(torch.zeros(1, 8, 8, 3), 0, 0, torch.zeros(1, 8, 9, 3))


def test_seed_noise_is_comfyuis():
    # ComfyUI draws the whole batch at once from the seed, and with batch_index each place of the batch in turn.
    assert torch.equal(seed_noise(5, (2, 4, 3, 3)), torch.randn(2, 4, 3, 3, generator=torch.manual_seed(5)))
    alone = seed_noise(5, (1, 4, 3, 3), [2])
    generator = torch.manual_seed(5)
    in_turn = [torch.randn(1, 4, 3, 3, generator=generator) for _ in range(3)]
    assert torch.equal(alone, in_turn[2])


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine", "interval"])
def test_guidance_schedules_go_where_they_say(shape):
    (curve,) = NODE_CLASS_MAPPINGS["DDIMGuidanceSchedule"]().make(shape, 8.0, 2.0, 0.25, 0.75)
    value = curve if callable(curve) else lambda u: curve
    middle = {"constant": 8.0, "linear": 5.0, "cosine": 5.0, "interval": 8.0}[shape]
    outside = {"constant": (8, 8), "linear": (8, 2), "cosine": (8, 2), "interval": (2, 2)}[shape]
    assert value(0.5) == pytest.approx(middle)
    assert (value(0.0), value(1.0)) == pytest.approx(outside)
    quarter = {"constant": 8.0, "linear": 6.5, "cosine": 8 - 6 * (0.5 - 0.5 * np.cos(np.pi / 4)), "interval": 8.0}
    assert value(0.375) == pytest.approx(quarter[shape], abs=2e-3)


@pytest.mark.parametrize(
    ("written", "at", "value"),
    [
        ("0: 7.5, 0.5: 5, 1: 1", 0.25, 6.25),
        ("0:2\n1:4", 0.5, 3.0),
        ("1 + 6 * u ** 2", 0.5, 2.5),
        ("max(1, 7 * cos(pi * u))", 1.0, 1.0),
        ("-u + 2e0", 0.25, 1.75),
        ("3", 0.7, 3.0),
    ],
)
def test_curves_are_read_from_points_and_formulas(written, at, value):
    assert NODE_CLASS_MAPPINGS["DDIMCurve"].VALIDATE_INPUTS([written]) is True
    assert NODE_CLASS_MAPPINGS["DDIMCurve"]().make([written])[0][0](at) == pytest.approx(value)


@pytest.mark.parametrize(
    "written",
    [
        *("", "1 +", "__import__('os')", "u.real", "v + 1", "lambda: 1", "[u]", "u if u else 1", "'a' * 9", "1j"),
        *("0: a", "0.5: 1, 0: 2", "2: 1", "(" * 300 + "u" + ")" * 300, "cos(u, x=1)"),
    ],
)
def test_what_is_no_curve_is_said_before_anything_runs(written):
    said = NODE_CLASS_MAPPINGS["DDIMCurve"].VALIDATE_INPUTS([written])
    assert isinstance(said, str) and "expected" in said


def test_a_formula_without_a_value_says_where():
    ((curve,),) = NODE_CLASS_MAPPINGS["DDIMCurve"]().make(["1 / (1 - u)"])
    with pytest.raises(ValueError, match=r"no value at u = 1"):
        curve(1.0)
    ((huge,),) = NODE_CLASS_MAPPINGS["DDIMCurve"]().make(["9 ** 9 ** 9 ** 9"])
    with pytest.raises(ValueError, match="no value"):
        huge(0.5)


def test_explicit_timesteps_are_checked_before_anything_runs():
    node = NODE_CLASS_MAPPINGS["DDIMSchedule"]
    assert node.VALIDATE_INPUTS("951, 701 401,101") is True and node.VALIDATE_INPUTS("") is True
    assert "whole numbers" in node.VALIDATE_INPUTS("951, x")
    assert "smaller than the one before" in node.VALIDATE_INPUTS("1, 951")
    (table,) = node().make("published", "as preset", "clean", "900, 5")
    assert table.timesteps == (900, 5) and table.landing == "clean" and table.spacing == "published"


def test_options_chain():
    (first,) = NODE_CLASS_MAPPINGS["DDIMThreshold"]().make(0.9, 2.0, False)
    (second,) = NODE_CLASS_MAPPINGS["DDIMRescale"]().make(0.3, False, options=first)
    (third,) = NODE_CLASS_MAPPINGS["DDIMOptions"]().make(1.0, 0.0, False, 5, 10, 1, "published", options=second)
    assert third.threshold.percentile == 0.9 and third.rescale == 0.3 and third.log_every == 5
    assert third.published_noise and first.rescale == 0.0  # the one before is left as it was


def test_noise_turns_from_one_seed_to_the_other():
    node, latent = NODE_CLASS_MAPPINGS["DDIMNoise"](), {"samples": torch.zeros(1, 4, 8, 8)}
    a, b = seed_noise(1, (1, 4, 8, 8)), seed_noise(2, (1, 4, 8, 8))
    (strip_,) = node.make(latent, 1, 2, 1.0, 3)
    assert torch.allclose(strip_["samples"][[0]], a) and torch.allclose(strip_["samples"][[2]], b, atol=1e-6)
    middle = strip_["samples"][1]
    assert middle.std().item() == pytest.approx(1, abs=0.12)  # a mean of the two would have 0.71
    (part,) = node.make(latent, 1, 2, 0.5, 1)
    assert torch.allclose(part["samples"][0], middle)
    (own,) = node.make(latent, 1, 2, 0.0, 1, x_T_from={"samples": b})
    assert torch.equal(own["samples"], b)


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/etc/passwd", "", " ", ".", "x\0y"])
def test_names_stay_in_their_folder(tmp_path, name):
    with pytest.raises(ValueError, match="leads out of the folder" if name.strip() else "the file name is empty"):
        inside(tmp_path, name)


def test_names_below_the_folder_are_fine(tmp_path):
    assert inside(tmp_path, "a/b.png") == tmp_path / "a" / "b.png"
    assert inside(tmp_path, "a/../b..png") == tmp_path / "b..png"


@pytest.fixture
def folders(tmp_path):
    context = Context(input_dir=tmp_path / "in", output_dir=tmp_path / "out", temp_dir=tmp_path / "temp")
    (tmp_path / "in").mkdir()
    with using(context):
        yield context


def test_save_image_numbers_and_embeds(folders):
    node = ALL["SaveImage"]()
    picture = torch.zeros(2, 4, 6, 3)
    picture[1, 0, 0] = torch.tensor([1.0, 0.5, 2.0])
    for _ in range(2):
        answer = node.save_images(picture, "sub/pic", {"1": {}}, {"workflow": {"nodes": [1]}})
    names = sorted(path.name for path in (folders.output_dir / "sub").iterdir())
    assert names == [f"pic_{i:05}_.png" for i in (1, 2, 3, 4)]
    assert answer["ui"]["images"][1] == {"filename": "pic_00004_.png", "subfolder": "sub", "type": "output"}
    with Image.open(folders.output_dir / "sub" / "pic_00002_.png") as saved:
        assert saved.text == {"prompt": '{"1": {}}', "workflow": '{"nodes": [1]}'}
        assert saved.size == (6, 4) and saved.getpixel((0, 0)) == (255, 127, 255)  # cut, as ComfyUI does


def test_preview_goes_to_the_temporary_folder(folders):
    answer = ALL["PreviewImage"]().save_images(torch.zeros(1, 4, 4, 3))
    (entry,) = answer["ui"]["images"]
    assert entry["type"] == "temp" and (folders.temp_dir / entry["filename"]).is_file()
    assert not folders.output_dir.exists()


def test_load_image_reads_colours_and_transparency(folders):
    pixels = np.zeros((3, 5, 4), np.uint8)
    pixels[..., 0], pixels[..., 3] = 255, 51
    Image.fromarray(pixels).save(folders.input_dir / "a.png")
    Image.fromarray(pixels[..., :3]).save(folders.input_dir / "b.png")
    node = ALL["LoadImage"]()
    image, mask = node.load_image("a.png")
    assert image.shape == (1, 3, 5, 3) and image[0, 0, 0].tolist() == [1, 0, 0]
    assert mask.shape == (1, 3, 5) and mask[0, 0, 0].item() == pytest.approx(0.8)
    assert node.load_image("b.png [input]")[1].shape == (1, 64, 64)
    assert ALL["LoadImage"].VALIDATE_INPUTS("a.png") is True
    assert "no such image" in ALL["LoadImage"].VALIDATE_INPUTS("c.png")
    assert "leads out of the folder" in ALL["LoadImage"].VALIDATE_INPUTS("../a.png")
    before = node.IS_CHANGED("a.png")
    Image.fromarray(pixels[:2]).save(folders.input_dir / "a.png")
    assert node.IS_CHANGED("a.png") != before
    (folders.input_dir / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"'bad\.png' is not a readable image"):
        node.load_image("bad.png")
