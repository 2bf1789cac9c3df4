"""Every stand-in beside ComfyUI's node of its name; these run where COMFYUI_DIR names a ComfyUI checkout."""

import asyncio
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.nodes import STAND_IN_CLASS_MAPPINGS
from PIL import Image

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")

OWN_CHOICES = {"ckpt_name", "lora_name", "model_path", "image", "latent", "vae_name", "control_net_name"}
OWN_CHOICES |= {"sampler_name", "scheduler", "model_name"}
"""Choices that are files, or of which we have only some."""
SINCE_0_33 = {"Canny", "ImageScaleToTotalPixels", "LatentFromBatch", "PreviewImage", "PrimitiveInt", "SaveImage"}
SINCE_0_33 |= {"SaveLatent"}
"""Declared as 0.33 does; older ones lack an input or an output of theirs, or have narrower limits."""


@pytest.fixture(scope="module")
def comfyui():
    """ComfyUI's node classes."""
    from comfyui_ddim.executor.comfyui import load_comfyui

    before = sys.path.copy()
    classes, _, _ = load_comfyui(Path(os.environ["COMFYUI_DIR"]), Context(device="cpu"))
    yield classes
    sys.path[:] = before


@pytest.fixture
def folders(tmp_path, comfyui):
    """An input folder that both look into."""
    import folder_paths

    before = folder_paths.get_input_directory()
    folder_paths.set_input_directory(str(tmp_path))
    with using(Context(input_dir=tmp_path, output_dir=tmp_path / "out", device="cpu")):
        yield tmp_path
    folder_paths.set_input_directory(before)


def is_today() -> bool:
    """Whether this ComfyUI is one of today's, which the stand-ins follow where versions differ."""
    from comfyui_rules import RULES

    return RULES == "current"


def declared(node) -> dict[str, dict[str, tuple]]:
    inputs = node.INPUT_TYPES()
    return {kind: dict(inputs.get(kind, {})) for kind in ("required", "optional")}


@pytest.mark.parametrize("name", STAND_IN_CLASS_MAPPINGS)
def test_a_stand_in_is_declared_as_in_comfyui(comfyui, folders, name):
    if name == "CurveEditor" and not is_today():
        assert name not in comfyui
        return
    own, theirs = STAND_IN_CLASS_MAPPINGS[name], comfyui[name]
    if name in SINCE_0_33 and not is_today():
        assert set(declared(theirs)["required"]) <= set(declared(own)["required"])
        return
    assert list(own.RETURN_TYPES) == list(theirs.RETURN_TYPES)
    assert list(getattr(own, "RETURN_NAMES", own.RETURN_TYPES)) == list(
        getattr(theirs, "RETURN_NAMES", None) or theirs.RETURN_TYPES
    )
    assert bool(getattr(own, "OUTPUT_NODE", False)) == bool(theirs.OUTPUT_NODE if hasattr(theirs, "OUTPUT_NODE") else 0)
    ours, wanted = declared(own), declared(theirs)
    for kind in ours:
        assert list(ours[kind]) == list(wanted[kind])
        for label, (type_, options) in ours[kind].items():
            their_type, their_options = wanted[kind][label][0], (*wanted[kind][label], {})[1]
            if their_type == "COMBO":
                their_type = their_options["options"]
            if isinstance(type_, list):
                their_list = list(their_type)
                if label in OWN_CHOICES:
                    their_list = [choice for choice in their_list if choice in type_]
                    if label in ("sampler_name", "scheduler"):
                        assert their_list == type_
                else:
                    assert their_list == type_
                    assert options["default"] == their_options.get("default", their_list[0])
                continue
            assert type_ == their_type, label
            for key in ("min", "max", "step", "round", "default", "multiline", "dynamicPrompts", "display"):
                if key in their_options and not (key == "default" and type_ == "STRING"):
                    assert options[key] == their_options[key], (label, key)
            if type_ in ("INT", "FLOAT", "BOOLEAN") and "default" not in their_options:
                assert not options.get("default"), label
            assert bool(options.get("control_after_generate")) == bool(their_options.get("control_after_generate"))


def ours(name, **inputs):
    node = STAND_IN_CLASS_MAPPINGS[name]
    return getattr(node(), node.FUNCTION)(**inputs)


