"""The run's engine, from the command line to the pixels."""

from pathlib import Path

import numpy as np
import pytest
from comfyui_ddim.cli import main
from PIL import Image

pytest.importorskip("openvino", reason='needs ".[openvino]"')

WORKFLOW = str(Path(__file__).parents[2] / "workflows" / "text_to_image.json")


def test_openvino_paints_torch_s_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pictures = {}
    for engine in ("torch", "openvino"):
        output = tmp_path / engine
        arguments = ["--engine", engine, "--output", str(output), "--set", "4.steps=3", "--quiet"]
        assert main(["run", WORKFLOW, *arguments]) == 0
        pictures[engine] = np.asarray(Image.open(next(output.glob("*.png")))).astype(int)
    assert pictures["torch"].std() > 10
    assert abs(pictures["openvino"] - pictures["torch"]).max() <= 1
    assert not list((tmp_path / "cache" / "comfyui-ddim").iterdir())  # where the weights were, without a name
