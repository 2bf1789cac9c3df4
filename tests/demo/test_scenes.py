"""The demo's renderer, against geometry that is known in closed form, and its captions."""

import numpy as np
import pytest
from comfyui_ddim.demo.scenes import (
    CAMERA,
    FAR,
    FLOORS,
    PAINTS,
    SHAPES,
    SIZES,
    SKIES,
    Scene,
    Solid,
    caption,
    column,
    hard_scene,
    intersect,
    random_scene,
    render,
)
from comfyui_ddim.demo.words import LABELS, VOCABULARY, label_indices, labels

DOWN = np.array([[0.0], [0.0], [-1.0]], np.float32)
AHEAD = np.array([[0.0], [1.0], [0.0]], np.float32)


def hit(shape: str, origin: tuple[float, float, float], direction: np.ndarray, size: str = "large"):
    solid = Solid(shape, "red", size, x=0.3, y=0.2)
    point = np.array(origin, np.float32)[:, None] + np.array([[0.3], [0.2], [0.0]], np.float32)
    t, normal = intersect(solid, point, direction)
    return float(t[0]), normal[:, 0]


@pytest.mark.parametrize(("shape", "height"), [("sphere", 2.0), ("cube", 1.56), ("cylinder", 1.75), ("cone", 1.95)])
@pytest.mark.parametrize("size", SIZES)
def test_a_ray_from_above_meets_the_top(shape, height, size):
    t, _ = hit(shape, (0.001, 0.001, 5.0), DOWN, size)
    assert t == pytest.approx(5.0 - height * SIZES[size], abs=5e-3)


@pytest.mark.parametrize(
    ("shape", "front"),
    # at half the unit of height: the sphere's circle, the flat side, the round side, the slope
    [("sphere", np.sqrt(1 - 0.25)), ("cube", 0.78), ("cylinder", 0.80), ("cone", 0.98 * (1 - 0.5 / 1.95))],
)
def test_a_level_ray_meets_the_front(shape, front):
    t, normal = hit(shape, (0.0, -4.0, 0.5), AHEAD)
    assert t == pytest.approx(4.0 - front, abs=1e-4)
    assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-5)
    assert normal[1] < 0  # it looks back at where the ray came from


@pytest.mark.parametrize("shape", SHAPES)
def test_a_ray_beside_the_solid_misses(shape):
    assert hit(shape, (1.3, -4.0, 0.5), AHEAD)[0] == FAR
    assert hit(shape, (0.0, -4.0, 2.2), AHEAD)[0] == FAR


def test_the_picture_shows_the_colours():
    for paint in PAINTS:
        solid = Solid("cube", paint, "large", 0.0, 0.0, 0.4)
        picture = render(Scene((solid,), "gray", "dark"), 64, samples=1).astype(float) / 255
        seen = picture[34:40, column(solid, 64) - 3 : column(solid, 64) + 3].mean((0, 1))
        distances = {name: np.linalg.norm(seen / seen.max() - np.array(rgb) / max(rgb)) for name, rgb in PAINTS.items()}
        assert min(distances, key=distances.get) == paint


def test_floor_and_sky_are_where_they_belong():
    picture = render(Scene((Solid("sphere", "red", "small", 0.0, 0.0),), "green", "orange"), 64).astype(float)
    sky, floor = picture[2, 32], picture[60, 5]
    assert sky[0] > sky[1] > sky[2]
    assert floor[1] > floor[0] and floor[1] > floor[2]


def test_the_shadow_is_soft_and_falls_away_from_the_sun(monkeypatch):
    scene = Scene((Solid("cube", "white", "large", -0.6, 0.0),), "gray", "gray")

    def row() -> np.ndarray:  # across the shadow's end, to the right of the solid
        return render(scene, 128)[84, 60:126].astype(float).mean(-1)

    def width_of_edge(values: np.ndarray) -> int:
        dark, light = values.min(), values[-1]
        return int(((values > dark + 0.1 * (light - dark)) & (values < light - 0.1 * (light - dark))).sum())

    soft = row()
    assert soft.min() < 0.75 * soft[-1]
    monkeypatch.setattr("comfyui_ddim.demo.scenes.SUN_SPREAD", 0.0)
    assert width_of_edge(soft) > width_of_edge(row())


def test_a_scene_has_one_picture():
    scene = random_scene(np.random.default_rng(5))
    assert np.array_equal(render(scene, 32), render(scene, 32))


def test_full_caption():
    scene = Scene((Solid("sphere", "red", "large", -1, 0), Solid("cube", "blue", "small", 1, 0)), "green", "orange")
    said = "a large red sphere left of a small blue cube on a green floor under an orange sky"
    assert caption(scene) == said
    single = Scene((Solid("cone", "orange", "small", 1.1, 0),), "pink", "dark")
    assert caption(single) == "a small orange cone on the right on a pink floor under a dark sky"


def test_captions_say_only_what_is_there_in_known_words():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(500):
        scene = random_scene(rng)
        words = caption(scene, rng).split()
        assert set(words) <= set(VOCABULARY)
        seen |= set(words)
        present = {s.paint for s in scene.solids} | {scene.floor, scene.sky}
        assert set(words) & (set(PAINTS) | set(FLOORS) | set(SKIES)) <= present
        for solid in scene.solids:
            assert solid.paint in words and solid.shape in words
    assert seen == set(VOCABULARY[2:])  # every word is learned


def test_labels_match_the_scene():
    scene = Scene((Solid("cone", "white", "small", -1.0, 0),), "brown", "gray")
    said = labels(scene)
    assert said["count"] == "one" and said["place"] == "left" and said["right shape"] == "cone"
    assert [options[i] for options, i in zip(LABELS.values(), label_indices(scene), strict=True)] == list(said.values())


def test_hard_scenes_have_two_solids_that_differ_in_colour():
    rng = np.random.default_rng(0)
    pairs = [hard_scene(rng).solids for _ in range(400)]
    paints = list(PAINTS)
    apart = [(paints.index(right.paint) - paints.index(left.paint)) % len(paints) for left, right in pairs]
    assert all(left.x < right.x for left, right in pairs) and 0 not in apart
    assert 0.55 < np.mean([step in (1, len(paints) - 1) for step in apart]) < 0.78  # a half, and 2 of 6 by chance
    assert 0.5 < np.mean([left.shape == right.shape for left, right in pairs]) < 0.75  # a half, and 1 of 4 by chance
    assert {right.paint for _, right in pairs} == set(PAINTS) and {right.shape for _, right in pairs} == set(SHAPES)


def test_every_solid_is_in_view():
    rng = np.random.default_rng(1)
    for _ in range(200):
        for solid in random_scene(rng).solids:
            assert 8 < column(solid, 128) < 120
            assert solid.y > CAMERA[1] + 4
