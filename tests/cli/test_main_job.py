"""The main job, for real: shared workflow files become pictures on the model that ships, by the command itself."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_ddim.__main__ import main
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.networks.unet import UNet
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS
from comfyui_ddim.nodes.pictures import EXAMPLES, read_picture
from PIL import Image

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
TEXT_TO_IMAGE = ROOT / "workflows" / "text_to_image.json"

API = {
    "model": {"class_type": "DDIMLoadModel", "inputs": {"ckpt_name": SHIPPED.name}},
    "prompts": {
        "class_type": "DDIMConditioning",
        "inputs": {"clip": ["model", 1], "positive": "a red cube", "negative": ""},
    },
    "empty": {"class_type": "DDIMEmptyLatent", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
    "sampler": {
        "class_type": "DDIMSampler",
        "inputs": {
            "model": ["model", 0],
            "positive": ["prompts", 0],
            "negative": ["prompts", 1],
            "latent": ["empty", 0],
            "seed": 1,
            "steps": 2,
            "cfg": 3.0,
            "eta": 0.0,
            "denoise": 1.0,
        },
    },
    "decode": {"class_type": "DDIMDecode", "inputs": {"samples": ["sampler", 0], "vae": ["model", 2]}},
    "save": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "picture"}},
}


def run(*arguments, capsys) -> tuple[int, list[Path], str]:
    """Exit code, the files named on standard output, standard error."""
    code = main(["run", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, [Path(line) for line in out.splitlines()], err


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(float)


def test_a_shipped_workflow_runs_to_a_picture(tmp_path, capsys):
    """By the command itself; what each of them gives is said in workflows/*.test.toml."""
    code, files, err = run(TEXT_TO_IMAGE, "--set", "DDIM Sampler.steps=4", "--output", tmp_path, capsys=capsys)
    assert code == 0, err
    (file,) = files
    assert file.parent == tmp_path and file.name.startswith("text_to_image")
    assert pixels(file).std() > 20
    with Image.open(file) as saved:
        told, shipped = json.loads(saved.text["workflow"])["nodes"], json.loads(TEXT_TO_IMAGE.read_text())["nodes"]
    assert [node for node in told if node["type"] != "DDIMSampler"] == [
        node for node in shipped if node["type"] != "DDIMSampler"
    ]
    assert "step" in err  # a progress bar


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_shipped_workflow_has_a_preview_a_name_and_cases(workflow):
    saves = [node for node in json.loads(workflow.read_text())["nodes"] if node["type"] == "SaveImage"]
    assert [node["widgets_values"] for node in saves] == [[workflow.stem]]
    assert workflow.with_suffix(".jpg").is_file() and workflow.with_suffix(".test.toml").is_file()
    assert list(workflow.with_suffix(".references").glob("as it ships.SaveImage*.png"))


def test_same_seed_same_picture_bit_for_bit(tmp_path, capsys):
    settings = ("--set", "DDIM Sampler.steps=4", "--set", "DDIM Sampler.eta=1", "--output", tmp_path, "--quiet")
    first, second, other = (
        run(TEXT_TO_IMAGE, *settings, "--seed", seed, capsys=capsys)[1][0] for seed in ("3", "3", "4")
    )
    assert first != second
    assert np.array_equal(pixels(first), pixels(second))
    assert not np.array_equal(pixels(first), pixels(other))


def test_a_saved_picture_runs_again_to_itself(tmp_path, capsys):
    _, (first,), _ = run(TEXT_TO_IMAGE, "--set", "4.steps=3", "--seed", "9", "--output", tmp_path, capsys=capsys)
    code, (second,), err = run(first, "--output", tmp_path, capsys=capsys)
    assert code == 0, err
    assert np.array_equal(pixels(first), pixels(second))


@pytest.mark.parametrize(("scale", "evaluations"), [(3.0, 2), (1.0, 1), (0.0, 1)])
def test_guidance_scale_1_makes_half_the_model_evaluations(scale, evaluations, tmp_path, capsys, monkeypatch):
    seen = []
    forward = UNet.forward
    monkeypatch.setattr(UNet, "forward", lambda self, x, *rest: (seen.append(len(x)), forward(self, x, *rest))[1])
    settings = ("--set", "DDIM Sampler.steps=6", "--set", f"DDIM Sampler.cfg={scale}", "--output", tmp_path)
    assert run(TEXT_TO_IMAGE, *settings, capsys=capsys)[0] == 0
    assert sum(seen) == 6 * evaluations


def test_inpainting_keeps_what_the_mask_leaves():
    nodes = {name: node() for name, node in NODE_CLASS_MAPPINGS.items()}
    with using(Context(device="cpu")):
        model, clip, vae = nodes["DDIMLoadModel"].load(SHIPPED.name)
        positive, negative = nodes["DDIMConditioning"].encode(clip, "a large purple sphere on the right", "")
        image = read_picture(EXAMPLES / "blue-cube-and-yellow-cone.png")
        (latent,) = nodes["DDIMEncode"].encode(image, vae)
        (mask,) = nodes["DDIMMask"].make("rectangle", 128, 128, 0.5, 0.0, 1.0, 1.0, 0, False)
        result = nodes["DDIMSampler"].sample(
            model, positive, negative, latent, 3, 10, 4.0, 0.0, 1.0, mask=mask, x0=latent
        )[0]
        (picture,) = nodes["DDIMDecode"].decode(result, vae)
        (round_trip,) = nodes["DDIMDecode"].decode(latent, vae)
    kept = result["samples"][..., :8] - latent["samples"][..., :8]
    assert kept.abs().max() < 1e-5  # the latent there is x0's; 1e-5 for scaling it back and forth
    assert (result["samples"][..., 9:] - latent["samples"][..., 9:]).abs().mean() > 0.5

    def error(a: torch.Tensor) -> float:  # away from the seam, which the decoder sees across
        return (a - image)[:, :, :40].square().mean().sqrt().item()

    assert error(picture) < 1.1 * error(round_trip) + 0.005


def test_a_light_edit_keeps_more_than_a_strong_one(tmp_path, capsys):
    workflow = ROOT / "workflows" / "image_to_image.json"
    errors = []
    for denoise in (0.1, 0.9):
        # The picture's own prompt, unguided: what changes then is only what denoise lets go.
        prompt = "2.positive=a large red sphere in the middle on a green floor under a blue sky"
        settings = ("--set", f"DDIM Sampler.denoise={denoise}", "--set", "DDIM Sampler.cfg=1", "--set", prompt)
        (file,) = run(workflow, *settings, "--output", tmp_path, "--quiet", capsys=capsys)[1]
        strip = pixels(file)
        errors.append(np.abs(strip[:, :128] - strip[:, -128:]).mean())
    assert errors[0] < 0.5 * errors[1]


def changed(**changes) -> dict:
    """The API-form workflow with inputs changed: node__input=value, None to leave it out."""
    prompt = json.loads(json.dumps(API))
    for key, value in changes.items():
        node, name = key.split("__")
        if value is None:
            del prompt[node]["inputs"][name]
        else:
            prompt[node]["inputs"][name] = value
    return prompt


BAD = {
    "steps of 0": (changed(sampler__steps=0), ["sampler", "DDIMSampler", "steps", "0"]),
    "missing input": (changed(sampler__latent=None), ["sampler", "DDIMSampler", "latent"]),
    "wrong link type": (changed(decode__samples=["model", 0]), ["decode", "DDIMDecode", "samples", "MODEL", "LATENT"]),
    "cycle": (changed(sampler__latent=["sampler", 0]), ["sampler", "DDIMSampler", "depends on itself"]),
    "unknown class": ({**API, "x": {"class_type": "NoSuchNode", "inputs": {}}}, ["x", "NoSuchNode"]),
    "prefix leads out": (changed(save__filename_prefix="../x"), ["save", "SaveImage", "filename_prefix", "../x"]),
    "picture leads out": (
        {
            **changed(),
            "load": {"class_type": "LoadImage", "inputs": {"image": "../secret.png"}},
            "keep": {"class_type": "SaveImage", "inputs": {"images": ["load", 0], "filename_prefix": "y"}},
        },
        ["load", "LoadImage", "image", "../secret.png"],
    ),
    "no such checkpoint": (changed(model__ckpt_name="none.safetensors"), ["model", "ckpt_name", "none.safetensors"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_workflow_is_one_clear_line(case, tmp_path, capsys):
    prompt, named = BAD[case]
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(prompt))
    refused(file, named, tmp_path, capsys)


def refused(file: Path, named: list[str], tmp_path: Path, capsys, *options) -> None:
    code, files, err = run(file, "--output", tmp_path / "out", *options, capsys=capsys)
    assert code == 2 and not files
    lines = err.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in err, err
    for word in named:
        assert word in lines[0], err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*"))


@pytest.mark.parametrize("content", ["{not json", "", "[1, 2]", "\x00\x01"])
def test_a_file_that_is_no_workflow(content, tmp_path, capsys):
    file = tmp_path / "broken.json"
    file.write_text(content)
    refused(file, ["broken.json"], tmp_path, capsys)


@pytest.mark.parametrize("damage", ["truncated", "not safetensors", "empty"])
def test_a_bad_checkpoint_is_one_clear_line(damage, tmp_path, capsys):
    folder = tmp_path / "models" / "checkpoints"
    folder.mkdir(parents=True)
    broken = folder / "broken.safetensors"
    whole = SHIPPED.read_bytes()
    broken.write_bytes({"truncated": whole[: len(whole) // 2], "not safetensors": b"GIF89a" * 99, "empty": b""}[damage])
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(changed(model__ckpt_name="broken.safetensors")))
    refused(file, ["model", "DDIMLoadModel", "broken.safetensors"], tmp_path, capsys, "--models", tmp_path / "models")


def test_a_checkpoint_in_the_models_folder_loads(tmp_path, capsys):
    folder = tmp_path / "models" / "checkpoints" / "sub"
    folder.mkdir(parents=True)
    shutil.copy(SHIPPED, folder / "mine.safetensors")
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(changed(model__ckpt_name="sub/mine.safetensors")))
    code, files, err = run(file, "--models", tmp_path / "models", "--output", tmp_path / "out", capsys=capsys)
    assert code == 0 and len(files) == 1, err
