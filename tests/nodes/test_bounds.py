"""Limits on what one node makes: refused at once, in a line, before the memory is asked for."""

import tracemalloc

import pytest
import torch
from comfyui_ddim.hosts.bounds import MAX_VALUES, check_size
from comfyui_ddim.hosts.standalone.ksampler import MAX_LEVELS, MAX_STEPS, KSampling
from comfyui_ddim.networks.text.prompt import MAX_LENGTH, MAX_NESTING, weighted
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, STAND_IN_CLASS_MAPPINGS
from comfyui_ddim.nodes.expression import compile_expression
from comfyui_ddim.nodes.options import parse_seeds
from comfyui_ddim.nodes.schedules import parse_curve, parse_timesteps

ALL = {**STAND_IN_CLASS_MAPPINGS, **NODE_CLASS_MAPPINGS}
PICTURE, LATENT = torch.zeros(1, 8, 8, 3), {"samples": torch.zeros(1, 4, 8, 8)}
HUGE = {
    "EmptyImage": lambda node: node.generate(16384, 16384, 4096),
    "EmptyLatentImage": lambda node: node.generate(16384, 16384, 4096),
    "DDIMEmptyLatent": lambda node: node.make(10**9, 10**9, 10**9),
    "SolidMask": lambda node: node.solid(1.0, 10**9, 10**9),
    "ImageScale": lambda node: node.upscale(PICTURE, "bilinear", 10**7, 10**7, "disabled"),
    "ImageScaleBy": lambda node: node.upscale(PICTURE, "lanczos", 1e9),
    "LatentUpscale": lambda node: node.upscale(LATENT, "bislerp", 10**8, 10**8, "disabled"),
    "LatentUpscaleBy": lambda node: node.upscale(LATENT, "bicubic", 1e9),
    "RepeatLatentBatch": lambda node: node.repeat(LATENT, 10**12),
    "DDIMFilmStrip": lambda node: node.lay_out(PICTURE, 0, 10**9),
}


@pytest.mark.parametrize("name", HUGE)
def test_what_does_not_fit_is_refused_before_it_is_made(name):
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"values, expected at most 2147483648 in all|GiB on cpu") as raised:
        HUGE[name](ALL[name]())
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("size", [0, -1, -(10**9)])
def test_sizes_below_one_are_refused(size):
    with pytest.raises(ValueError, match="expected at least 1 in each dimension"):
        ALL["EmptyImage"]().generate(size, 8)
    with pytest.raises(ValueError, match="expected at least 1 in each dimension"):
        ALL["DDIMEmptyLatent"]().make(8 * size, 8, 1)
    with pytest.raises(ValueError, match=r"expected (0 or more|at least 1)"):
        ALL["DDIMFilmStrip"]().lay_out(PICTURE, size, size or -1)


def test_the_limit_itself():
    with pytest.raises(ValueError, match="expected at most"):
        check_size("an image", MAX_VALUES + 1)
    check_size("an image", 1000, 1000)


def test_memory_that_is_not_there_is_said_first(monkeypatch):
    monkeypatch.setattr("comfyui_ddim.networks.device.available", lambda device: 1000)
    with pytest.raises(ValueError, match=r"an image of 1 x 64 x 64 x 3 values needs 0\.0 GiB on cpu.*smaller size"):
        ALL["EmptyImage"]().generate(64, 64)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"steps": 10**9}, f"steps is 1000000000, expected 1 to {MAX_STEPS}"),
        ({"steps": 0}, "steps is 0, expected 1 to"),
        ({"steps": 20, "denoise": 1e-9}, f"denoise.*at most {MAX_LEVELS} steps"),
    ],
)
def test_steps(asked, said):
    with pytest.raises(ValueError, match=said):
        KSampling(0, cfg=1.0, sampler="ddim", scheduler="normal", **asked)


@pytest.mark.parametrize("text", ["(" * 1000 + "a" + ")" * 1000, "(" * 50_000, "((" * (MAX_NESTING // 2 + 1)])
def test_deep_prompts_are_refused_at_once(text):
    with pytest.raises(ValueError, match=r"parentheses nested more than|a prompt of .* characters"):
        weighted(text)
    assert isinstance(ALL["CLIPTextEncode"].VALIDATE_INPUTS(text), str)
    assert isinstance(ALL["DDIMConditioning"].VALIDATE_INPUTS("a", text), str)


def test_prompts_at_the_limit_are_read():
    deep = "(" * MAX_NESTING + "a" + ")" * MAX_NESTING
    assert weighted(deep) == [("a", pytest.approx(1.1**MAX_NESTING))]
    assert len(weighted("a" * MAX_LENGTH)) == 1
    assert weighted(")" * 200 + "(" * 50)  # what isn't nested isn't deep
    assert weighted(r"\(" * 5000) == [("(" * 5000, 1.0)]
    with pytest.raises(ValueError, match=f"{MAX_LENGTH + 1} characters, expected at most {MAX_LENGTH}"):
        weighted("a" * (MAX_LENGTH + 1))


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
def test_weights_that_are_no_numbers_are_text(number):
    assert weighted(f"(a:{number})") == [(f"a:{number}", 1.1)]


def test_halves_of_characters_in_prompts():
    assert weighted("a \ud83d\ude00 \ud83d b") == [("a \U0001f600 \ufffd b", 1.0)]


@pytest.mark.parametrize(
    "text", ["-" * 400 + "1", "(" * 240 + "u" + ")" * 240, "abs(" * 100 + "u" + ")" * 100, "1+" * 600]
)
def test_formulas(text):
    with pytest.raises(ValueError, match=r"nested operations|characters, expected at most|can't be read"):
        compile_expression(text, "u")(0.5)


@pytest.mark.parametrize("text", ["9**9**9**9", "1e308*10", "1/0", "log(0)", "min()", "(-1)**0.5", "exp(u)*1e400"])
def test_formulas_without_a_value(text):
    with pytest.raises(ValueError, match=r"has no value|finite|expected"):
        value = compile_expression(text, "u")(0.5)
        parse_curve(f"0: {value}")(0.5)
        from comfyui_ddim.sampler.curves import resolve

        resolve(value, 3, "eta")


@pytest.mark.parametrize("text", ["0: 1, " * 10_000, "nan: 1", "0: 1, nan: 2", "inf: 1", "1: 1, 0: 1", ":", "0:"])
def test_curves(text):
    with pytest.raises(ValueError, match="expected"):
        parse_curve(text)


@pytest.mark.parametrize("text", ["9" * 5000, "1 " * 20_000, "3 4", "x"])
def test_timesteps(text):
    with pytest.raises(ValueError, match="expected") as raised:
        parse_timesteps(text)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("text", ["9" * 5000, "1 " * 20_000, "-1", "x", "18446744073709551616"])
def test_seeds(text):
    with pytest.raises(ValueError, match="expected") as raised:
        parse_seeds(text)
    assert len(str(raised.value)) < 300
