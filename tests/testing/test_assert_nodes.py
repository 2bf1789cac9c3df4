"""The assert nodes: each lets pass what it should, and fails with a line for what it should not."""

import json

import numpy as np
import pytest
import torch
from comfyui_ddim.executor import Executor
from comfyui_ddim.testing.assert_nodes import ASSERT_CLASS_MAPPINGS, difference_hash
from PIL import Image

pytest_plugins = ["pytester"]

RED = torch.tensor([1.0, 0.0, 0.0]).expand(2, 8, 12, 3)
MASK = torch.linspace(0, 1, 96).reshape(1, 8, 12)
RAMP = torch.linspace(1, 0, 64)[None, None, :, None].expand(1, 64, 64, 3)  # falls from left to right: no bit set

PASSES = [
    ("AssertContainsColor", {"image": RED, "color": "#FF0000", "tolerance": 0, "min_pixels": 96}),
    ("AssertContainsColor", {"image": RED, "color": "ff0000", "tolerance": 0, "min_pixels": 1}),
    ("AssertContainsColor", {"image": RED, "color": "(250, 4, 0)", "tolerance": 7, "min_pixels": 1}),
    ("AssertTensorShape", {"tensor": RED, "batch": 2, "height": 8, "width": 12, "channels": 3}),
    ("AssertTensorShape", {"tensor": MASK, "batch": 1, "height": -1, "width": 12, "channels": -1}),
    ("AssertInRange", {"tensor": MASK, "min_value": 0.0, "max_value": 1.0}),
    ("AssertEqual", {"input1": {"samples": [RED, 1]}, "input2": {"samples": [RED * (1 + 1e-6), 1]}}),
    ("AssertNotEqual", {"input1": 1, "input2": 1.0}),
    ("AssertImageMatch", {"image": RAMP, "perceptual_hash": "0" * 64, "delta": 0.0}),
    ("AssertImageMatch", {"image": RAMP, "perceptual_hash": "000" + "0" * 61, "delta": 0.05}),
    ("AssertImageMatch", {"image": RAMP, "perceptual_hash": "111" + "0" * 61, "delta": 0.05}),
]
FAILS = [
    (
        "AssertContainsColor",
        {"image": RED, "color": "#00FF00", "tolerance": 10, "min_pixels": 1},
        "0 pixels of #00FF00",
    ),
    ("AssertContainsColor", {"image": RED, "color": "red", "tolerance": 10, "min_pixels": 1}, "'red', expected #RRGG"),
    ("AssertContainsColor", {"image": RED, "color": "250,4,0", "tolerance": 6, "min_pixels": 1}, "within 6"),
    ("AssertContainsColor", {"image": RED, "color": "#FF0000", "tolerance": 0, "min_pixels": 97}, "at least 97"),
    ("AssertTensorShape", {"tensor": RED, "batch": 1, "height": -1, "width": -1, "channels": -1}, "batch is 2"),
    ("AssertTensorShape", {"tensor": MASK, "batch": -1, "height": -1, "width": -1, "channels": 3}, "channels is None"),
    ("AssertTensorShape", {"tensor": MASK[0], "batch": -1, "height": -1, "width": -1, "channels": -1}, "3 or 4 sizes"),
    ("AssertTensorShape", {"tensor": 3, "batch": -1, "height": -1, "width": -1, "channels": -1}, "an int"[3:]),
    ("AssertInRange", {"tensor": MASK, "min_value": 0.0, "max_value": 0.9}, "values from 0 to 1"),
    ("AssertInRange", {"tensor": MASK * np.nan, "min_value": 0.0, "max_value": 1.0}, "values from nan"),
    ("AssertEqual", {"input1": {"a": [1, 2]}, "input2": {"a": [1, 3]}}, "['a']: [1]: 2 and 3"),
    ("AssertEqual", {"input1": RED, "input2": RED * 0.9}, "tensors of different values"),
    ("AssertNotEqual", {"input1": [RED], "input2": [RED]}, "the inputs are equal"),
    ("AssertImageMatch", {"image": RAMP, "perceptual_hash": "1111" + "0" * 60, "delta": 0.05}, "differs in 0.062"),
    ("AssertImageMatch", {"image": RAMP, "perceptual_hash": "", "delta": 0.05}, f"the image's hash is {'0' * 64}"),
    ("AssertImageMatch", {"image": RAMP, "perceptual_hash": "00", "delta": 0.05}, "a hash of 2 bits, expected 64"),
]


@pytest.mark.parametrize(("kind", "inputs"), PASSES)
def test_passes(kind, inputs):
    assert ASSERT_CLASS_MAPPINGS[kind]().check(**inputs) == ()


@pytest.mark.parametrize(("kind", "inputs", "words"), FAILS)
def test_fails(kind, inputs, words):
    with pytest.raises((AssertionError, ValueError)) as caught:
        ASSERT_CLASS_MAPPINGS[kind]().check(**inputs)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_hash_is_that_of_pillow_s_own_steps():
    """dHash as it is published: grey, 9 x 8, each pixel against its right neighbor, row by row."""
    pixels = np.random.default_rng(3).random((40, 56, 3))
    small = Image.fromarray((pixels * 255).astype(np.uint8)).convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    bits = [small.getpixel((x + 1, y)) > small.getpixel((x, y)) for y in range(8) for x in range(8)]
    assert difference_hash(torch.from_numpy(pixels)[None]) == "".join("1" if bit else "0" for bit in bits)


def test_the_published_example_has_the_published_hash():
    """The pack's own example: noise of seed 2, 512 x 512, and the hash that was accepted for it in the editor."""
    image = ASSERT_CLASS_MAPPINGS["TestImageGenerator"]().make("noise", 512, 512, 2)[0]
    accepted = "0001110100100100000010001000000100101011011010100000101001000100"
    ASSERT_CLASS_MAPPINGS["AssertImageMatch"]().check(image, accepted, 0.05)


PROMPT = {
    "1": {
        "class_type": "TestDefinition",
        "inputs": {"name": "n", "description": "", "requiresGPU": False, "extraTime": 0},
    },
    "2": {
        "class_type": "TestImageGenerator",
        "inputs": {"image_type": "noise", "width": 512, "height": 512, "seed": 2},
    },
    "3": {"class_type": "AssertExecuted", "inputs": {"input": ["2", 0]}},
    "4": {
        "class_type": "AssertImageMatch",
        "inputs": {
            "image": ["3", 0],
            "perceptual_hash": "0001110100100100000010001000000100101011011010100000101001000100",
            "delta": 0.05,
            "hash_function": "dhash",
        },
    },
}


def test_a_file_with_assert_nodes(pytester, run_pytest):
    (pytester.path / "w.json").write_text(json.dumps(PROMPT))
    assert run_pytest("w.json").passed == ["runs"]
    inverted = json.loads(json.dumps(PROMPT).replace("0001110100100", "1110001011011"))
    (pytester.path / "w.json").write_text(json.dumps(inverted))
    fault = run_pytest("w.json").failures["runs"]
    assert fault.startswith("failed: node 4 (AssertImageMatch): the image's hash differs in 0.")
    assert "expected at most 0.05" in fault


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_case_for_a_gpu_is_skipped_without_one(pytester, run_pytest):
    text = json.dumps(PROMPT).replace('"requiresGPU": false', '"requiresGPU": true')
    (pytester.path / "w.json").write_text(text)
    run = run_pytest("w.json")
    assert not run.failures and "asks for a GPU" in run.skipped["runs"]


def test_they_run_in_any_executor():
    assert Executor(ASSERT_CLASS_MAPPINGS).run(PROMPT).succeeded