def theirs(comfyui, name, **inputs):
    """What ComfyUI's node makes of it, whichever form its class has."""
    node = comfyui[name]
    if hasattr(node, "define_schema"):
        made = node.execute(**inputs)
        made = asyncio.run(made) if asyncio.iscoroutine(made) else made
        return tuple(made.args)
    return getattr(node(), node.FUNCTION)(**inputs)


def assert_same(a, b, limit=1e-5):
    """Nested results agree: tensors to `limit`, everything else exactly."""
    if isinstance(b, torch.Tensor):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert torch.allclose(a, b, atol=limit, rtol=limit)
    elif isinstance(b, dict):
        assert a.keys() == b.keys()
        for key in b:
            assert_same(a[key], b[key], limit)
    elif isinstance(b, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other, limit)
    else:
        assert a == b


def both_agree(comfyui, name, limit=1e-5, **inputs):
    assert_same(ours(name, **inputs), theirs(comfyui, name, **inputs), limit)


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


SIZES = [(40, 24), (17, 51), (96, 16)]


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"])
@pytest.mark.parametrize("crop", ["disabled", "center"])
@pytest.mark.parametrize("size", [*SIZES, (0, 30), (30, 0), (0, 0)])
def test_pictures_are_scaled(comfyui, method, crop, size):
    image = drawn(2, 33, 25, 3)
    both_agree(comfyui, "ImageScale", image=image, upscale_method=method, width=size[0], height=size[1], crop=crop)
    both_agree(comfyui, "ImageScaleBy", image=image, upscale_method=method, scale_by=size[0] / 17 or 0.4)


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "bislerp"])
@pytest.mark.parametrize("crop", ["disabled", "center"])
@pytest.mark.parametrize("size", [(320, 192), (128, 408), (16, 512), (0, 96), (96, 0), (0, 0)])
def test_latents_are_scaled(comfyui, method, crop, size):
    x = normal(2, 4, 13, 9)
    x[0, :, 3:6] = 0  # no direction
    x[1, :, 5] = x[1, :, 6]  # the same direction
    x[1, :, 7] = -x[1, :, 8]  # opposite ones
    samples = {"samples": x, "batch_index": [3, 4]}
    width, height = size
    both_agree(comfyui, "LatentUpscale", samples=samples, upscale_method=method, width=width, height=height, crop=crop)
    both_agree(comfyui, "LatentUpscaleBy", samples=samples, upscale_method=method, scale_by=width / 100 or 0.5)


def test_pictures_are_turned_over_joined_and_made(comfyui):
    image = drawn(2, 20, 30, 3)
    both_agree(comfyui, "ImageInvert", image=image)
    both_agree(comfyui, "ImageBatch", image1=image, image2=drawn(1, 20, 30, 3, seed=1))
    both_agree(comfyui, "ImageBatch", image1=image, image2=drawn(3, 44, 21, 3, seed=1))
    both_agree(comfyui, "EmptyImage", width=7, height=5, batch_size=2, color=0x12AB3F)
    both_agree(comfyui, "EmptyImage", width=1, height=1)


@pytest.mark.parametrize("method", ["nearest-exact", "area", "lanczos"])
@pytest.mark.parametrize("steps", [1, 8, 64])
def test_pictures_are_scaled_to_so_many_pixels(comfyui, method, steps):
    has_steps = "resolution_steps" in declared(comfyui["ImageScaleToTotalPixels"])["required"]
    if not has_steps and steps > 1:
        pytest.skip("this ComfyUI has no steps")
    inputs = {"resolution_steps": steps} if has_steps else {}
    for megapixels in (0.02, 0.1):
        given = {"image": drawn(2, 33, 75, 3), "upscale_method": method, "megapixels": megapixels}
        both_agree(comfyui, "ImageScaleToTotalPixels", **given, **inputs)


@pytest.mark.parametrize("feathering", [0, 1, 7, 19, 20])
@pytest.mark.parametrize("sides", [(8, 0, 0, 0), (0, 16, 0, 8), (8, 8, 24, 40), (0, 0, 0, 0)])
def test_pictures_are_put_on_a_larger_canvas(comfyui, feathering, sides):
    left, top, right, bottom = sides
    given = {"image": drawn(2, 40, 60, 3), "left": left, "top": top, "right": right, "bottom": bottom}
    both_agree(comfyui, "ImagePadForOutpaint", **given, feathering=feathering)


