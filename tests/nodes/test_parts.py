"""Runs in parts, by the sampler's start_step, end_step and leftover_noise; and what the plot shows of a run."""

import math
import re
from itertools import pairwise

import pytest
import torch
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, STAND_IN_CLASS_MAPPINGS
from comfyui_ddim.nodes.chart import areas
from comfyui_ddim.nodes.plot import trace
from comfyui_ddim.sampler import make_schedule

STEPS = 6


def node(name):
    return NODE_CLASS_MAPPINGS[name]()


@pytest.fixture(scope="module")
def shipped():
    """The shipped model with two prompts, and the latent of no particular image: the sampler's first inputs."""
    with using(Context(device="cpu")):
        model, clip, _ = node("DDIMLoadModel").load(SHIPPED.name)
        positive, negative = node("DDIMConditioning").encode(clip, "a small red cube", "")
        latent = {"samples": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3)) * 5}
        return model, positive, negative, latent


def sample(shipped, latent=None, steps=STEPS, cfg=3.0, eta=0.0, denoise=1.0, **more):
    model, positive, negative, own = shipped
    with using(Context(device="cpu")), torch.inference_mode():
        return node("DDIMSampler").sample(model, positive, negative, latent or own, 7, steps, cfg, eta, denoise, **more)


def options(**changes):
    given = node("DDIMOptions").INPUT_TYPES()["required"]
    defaults = {name: declared[1].get("default", declared[0][0]) for name, declared in given.items()}
    return node("DDIMOptions").make(**{**defaults, **changes})[0]


def scheme(preset):
    return node("DDIMSchedule").make(preset, "as preset", "as preset", "")[0]


LEFT = torch.zeros(1, 64, 64)
LEFT[..., :28] = 1
WAYS = {
    "plain": {},
    "eta": {"eta": 0.8},
    "curves": {"guidance_schedule": lambda u: 1 + 4 * u, "eta_schedule": [0.9, 0.0, 0.3, 1.0, 0.5, 0.2]},
    "published": {"eta": 0.5, "schedule": "published"},
    "diffusers": {"eta": 0.5, "schedule": "diffusers"},
    "comfyui": {"schedule": "comfyui"},
    "comfyui with eta": {"schedule": "comfyui", "eta": 0.6},
    "image to image": {"denoise": 0.5, "eta": 0.4},
    "one generator": {"eta": 0.7, "options": {"noise": "published", "noise_dropout": 0.2}},
}


@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_joined_parts_are_the_single_run(shipped, how, masked):
    """Three of them, in which every curve, draw of noise and mask goes on where it was."""
    how = dict(how)
    if "schedule" in how:
        how["schedule"] = scheme(how["schedule"])
    if "options" in how:
        how["options"] = options(**how["options"])
    if how.get("eta_schedule") is not None and masked:
        how["eta_schedule"] = [0.0, 1.0, 0.2, 0.0, 0.3, 0.0]
    if masked:
        how |= {"mask": LEFT, "x0": shipped[3]}
    single = sample(shipped, **how)
    first = sample(shipped, **how, end_step=2, leftover_noise=True)
    second = sample(shipped, first[0], **how, start_step=2, end_step=4, leftover_noise=True)
    third = sample(shipped, second[0], **how, start_step=4)
    for place in (0, 1):
        assert (third[place]["samples"] - single[place]["samples"]).abs().max() < 1e-4 / 0.18215
    states = torch.cat([part[2]["samples"] for part in (first, second, third)])
    assert (states - single[2]["samples"]).abs().max() < 1e-4 / 0.18215
    assert (second[0]["samples"] - single[0]["samples"]).abs().max() > 0.5  # there was noise left


def test_a_part_without_leftover_noise_ends_on_its_prediction(shipped):
    part = sample(shipped, eta=0.5, end_step=3)
    open_end = sample(shipped, eta=0.5, end_step=3, leftover_noise=True)
    assert torch.equal(part[0]["samples"], part[1]["samples"])
    assert torch.equal(part[1]["samples"], open_end[1]["samples"])
    kept = sample(shipped, mask=LEFT, end_step=3)[0]["samples"]
    assert (kept - shipped[3]["samples"])[..., 4:].abs().max() < 1e-5


def test_past_the_last_step_nothing_is_left(shipped):
    whole = sample(shipped)[0]["samples"]
    for end in (STEPS, 10000):
        assert torch.equal(sample(shipped, end_step=end, leftover_noise=True)[0]["samples"], whole)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"start_step": 4, "end_step": 4}, "start_step is 4 and end_step 4, expected start_step below end_step"),
        ({"start_step": 6}, "start_step is 6, expected below the run's 6 steps"),
        ({"start_step": 2, "x_T": {"samples": torch.zeros(1, 4, 8, 8)}}, "is 2, expected start_step 0, or no x_T"),
        ({"start_step": 2, "mask": LEFT}, "noisy at start_step 2, expected x0 along with the mask"),
        ({"end_step": 3, "options": {"repaint_repeats": 2}}, "RePaint .repeats 2. goes back and forth"),
        ({"guider": object(), "guidance_schedule": 2.0}, "guider and guidance_schedule are both linked"),
        ({"guider": object()}, "guider is object, expected one of this pack's; others need ComfyUI"),
    ],
)
def test_what_makes_no_part_is_named(shipped, wrong, words):
    if "options" in wrong:
        wrong = {**wrong, "options": options(**wrong["options"])}
    with pytest.raises(ValueError, match=words):
        sample(shipped, **wrong)


