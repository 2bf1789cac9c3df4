"""The plot node: the numbers that it draws, where they are in the picture, and that the sampler runs just these."""

import math

import numpy as np
import pytest
import torch
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.networks import DiffusionRun
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS
from comfyui_ddim.nodes.chart import Line, Panel, areas, draw_panels, spread, ticks
from comfyui_ddim.nodes.plot import headline, panels, series
from comfyui_ddim.sampler import PRESETS, Curve, Guidance, Scheme, make_schedule

# Stable Diffusion's: even steps in sqrt(beta).
ALPHA_BAR = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)


def node(name: str):
    return NODE_CLASS_MAPPINGS[name]()


def test_the_numbers_are_the_papers():
    schedule = make_schedule(ALPHA_BAR, 10, eta=Curve(((0, 1), (1, 0))))
    drawn = series(schedule, Guidance(7.0).scales(10), "timesteps")
    assert drawn.edges == (901, 801, 701, 601, 501, 401, 301, 201, 101, 1, 0)
    a = np.append(ALPHA_BAR[[901, 801, 701, 601, 501, 401, 301, 201, 101, 1]], 1.0)
    ancestral = np.sqrt((1 - a[1:]) / (1 - a[:-1])) * np.sqrt(1 - a[:-1] / a[1:])  # Song et al. 2020, eq. 16 at eta 1
    assert drawn.alpha_bar == pytest.approx(a, abs=1e-12)
    assert drawn.ancestral == pytest.approx(ancestral, abs=1e-9)
    assert drawn.sigma == pytest.approx(ancestral * np.linspace(1, 0, 10), abs=1e-9)
    assert drawn.eta == pytest.approx(np.linspace(1, 0, 10)) and drawn.guidance == (7.0,) * 10
    assert series(schedule, (7.0,) * 10, "steps").edges == tuple(range(11))


def test_the_sampler_runs_what_is_drawn(monkeypatch):
    """The model is asked at the drawn timesteps, twice a step but where the drawn guidance is 1."""
    asked = []
    ask = DiffusionRun.apply_model
    monkeypatch.setattr(DiffusionRun, "apply_model", lambda *a: (asked.extend(a[2].tolist()), ask(*a))[1])
    seen = []
    monkeypatch.setattr("comfyui_ddim.nodes.plot.panels", lambda drawn, x: (seen.append(drawn), panels(drawn, x))[1])
    (guidance,) = node("DDIMGuidanceSchedule").make("interval", 4.0, 1.0, 0.0, 0.5)
    table = Scheme(spacing="trailing")
    with using(Context(device="cpu")):
        model, clip, _ = node("DDIMLoadModel").load(SHIPPED.name)
        positive, negative = node("DDIMConditioning").encode(clip, "a small red cube", "")
        (latent,) = node("DDIMEmptyLatent").make(32, 32, 1)
        node("DDIMPlot").plot(model, 6, 5.0, 0.2, 0.5, "timesteps", 768, 512, guidance, None, table)
        node("DDIMSampler").sample(model, positive, negative, latent, 0, 6, 5.0, 0.2, 0.5, guidance, schedule=table)
    (drawn,) = seen
    expected = [t for t, scale in zip(drawn.edges, drawn.guidance, strict=False) for _ in range(1 + (scale != 1))]
    assert asked == expected and len(asked) == 9


def rows_of(picture: np.ndarray, colour: tuple[int, int, int], x: float, box) -> np.ndarray:
    """Rows of the plot area in which the column at `x` has nearly that colour."""
    _, top, _, bottom = map(round, box)
    column = picture[top - 2 : bottom + 3, round(x)].astype(int)
    return top - 2 + np.flatnonzero(np.abs(column - colour).max(-1) < 90)


@pytest.mark.parametrize("size", [(768, 512), (512, 1024), (1600, 900)])
@pytest.mark.parametrize("over", ["steps", "timesteps"])
def test_the_lines_are_where_the_numbers_say(size, over):
    schedule = make_schedule(ALPHA_BAR, 12, eta=0.7)
    drawn = series(schedule, tuple(np.linspace(9.0, 2.0, 12).tolist()), over)
    x_range = (0.0, 12.0) if over == "steps" else (1000.0, 0.0)
    charts = panels(drawn, x_range)
    picture = np.asarray(draw_panels(charts, "title", over, *size))
    assert picture.shape == (size[1], size[0], 3)
    for chart, box, values in zip(charts, areas(4, *size), (None, drawn.sigma, drawn.guidance, drawn.eta), strict=True):
        left, top, right, bottom = box

        def across(x, left=left, right=right):
            return left + (right - left) * (x - x_range[0]) / (x_range[1] - x_range[0])

        def row(y, chart=chart, top=top, bottom=bottom):
            assert chart.y_range[0] == 0
            return bottom - (bottom - top) * y / chart.y_range[1]

        if values is None:  # alpha-bar: a dot on each level, joined by lines
            assert chart.y_range == (0, 1)
            for i, (x, y) in enumerate(zip(drawn.edges, drawn.alpha_bar, strict=True)):
                if 0 < i < 12 and row(y) > top + 8:
                    rows = rows_of(picture, chart.colour, across(x), box)
                    assert rows.size and rows.min() - 1 <= row(y) <= rows.max() + 1 and np.ptp(rows) < 16
            continue
        for i, value in enumerate(values[:-1]):
            middle = across((drawn.edges[i] + drawn.edges[i + 1]) / 2)
            rows = rows_of(picture, chart.colour, middle, box)
            assert rows.size and abs(rows.mean() - row(value)) < 1.6
            assert np.ptp(rows) <= size[1] / 100 + 2  # nothing else in that column