def test_edges_are_found(comfyui):
    y, x = torch.meshgrid(torch.linspace(-1, 1, 40), torch.linspace(-1, 1, 50), indexing="ij")
    disc = ((x * x + y * y) < 0.4).float()[None, :, :, None] * torch.tensor([0.9, 0.2, 0.6])
    for low, high in ((0.1, 0.2), (0.4, 0.8)):
        both_agree(comfyui, "Canny", image=disc + 0.05 * drawn(2, 40, 50, 3), low_threshold=low, high_threshold=high)
    assert STAND_IN_CLASS_MAPPINGS["Canny"].VALIDATE_INPUTS(0.5, 0.4) != True  # noqa: E712


@pytest.mark.parametrize(
    ("name", "value"),
    [("Int", 7), ("Float", 0.25), ("String", "a b"), ("StringMultiline", "a\nb"), ("Boolean", True)],
)
def test_primitives_give_their_value(comfyui, name, value):
    both_agree(comfyui, f"Primitive{name}", value=value)


@pytest.mark.parametrize("places", [None, [4, 7]])
def test_noise_of_a_seed(comfyui, places):
    latent = {"samples": torch.zeros(2, 4, 5, 6)} | ({"batch_index": places} if places else {})
    (own,), (other,) = ours("RandomNoise", noise_seed=12), theirs(comfyui, "RandomNoise", noise_seed=12)
    assert own.seed == other.seed
    assert_same(own.generate_noise(latent), other.generate_noise(latent))


def test_masks(comfyui):
    mask, single = drawn(2, 19, 23), drawn(19, 23, seed=1)
    both_agree(comfyui, "SolidMask", value=0.3, width=5, height=9)
    both_agree(comfyui, "InvertMask", mask=mask)
    for each in (mask, single):
        both_agree(comfyui, "MaskToImage", mask=each)
        for expand in (-3, -1, 0, 1, 4, 50):
            for tapered in (True, False):
                both_agree(comfyui, "GrowMask", mask=each, expand=expand, tapered_corners=tapered)
    for channel in ("red", "green", "blue", "alpha"):
        both_agree(comfyui, "ImageToMask", image=drawn(2, 5, 6, 4), channel=channel)


@pytest.mark.parametrize("x", [0, 16, 48])
@pytest.mark.parametrize("y", [0, 24, 56])
@pytest.mark.parametrize("feather", [0, 8, 32])
def test_latents_are_pasted(comfyui, x, y, feather):
    to, above = {"samples": normal(2, 4, 10, 9), "noise_mask": drawn(1, 1, 80, 72)}, {"samples": normal(1, 4, 6, 5)}
    both_agree(comfyui, "LatentComposite", samples_to=to, samples_from=above, x=x, y=y, feather=feather)


@pytest.mark.parametrize("masks", [0, 1, 2, 3])
@pytest.mark.parametrize("places", [None, [4, 7, 9]])
def test_batches_of_latents(comfyui, masks, places):
    samples = {"samples": normal(3, 4, 4, 5)}
    if masks:
        samples["noise_mask"] = drawn(masks, 1, 32, 40)
    if places:
        samples["batch_index"] = places
    for first, length in ((0, 1), (1, 2), (2, 5), (9, 1), *([(-1, 1), (-3, 2), (-9, 2)] if is_today() else [])):
        both_agree(comfyui, "LatentFromBatch", samples=samples, batch_index=first, length=length)
    for amount in (1, 3):
        both_agree(comfyui, "RepeatLatentBatch", samples=samples, amount=amount)
    both_agree(comfyui, "SetLatentNoiseMask", samples=samples, mask=drawn(32, 40))
    (empty,) = theirs(comfyui, "EmptyLatentImage", width=72, height=48, batch_size=2)
    empty.pop("downscale_ratio_spacial", None)  # a hint for models whose latents are of another size
    assert_same(ours("EmptyLatentImage", width=72, height=48, batch_size=2), (empty,))


