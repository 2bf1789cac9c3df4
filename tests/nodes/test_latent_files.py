"""Latents in files: what Save Latent writes, and what Load Latent takes and refuses."""

import json

import pytest
import torch
from comfyui_ddim.cli import main
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.nodes import STAND_IN_CLASS_MAPPINGS
from safetensors import safe_open
from safetensors.torch import load_file, save_file

SaveLatent, LoadLatent = STAND_IN_CLASS_MAPPINGS["SaveLatent"], STAND_IN_CLASS_MAPPINGS["LoadLatent"]


@pytest.fixture
def folder(tmp_path):
    """The input and the output folder in one."""
    with using(Context(input_dir=tmp_path, output_dir=tmp_path, device="cpu")):
        yield tmp_path


def normal():
    return torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))


def test_saved_latents_come_back(folder):
    samples = {"samples": normal()}
    prompt, workflow = {"1": {"class_type": "SaveLatent"}}, {"nodes": []}
    told = SaveLatent().save(samples, "a/b", prompt, {"workflow": workflow})
    assert told["result"] == (samples,)
    assert told["ui"] == {"latents": [{"filename": "b_00001_.latent", "subfolder": "a", "type": "output"}]}
    path = folder / "a/b_00001_.latent"
    assert torch.equal(load_file(path)["latent_tensor"], samples["samples"])
    assert load_file(path)["latent_format_version_0"].numel() == 0
    with safe_open(path, "pt") as file:
        assert {key: json.loads(text) for key, text in file.metadata().items()} == {
            "prompt": prompt, "workflow": workflow
        }  # fmt: skip
    (latent,) = LoadLatent().load("a\\b_00001_.latent")
    assert torch.equal(latent["samples"], samples["samples"])
    SaveLatent().save(samples, "a/b")
    assert (folder / "a/b_00002_.latent").is_file()


def test_latents_of_old_files_are_scaled(folder):
    save_file({"latent_tensor": normal().half()}, folder / "old.latent")
    (latent,) = LoadLatent().load("old.latent")
    assert latent["samples"].dtype == torch.float32
    assert torch.allclose(latent["samples"] * 0.18215, normal().half().float())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expected a latent as Save Latent writes it"),
        (b"<!DOCTYPE html><html></html>", "expected a latent as Save Latent writes it"),
        ({"samples": torch.zeros(1, 4, 2, 2)}, "expected a tensor latent_tensor (b, channels, h, w), got samples"),
        ({"latent_tensor": torch.zeros(3)}, "got one of the shape (3,)"),
        ({"latent_tensor": torch.zeros(1, 4, 0, 2)}, "got one of the shape (1, 4, 0, 2)"),
    ],
)
def test_what_is_no_latent_is_a_line(folder, capsys, monkeypatch, content, words):
    monkeypatch.chdir(folder)
    if isinstance(content, bytes):
        (folder / "x.latent").write_bytes(content)
    else:
        save_file(content, folder / "x.latent")
    prompt = {
        "1": {"class_type": "LoadLatent", "inputs": {"latent": "x.latent"}},
        "2": {"class_type": "SaveLatent", "inputs": {"samples": ["1", 0], "filename_prefix": "y"}},
    }
    (folder / "w.json").write_text(json.dumps(prompt))
    assert main(["run", "w.json", "--input", ".", "--output", "out", "--quiet"]) == 2
    err = capsys.readouterr().err
    assert "node 1 (LoadLatent): x.latent: " in err and words in err and err.count("\n") == 1
    assert not list(folder.rglob("y_*"))