# --- the plot of what happened


def test_the_trace_is_that_of_known_latents():
    """Two runs whose states are made of a known image and known noise: their sizes come back."""
    schedule = make_schedule("scaled_linear", 4)
    generator = torch.Generator().manual_seed(1)
    x0 = torch.stack([torch.randn(2, 4, 16, 16, generator=generator) * k for k in (1.0, 2.0, 3.0, 4.0)])
    eps = torch.randn(2, 4, 16, 16, generator=generator)
    levels = zip(schedule.signal[1:], schedule.noise[1:], [*x0[1:], x0[3]], strict=True)
    states = torch.stack([s * own + n * eps for s, n, own in levels])
    seen = trace(schedule, states.flatten(0, 1), x0.flatten(0, 1))

    def rms(x):
        return [math.sqrt(float(sample.square().mean())) for sample in x]

    assert seen.x0 == pytest.approx([sum(rms(each)) / 2 for each in x0], rel=1e-6)
    assert seen.eps == pytest.approx([sum(rms(eps)) / 2] * 3, rel=1e-4)
    assert seen.x0_change == pytest.approx([sum(rms(b - a)) / 2 for a, b in pairwise(x0)], rel=1e-6)
    assert seen.change == pytest.approx([sum(rms(b - a)) / 2 for a, b in pairwise(states)])
    with pytest.raises(
        ValueError, match="steps_x has the shape 7x4x16x16, expected as many latents for each of the run"
    ):
        trace(schedule, states.flatten(0, 1)[:7], x0.flatten(0, 1)[:7])


def plot(model, steps_x=None, steps_x0=None, height=512):
    return node("DDIMPlot").plot(model, STEPS, 3.0, 0.0, 1.0, "steps", 768, height, steps_x=steps_x, steps_x0=steps_x0)[
        0
    ][0]


def test_the_plot_draws_what_happened_below_what_was_planned(shipped):
    _, _, steps_x, steps_x0 = sample(shipped)
    with using(Context(device="cpu")):
        picture = plot(shipped[0], steps_x, steps_x0, 1024)
        for box in areas(8, 768, 1024):
            left, top, right, bottom = map(round, box)
            assert picture[top:bottom, left:right].std() > 0.01  # something is drawn in every chart
        with pytest.raises(ValueError, match="only one of steps_x and steps_x0 is linked"):
            plot(shipped[0], steps_x)


# --- ComfyUI's curve


class Drawn:
    """As ComfyUI's CURVE answers."""

    def interp(self, x):
        return x * x


def test_a_drawn_curve_stands_for_values_between_low_and_high():
    (made,) = node("DDIMCurve").make(["5"], drawn=[Drawn()], drawn_range=["1, 9"])
    assert [made[0](u) for u in (0, 0.5, 1)] == [1, 3, 9]
    (made,) = node("DDIMCurve").make(["5"], drawn=[Drawn()], drawn_range=[""])  # as older files have it
    assert [made[0](u) for u in (0, 1)] == [0, 10]
    with pytest.raises(ValueError, match="drawn_range '1, 2, 3', expected two numbers like '0, 10'"):
        node("DDIMCurve").make(["5"], drawn=[Drawn()], drawn_range=["1, 2, 3"])
    with pytest.raises(ValueError, match="values and drawn are both linked"):
        node("DDIMCurve").make(["5"], values=[1.0], drawn=[Drawn()])
    with pytest.raises(ValueError, match=r"drawn is 3\.0, expected a curve from ComfyUI's Curve Editor"):
        node("DDIMCurve").make(["5"], drawn=[3.0])


def test_the_runner_s_curve_editor():
    """Points in any order; the cubic one goes through them, rises only where they do, is level where two are."""
    points = [[1.0, 0.0], [0.0, 0.2], [0.25, 0.8], [0.5, 0.8]]
    editor = STAND_IN_CLASS_MAPPINGS["CurveEditor"]()
    (lines,) = editor.give({"points": points, "interpolation": "linear"})
    assert [lines.interp(x) for x in (-1, 0.125, 0.75, 2)] == pytest.approx([0.2, 0.5, 0.4, 0.0])
    (cubic,) = editor.give({"points": points, "interpolation": "monotone_cubic"})
    assert [cubic.interp(x) for x, _ in points] == pytest.approx([y for _, y in points])
    values = [cubic.interp(i / 100) for i in range(101)]
    assert values[:26] == sorted(values[:26]) and max(values) == pytest.approx(0.8)
    assert values[25:51] == pytest.approx([0.8] * 26) and values[50:] == sorted(values[50:], reverse=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "curve is '3', expected 1 to 1000 points"),
        ({"points": []}, "expected 1 to 1000 points"),
        ({"points": [[0, 0], [0.5]]}, r"curve point '\[0.5\]', expected two numbers"),
        ({"points": [[0, 0], [1, float("nan")]]}, r"curve point '\[1, nan\]', expected two numbers"),
        ({"points": [[0, 10**400]]}, "expected two numbers"),
        ({"points": [[0, 0]], "interpolation": "steps"}, "is 'steps', expected one of monotone_cubic, linear"),
    ],
)
def test_what_is_no_curve_is_said(given, said):
    with pytest.raises(ValueError, match=said):
        STAND_IN_CLASS_MAPPINGS["CurveEditor"]().give(given)
    assert re.search(said, STAND_IN_CLASS_MAPPINGS["CurveEditor"].VALIDATE_INPUTS(given))
