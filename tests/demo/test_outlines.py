"""The line drawings of scenes: lines where a solid ends or turns, and nowhere else."""

import numpy as np
from comfyui_ddim.demo.outlines import outline
from comfyui_ddim.demo.scenes import Scene, Solid, column, render


def scene(*solids: Solid, floor: str = "gray", sky: str = "blue") -> Scene:
    return Scene(solids, floor, sky)


def test_an_empty_scene_has_no_lines():
    assert not outline(scene()).any()


def test_paint_floor_and_sky_leave_no_trace():
    a = outline(scene(Solid("cube", "red", "large", 0.3, 0.1, 0.4)))
    b = outline(scene(Solid("cube", "white", "large", 0.3, 0.1, 0.4), floor="pink", sky="dark"))
    assert a.shape == (128, 128) and set(np.unique(a)) == {0, 255} and np.array_equal(a, b)


def test_a_sphere_is_a_ring_around_its_picture():
    ball = Solid("sphere", "red", "large", 0.0, 0.0)
    lines, picture = outline(scene(ball)) > 0, render(scene(ball)).astype(int)
    inside = (picture[..., 0] > 1.6 * picture[..., 2]) & (picture[..., 0] > 60)
    middle = column(ball, 128)
    rows = np.flatnonzero(inside[:, middle])
    drawn = np.flatnonzero(lines[:, middle])
    assert abs(drawn.min() - rows.min()) <= 2 and abs(drawn.max() - rows.max()) <= 2
    assert not lines[(rows.min() + rows.max()) // 2, middle - 3 : middle + 4].any()  # a ball has no creases


def test_a_cube_has_creases_inside():
    box = outline(scene(Solid("cube", "red", "large", 0.0, 0.0, 0.6))) > 0
    row = np.flatnonzero(box.any(1))
    middle = box[(row.min() + row.max()) // 2]
    runs = np.flatnonzero(np.diff(middle.astype(int)) == 1)
    assert len(runs) == 3  # two borders and the edge between the two sides that show
