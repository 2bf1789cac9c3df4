"""Comparing pictures: another machine's rounding passes, a moved, lost or recolored object doesn't, at any size."""

import math

import numpy as np
import pytest
from comfyui_ddim.testing.measures import beyond, compare_pictures, compare_tensors


def scene(size, at, radius=8.0, color=(0.8, 0.2, 0.1), seed=0):
    """A textured ground with a disc."""
    y, x = np.mgrid[:size, :size]
    ground = 0.5 + 0.2 * np.sin(x / 9) * np.cos(y / 7) + np.random.default_rng(seed).normal(0, 0.03, (size, size))
    picture = np.repeat(ground[..., None], 3, axis=2)
    picture[np.hypot(x - at[0], y - at[1]) < radius] = color
    return picture.clip(0, 1)


@pytest.mark.parametrize("size", [64, 512, 1024])
@pytest.mark.parametrize(
    "other",
    [
        lambda size: scene(size, (40, 32)),  # moved by 8 pixels
        lambda size: scene(size, (32, 32), color=(0.1, 0.2, 0.8)),
        lambda size: scene(size, (32, 32), radius=0),
    ],
    ids=["moved", "recolored", "lost"],
)
def test_one_object_is_seen_in_a_picture_of_any_size(size, other):
    measured = compare_pictures(other(size), scene(size, (32, 32)))
    assert "largest" in [one.measure for one in beyond(measured, {})], measured


@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_rounding_elsewhere_passes(noise):
    one = scene(256, (32, 32))
    other = (one + np.random.default_rng(1).normal(0, noise, one.shape)).clip(0, 1)
    assert beyond(compare_pictures(np.round(other * 255) / 255, one), {}) == []


def test_the_measures_are_what_they_are_called():
    one = np.zeros((16, 16, 3))
    other = one.copy()
    other[:8, :8] = 0.5
    measured = compare_pictures(other, one)
    assert measured["psnr"] == pytest.approx(10 * math.log10(1 / (0.25 / 4)))
    assert measured["largest"] == pytest.approx(0.5) and measured["share"] == 0.25
    assert compare_pictures(one, one) == {"psnr": math.inf, "largest": 0, "share": 0}


def test_small_pictures_are_one_block():
    assert compare_pictures(np.full((3, 5, 1), 0.5), np.full((3, 5, 1), 0.25))["largest"] == pytest.approx(0.25)


def test_nan_is_beyond_every_limit():
    one = np.zeros((8, 8, 3))
    assert {excess.measure for excess in beyond(compare_pictures(one * np.nan, one), {})} >= {"psnr", "largest"}
    assert beyond(compare_tensors(one * np.nan, one), {})


def test_tensors_are_measured_by_the_reference_s_spread():
    reference = np.array([-2.0, 2.0])  # a standard deviation of 2
    assert compare_tensors(np.array([-2.0, 2.5]), reference)["tolerance"] == pytest.approx(0.25)
    assert compare_tensors(np.array([0.5]), np.array([0.0]))["tolerance"] == 0.5
