"""The ControlNet that ships: its pictures follow the drawing, and take their colours from the prompt."""

from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_ddim.demo.evaluate import SHIPPED_CONTROL, draw
from comfyui_ddim.demo.outlines import outline
from comfyui_ddim.demo.scenes import Scene, Solid, caption, render
from comfyui_ddim.demo.train import main as train_both
from comfyui_ddim.demo.train_control import hints
from comfyui_ddim.networks import ControlledDiffusion, load_checkpoint, load_controlnet

SHIPPED = Path(__file__).parents[2] / "demo" / "ddim-scenes.safetensors"
LEFT = Scene(
    (Solid("cone", "yellow", "large", -1.05, 0.1), Solid("cube", "purple", "small", 1.1, 0.0, 0.4)), "green", "blue"
)
RIGHT = Scene(
    (Solid("cube", "yellow", "small", -1.05, 0.1), Solid("cone", "purple", "large", 1.1, 0.0)), "green", "blue"
)


@pytest.fixture(scope="module")
def controlled():
    return ControlledDiffusion(load_checkpoint(SHIPPED), load_controlnet(SHIPPED_CONTROL))


def coloured(picture: np.ndarray) -> np.ndarray:
    """Where a picture (h, w, 3) in 0 to 255 is the yellow or the purple of the solids, (h, w)."""
    r, g, b = picture.astype(float).transpose(2, 0, 1)
    return ((r > 1.5 * b) & (g > 1.2 * b)) | ((r > 1.25 * g) & (b > 1.25 * g))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_one_prompt_two_drawings(controlled):
    """The same prompt and noise under two drawings: each picture covers what its drawing outlines, not the other's."""
    scenes = (LEFT, RIGHT)
    prompt = "yellow left of purple on a green floor under a blue sky"
    pictures = draw(
        controlled.diffusion,
        [prompt, prompt],
        15,
        1.0,
        batch=2,
        control=(controlled, hints(np.stack([outline(scene) for scene in scenes]))),
    )
    drawn = [coloured(((x + 1) * 127.5).permute(1, 2, 0).numpy()) for x in pictures]
    meant = [coloured(render(scene)) for scene in scenes]
    for own in (0, 1):
        assert overlap(drawn[own], meant[own]) > 0.7
        assert overlap(drawn[own], meant[own]) > overlap(drawn[own], meant[1 - own]) + 0.25


def test_at_strength_0_it_is_the_model_alone(controlled):
    silent = ControlledDiffusion(controlled.diffusion, controlled.controlnet, strength=0.0)
    hint = hints(outline(LEFT)[None])
    alone, steered = (draw(controlled.diffusion, [caption(LEFT)], 3, 1.0, control=c) for c in (None, (silent, hint)))
    assert torch.equal(alone, steered)


def test_it_is_trained_over_a_finished_model(tmp_path):
    """By the script that trains the model; a few seconds teach it nothing yet, but the way is whole."""
    budget = ["--control-minutes", "0.001", "--control-scenes", "4"]
    train_both(["--folder", str(tmp_path), "--checkpoint", str(SHIPPED), *budget])
    net = load_controlnet(tmp_path / "ddim-scenes-outline.safetensors")
    assert net.config == load_checkpoint(SHIPPED).config.unet
    assert net.middle_block_out[0].weight.abs().max() > 0  # it starts as nothing


def test_a_finished_model_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train_both(["--folder", str(tmp_path / "runs"), "--checkpoint", str(tmp_path / "none.safetensors")])
    assert "none.safetensors: no such file, expected a finished model" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