def test_axes_have_their_ticks_and_numbers():
    panel = Panel("t", "r", (200, 0, 0), (Line(((0, 1), (4, 1))),), (0, 4), (0, 2))
    picture = np.asarray(draw_panels([panel], "", "step", 400, 300)).astype(int)
    ((left, top, right, bottom),) = areas(1, 400, 300)
    inside = picture[:, round(left) + 3 : round(right) - 3]
    gray = np.abs(inside - inside.mean(-1, keepdims=True)).max(-1) < 14
    lines = np.flatnonzero((gray & (inside.sum(-1) < 745)).mean(1) > 0.95)
    for value in ticks(0, 2, 5):
        if value not in (0, 1):  # the axis and the red line are there
            assert np.abs(lines - (bottom - (bottom - top) * value / 2)).min() <= 1
    numbers = picture[round(bottom) + 4 : round(bottom) + 18].min((0, 2)) < 120
    for x in (0, 1, 2, 3, 4):
        at = round(left + (right - left) * x / 4)
        assert numbers[at - 5 : at + 6].any(), x


@pytest.mark.parametrize(
    ("low", "high", "most", "wanted"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 7.5, 4, [0, 2, 4, 6]),
        (-3, 6.5, 4, [0, 5]),
        (0, 0.12, 4, [0, 0.05, 0.1]),
        (0, 1, 1, [0, 1]),
        (0, 20000, 4, [0, 5000, 10000, 15000, 20000]),
    ],
)
def test_ticks_are_round_numbers(low, high, most, wanted):
    assert ticks(low, high, most) == pytest.approx(wanted)


def test_ticks_of_steps_are_whole():
    assert ticks(0, 1, 8, whole=True) == [0, 1]
    assert ticks(0, 3, 8, whole=True) == [0, 1, 2, 3]


@pytest.mark.parametrize("values", [[0.0], [5.0], [1.0, 7.5], [-3.0, 6.5], [1e-9], [0.02, 0.56], [1e6], [-2.0]])
def test_the_range_holds_the_values_and_zero(values):
    low, high = spread(values)
    assert low <= min(0, *values) and high >= max(0, *values) and low < high
    assert high - low <= 2.1 * max(max(0, *values) - min(0, *values), 0 if any(values) else 1)


@pytest.fixture(scope="module")
def model():
    with using(Context(device="cpu")):
        yield node("DDIMLoadModel").load(SHIPPED.name)[0]


@pytest.mark.parametrize("over", ["steps", "timesteps"])
@pytest.mark.parametrize(
    ("steps", "denoise", "table", "said"),
    [
        (1, 1.0, None, "1 step, timestep 999, ends clean"),
        (1000, 1.0, None, "1000 steps, timesteps 999 to 0, ends clean"),
        (20, 0.5, None, "20 steps, timesteps 476 to 1, ends clean"),
        (30, 1.0, PRESETS["published"], "31 steps, timesteps 991 to 1, ends at alpha-bar 0.9991"),
        (7, 1.0, Scheme(timesteps=(951, 401, 101)), "3 steps, timesteps 951 to 101, ends clean"),
    ],
)
def test_every_run_has_its_picture(model, steps, denoise, table, said, over, monkeypatch):
    told = []
    monkeypatch.setattr("comfyui_ddim.nodes.plot.headline", lambda run: (told.append(headline(run)), told[-1])[1])
    (picture,) = node("DDIMPlot").plot(model, steps, 5.0, 1.0, denoise, over, 384, 256, schedule=table)
    assert picture.shape == (1, 256, 384, 3) and picture.dtype == torch.float32
    assert picture.min() >= 0 and picture.max() == 1 and picture.std() > 0.05
    assert told == [said]


def test_what_the_sampler_refuses_is_refused(model):
    plot = node("DDIMPlot").plot
    with pytest.raises(ValueError, match="need a table of 2000"):
        plot(model, 1000, 5.0, 0.0, 0.5, "steps", 768, 512)
    with pytest.raises(ValueError, match=r"eta is 2\.0, expected at most"):
        plot(model, 20, 5.0, 2.0, 1.0, "steps", 768, 512)
    with pytest.raises(ValueError, match="guidance scale has 3 values, expected one for each of the 20 steps"):
        plot(model, 20, 5.0, 0.0, 1.0, "steps", 768, 512, guidance_schedule=[1.0, 2.0, 3.0])
    assert math.isfinite(plot(model, 2, 5.0, 0.0, 1.0, "steps", 320, 256, guidance_schedule=[-1.0, 2.0])[0].sum())