class Blocks:
    """A VAE of averages: enough to see what it is given."""

    downscale_ratio = 8

    def spacial_compression_encode(self):
        return self.downscale_ratio

    def encode(self, pixels):
        top, left = pixels.shape[1] % 8 // 2, pixels.shape[2] % 8 // 2
        height, width = pixels.shape[1] // 8 * 8, pixels.shape[2] // 8 * 8
        pixels = pixels[:, top : top + height, left : left + width, :3]
        return torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)


@pytest.mark.parametrize("size", [(40, 48), (43, 53)])
@pytest.mark.parametrize("grow", [0, 1, 5, 6, 20])
def test_pictures_with_holes(comfyui, size, grow):
    pixels, vae = drawn(2, *size, 3), Blocks()
    for mask in (drawn(1, *size, seed=1), (drawn(2, 20, 20, seed=2) > 0.9).float(), drawn(*size, seed=3)):
        both_agree(comfyui, "VAEEncodeForInpaint", pixels=pixels, vae=vae, mask=mask, grow_mask_by=grow)
        for keep in (True, False):
            prompts = {name: [[normal(1, 7, 8), {"strength": 0.5}]] for name in ("positive", "negative")}
            both_agree(
                comfyui, "InpaintModelConditioning", **prompts, pixels=pixels, vae=vae, mask=mask, noise_mask=keep
            )


