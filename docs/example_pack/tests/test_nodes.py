"""The nodes by themselves: `run_node` calls a class through the executor, with its defaults, as a workflow would."""

import pytest
import torch
from comfyui_ddim.testing import Items, WorkflowRefused

GREY = torch.full((1, 64, 64, 3), 0.5)


def test_a_disc_is_where_it_is_asked_for(run_node):
    (image,) = run_node("ExampleDisc", color="green", x=20, y=30, radius=5, size=64)
    assert image.shape == (1, 64, 64, 3)
    assert image[0, 30, 20].argmax() == 1 and image[0, 30, 40].tolist() == pytest.approx([0.95, 0.95, 0.9])


def test_corners_are_darker_by_default(run_node):
    (image,) = run_node("ExampleVignette", image=GREY)
    assert image[0, 0, 0, 0].item() == pytest.approx(0.25)


def test_pictures_of_a_list_are_darkened_one_by_one(run_node):
    pictures = run_node("ExampleVignette", image=Items([GREY, GREY[:, :32]]), strength=1.0)["IMAGE"]
    assert [picture.shape[1] for picture in pictures] == [64, 32]


def test_a_vignette_looks_as_it_did(run_node, compare):
    compare(run_node("ExampleVignette", image=GREY, strength=0.8)["IMAGE"])


def test_more_than_all_is_refused(run_node):
    with pytest.raises(WorkflowRefused, match=r"strength: 2.0 is larger than the maximum of 1.0"):
        run_node("ExampleVignette", image=GREY, strength=2.0)
