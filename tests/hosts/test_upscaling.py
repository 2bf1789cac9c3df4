"""What an upscaling model's loader says of files and of an environment that won't do."""

import sys

import pytest
import torch
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.hosts.standalone.upscaling import load_upscale_model
from comfyui_ddim.networks import CheckpointError
from comfyui_ddim.nodes import STAND_IN_CLASS_MAPPINGS
from safetensors.torch import save_file


def test_without_spandrel_a_line_says_how_to_have_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)  # as if it weren't installed
    (tmp_path / "upscale_models").mkdir()
    save_file({"a": torch.zeros(1)}, tmp_path / "upscale_models" / "a.safetensors")
    with using(Context(models_dir=tmp_path)), pytest.raises(ValueError, match=r"need spandrel .*pip install .*upscale"):
        STAND_IN_CLASS_MAPPINGS["UpscaleModelLoader"]().load_model("a.safetensors")


def test_a_file_that_is_not_there_is_told_before_the_run(tmp_path):
    with using(Context(models_dir=tmp_path)):
        said = STAND_IN_CLASS_MAPPINGS["UpscaleModelLoader"].VALIDATE_INPUTS("a.pth")
    assert said.startswith("no upscaling model 'a.pth' in ")


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_another_kind_of_model_is_named(tmp_path, name):
    pytest.importorskip("spandrel")
    tensors = {"model.diffusion_model.out.2.bias": torch.zeros(4)}
    save_file(tensors, tmp_path / name) if name.endswith("s") else torch.save(tensors, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"no upscaling model that spandrel knows") as raised:
        load_upscale_model(tmp_path / name, "cpu")
    assert str(raised.value).startswith(str(tmp_path / name)) and "\n" not in str(raised.value)