def pictures(folder: Path) -> list[str]:
    """Files of every kind that a picture comes in."""
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (12, 9, 4), dtype=np.uint8))
    rgba.save(folder / "rgba.png")
    rgba.convert("RGB").save(folder / "rgb.jpg")
    rgba.convert("L").save(folder / "grey.png")
    rgba.convert("LA").save(folder / "grey_alpha.png")
    rgba.convert("P").save(folder / "palette.png")
    rgba.convert("P").save(folder / "palette_clear.png", transparency=3)
    rgba.convert("RGB").save(folder / "rgb_clear.png", transparency=(1, 2, 3))
    rgba.convert("1").save(folder / "bits.png")
    Image.fromarray(rng.integers(0, 65536, (12, 9)).astype(np.int32)).save(folder / "deep.tiff")
    Image.fromarray(rng.integers(0, 65536, (12, 9)).astype(np.uint16)).save(folder / "sixteen.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    rgba.convert("RGB").save(folder / "turned.jpg", exif=exif)
    frames = [Image.fromarray(rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    return sorted(path.name for path in folder.iterdir())


UNREADABLE = {"bits.png", "grey.png", "grey_alpha.png", "moving.gif", "sixteen.png"}
"""Files that ComfyUI 0.33's LoadImage can't read by every release of PyAV."""


def agree_on_today_s_reading(comfyui, name, file, **inputs):
    """0.33 reads by PyAV: other chroma in JPEGs, all frames in masks, 64 x 64 zeros where nothing is transparent."""
    own = ours(name, image=file, **inputs)
    try:
        other = theirs(comfyui, name, image=file, **inputs)
    except ValueError as error:  # PyAV's
        assert file in UNREADABLE, error
        return
    for a, b in zip(own, other, strict=True):
        if a.ndim == 3 and not a.any():
            assert not b.any()
        elif file.endswith(".jpg"):
            assert a.shape == b.shape and (a - b).abs().mean() < 0.08
        else:
            assert_same(a, b[: len(a)])


def test_pictures_are_read_as_today(comfyui, folders):
    if not is_today():
        pytest.skip("this ComfyUI reads by Pillow")
    for file in set(pictures(folders)) - {"deep.tiff"}:  # 32 bits, of which 0.33 shows another part
        if (folders / file).is_file():
            agree_on_today_s_reading(comfyui, "LoadImage", file)
            for channel in ("alpha", "red", "green", "blue"):
                agree_on_today_s_reading(comfyui, "LoadImageMask", file, channel=channel)


BY_THEIR_RANGE = {"deep.tiff", "sixteen.png"}
"""Files of more than 8 bits, which ComfyUI before 0.33 clips to white or reads as 16 bits."""


def test_pictures_are_read(comfyui, folders):
    if is_today():
        pytest.skip("this ComfyUI reads by PyAV")
    for name in set(pictures(folders)) - BY_THEIR_RANGE:
        both_agree(comfyui, "LoadImage", image=name)
        for channel in ("alpha", "red", "green", "blue"):
            both_agree(comfyui, "LoadImageMask", image=name, channel=channel)
    (folders / "out").mkdir()
    (folders / "rgb.jpg").rename(folders / "out" / "made.jpg")
    assert math.isclose(ours("LoadImage", image="made.jpg [output]")[0].shape[1], 12)


def prompt(*lengths, pooled=(), seed=0, **options):
    """A CONDITIONING with an entry of text for each length, and a pooled output for those that are named."""
    entries = []
    for i, length in enumerate(lengths):
        more = {"pooled_output": normal(1, 8, seed=seed + 50 + i)} if i in pooled else {}
        entries.append([normal(1, length, 8, seed=seed + i), {**options, **more}])
    return entries


def test_prompts_are_changed(comfyui):
    two, one = prompt(7, 14, pooled=(0,), strength=0.4), prompt(7, seed=9)
    both_agree(comfyui, "ConditioningCombine", conditioning_1=two, conditioning_2=one)
    both_agree(comfyui, "ConditioningZeroOut", conditioning=two)
    both_agree(comfyui, "ConditioningSetAreaStrength", conditioning=two, strength=0.7)
    area = {"width": 72, "height": 136, "x": 8, "y": 24, "strength": 0.3}
    both_agree(comfyui, "ConditioningSetArea", conditioning=two, **area)
    share = {"width": 0.3, "height": 0.7, "x": 0.1, "y": 0.0, "strength": 0.3}
    both_agree(comfyui, "ConditioningSetAreaPercentage", conditioning=two, **share)
    both_agree(comfyui, "ConditioningSetTimestepRange", conditioning=two, start=0.2, end=0.9)
    for mask in (drawn(9, 9), drawn(2, 9, 9)):
        for bounds in ("default", "mask bounds"):
            inputs = {"mask": mask, "strength": 0.5, "set_cond_area": bounds}
            both_agree(comfyui, "ConditioningSetMask", conditioning=two, **inputs)


@pytest.mark.parametrize("to", [prompt(7), prompt(7, 21, pooled=(1,)), prompt(14, 7, pooled=(0, 1))])
@pytest.mark.parametrize("other", [prompt(7, seed=5), prompt(14, seed=5, pooled=(0,)), prompt(21, 7, seed=5)])
def test_prompts_are_mixed_and_joined(comfyui, to, other):
    both_agree(comfyui, "ConditioningConcat", conditioning_to=to, conditioning_from=other)
    for share in (0.0, 0.3, 1.0):
        inputs = {"conditioning_to": to, "conditioning_from": other, "conditioning_to_strength": share}
        both_agree(comfyui, "ConditioningAverage", **inputs)


def test_latents_go_both_ways(comfyui, folders):
    import folder_paths

    folder_paths.set_output_directory(str(folders))
    samples = {"samples": normal(2, 4, 6, 5)}
    ours("SaveLatent", samples=samples, filename_prefix="ours", prompt={"1": {}})
    theirs(comfyui, "SaveLatent", samples=samples, filename_prefix="theirs", prompt={"1": {}})
    ours_path, theirs_path = folders / "out/ours_00001_.latent", folders / "theirs_00001_.latent"
    ours_path = ours_path.rename(folders / ours_path.name)
    for path in (ours_path, theirs_path):
        both_agree(comfyui, "LoadLatent", 0, latent=path.name)
        assert_same(ours("LoadLatent", latent=path.name)[0], samples, 0)


def wandering(seed):
    """Points of a curve: any order, some at one x, some level."""
    rng = np.random.default_rng(seed)
    points = rng.random((rng.integers(1, 9), 2)).round(rng.integers(1, 4))
    return [[float(x), float(y)] for x, y in points]


@pytest.mark.parametrize("interpolation", ["monotone_cubic", "linear"])
def test_drawn_curves(comfyui, interpolation):
    if not is_today():
        pytest.skip("this ComfyUI has no CurveEditor")
    for seed in range(200):
        curve = {"points": wandering(seed), "interpolation": interpolation}
        (own,), (core,) = ours("CurveEditor", curve=curve), theirs(comfyui, "CurveEditor", curve=curve)
        places = [*np.linspace(-0.1, 1.1, 61), *(x for x, _ in curve["points"])]
        assert [own.interp(x) for x in places] == pytest.approx([float(core.interp(x)) for x in places], abs=1e-12)
