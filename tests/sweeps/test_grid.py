"""Grids: where each cell's picture goes, which pages there are, and what can be read on them."""

import numpy as np
import pytest
import toy_nodes
from comfyui_ddim.cli import main
from comfyui_ddim.executor import WorkflowError
from comfyui_ddim.nodes.grid import Grid, draw_grid
from comfyui_ddim.sweeps.axes import Axis
from comfyui_ddim.sweeps.grids import Layout, read_layout
from PIL import Image
from sweep_kit import save

SEEDS = Axis("", (("2", "seed"),), ("Add.seed",), [(1,), (2,), (3,)])
FACTORS = Axis("", (("2", "factor"),), ("Add.factor",), [(0.0,), (0.5,)])
OTHER = Axis("", (("1", "value"), ("1", "sign")), ("Number.value", "Number.sign"), [(1, "plus"), (2, "minus")])


@pytest.mark.parametrize(
    ("text", "axes", "layout"),
    [
        (None, [SEEDS], Layout(0, None)),
        (None, [SEEDS, FACTORS], Layout(1, 0)),
        (None, [SEEDS, FACTORS, OTHER], Layout(1, 0)),
        ("columns=seed", [SEEDS, FACTORS], Layout(0, 1)),
        ("columns=Add.seed, rows=sign", [SEEDS, FACTORS, OTHER], Layout(0, 2)),
        ("rows=factor, columns=value, seed=2", [SEEDS, FACTORS, OTHER], Layout(2, 1, {0: 1})),
        ('factor=0.5, "Number.value=2, minus"', [SEEDS, FACTORS, OTHER], Layout(0, None, {1: 1, 2: 1})),
    ],
)
def test_layouts(text, axes, layout):
    assert read_layout(text, axes) == layout


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed", "'seed': expected columns=AXIS, rows=AXIS or AXIS=VALUE"),
        ("rows=colour", "no axis 'colour'; there are Add.seed, Add.factor"),
        ("rows=seed, columns=seed", "an axis has two places"),
        ("rows=seed, seed=1", "an axis has two places"),
        ("seed=9", "'9' is not a value of Add.seed; it has 1, 2, 3"),
    ],
)
def test_bad_layouts_get_one_line(text, line):
    with pytest.raises(WorkflowError, match=r"^--grid-of") as error:
        read_layout(text, [SEEDS, FACTORS])
    assert line in str(error.value)


def colours(path):
    """The plain colours of at least one picture's size, in reading order."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    found = []
    for y in range(0, pixels.shape[0] - 40):
        for x in range(0, pixels.shape[1] - 60):
            block = pixels[y : y + 48, x : x + 64]
            if block.shape == (48, 64, 3) and block[0, 0, 2] == 120 and (block == block[0, 0]).all():
                found.append(tuple(int(c) for c in block[0, 0]))
    return found


def colour(number):
    return (number * 37 % 256, number * 11 % 256, 120)


def test_every_picture_is_in_its_row_and_column(place, capsys):
    save(toy_nodes.adding(kind="picture", broken="3"))
    over = ["--over", "Add.factor=0, 1", "--over", "Add.seed=1..4", "--over", "1.value=3, 5"]
    line = ["sweep", "w.json", "--nodes", str(toy_nodes.PATH), "--quiet", "--output", "out", *over]
    assert main([*line, "--grid"]) == 1  # one fails
    out = capsys.readouterr().out.split()
    assert out[-2:] == ["out/grid.png", "out/grid-2.png"]
    for page, value in (("grid", 3), ("grid-2", 5)):
        expected = [colour(round(value + seed * factor)) for factor in (0, 1) for seed in (1, 2, 4)]
        assert colours(f"out/{page}.png") == expected
    assert main([*line, "--grid-of", "columns=value, rows=seed, factor=1"]) == 1
    assert colours("out/grid.png") == [colour(value + seed) for seed in (1, 2, 4) for value in (3, 5)]


def test_one_axis_has_a_value_over_each_picture(place):
    save(toy_nodes.adding(kind="picture"))
    line = ["sweep", "w.json", "--nodes", str(toy_nodes.PATH), "--quiet", "--output", "out"]
    assert main([*line, "--over", "Add.seed=4..9", "--grid"]) == 0
    assert colours("out/grid.png") == [colour(3 + seed) for seed in range(4, 10)]


def block(width=40, height=30):
    return Image.new("RGB", (width, height), (10, 20, 120))


@pytest.mark.parametrize("size", [8, 64, 700])
@pytest.mark.parametrize("words", ["1", "a cube, a cone", "word" * 100, "long text " * 100, "中文 한국어", "\n\n", ""])
def test_labels_have_room_at_any_size(size, words):
    """No letter is cut off at the edges or lies on a picture."""
    pictures = [block(size, size)] * 6
    sheet = np.asarray(draw_grid(Grid(pictures, [words] * 3, [words, "b"], "x name", "y name", "title " * 30)))
    edges = np.concatenate([sheet[0], sheet[:, 0], sheet[:, -1]])
    blocks = (sheet == (10, 20, 120)).all(-1).sum()
    assert (edges == 255).all() or size == 8
    assert blocks == 6 * size * size
    assert sheet.shape[0] < 2 * size + 60 * max(13, size // 12)
