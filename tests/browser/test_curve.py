"""The curve that is drawn by hand, in ComfyUI's real editor. editor.py says what it needs."""

import numpy as np
import pytest
from comfyui_ddim.executor import Context, Executor, object_info
from comfyui_ddim.executor.reading import convert_workflow
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, STAND_IN_CLASS_MAPPINGS
from editor import needs_editor, read, with_curve
from PIL import Image

pytestmark = needs_editor


@pytest.fixture
def curve(page, drawn):
    """`curve()` opens it anew and tells how it is there; an editor with a curve of three points and four steps."""
    page("open", {"workflow": with_curve("0: 7.5, 0.5: 5, 1: 1", 4), "view": [40, 420]})
    return lambda: page("curve")


def middle(a, b):
    return [(p + q) / 2 for p, q in zip(a, b, strict=True)]


def moved(at, right, down):
    return [at[0] + right, at[1] + down]


def test_a_dragged_curve_reaches_the_sampler(server, page, curve):
    """What was dragged is queued, and makes the picture that the same values make by another node."""
    page("preset", "ramp")
    start = curve()
    assert start["text"] == "0: 7.5, 1: 1"
    page("drag", {"from": start["points"][1], "to": moved(start["points"][1], 30, -40)})
    text = curve()["text"]
    end = float(text.removeprefix("0: 7.5, 1: "))
    assert end > 2
    ran = page("run")
    (node,) = (node for node in ran["prompt"].values() if node["class_type"] == "DDIMCurve")
    assert node["inputs"] == {"curve": text, "drawn_range": "0, 10"}
    (dragged,) = server.pictures(server.history(ran["answer"]["prompt_id"]))
    node["class_type"] = "DDIMGuidanceSchedule"
    node["inputs"] = {"shape": "linear", "start": 7.5, "end": end, "first": 0.0, "last": 1.0}
    (expected,) = server.pictures(server.queued(ran["prompt"]))
    node["inputs"]["end"] = 1.0
    (before,) = server.pictures(server.queued(ran["prompt"]))
    assert np.array_equal(dragged, expected)
    assert not np.array_equal(dragged, before)


def test_points_are_dragged_added_and_removed(page, curve):
    points = curve()["points"]
    page("drag", {"from": points[1], "to": moved(points[1], 30, 20)})
    text = curve()["text"]
    u, value = (float(number) for number in text.split(", ")[1].split(": "))
    assert 0.5 < u < 0.75 and 1 < value < 5 and text == f"0: 7.5, {u:g}: {value:g}, 1: 1"
    page("drag", {"from": points[0], "to": moved(points[0], 60, 20)})
    ends = curve()["text"].split(", ")
    assert len(ends) == 3 and ends[0].startswith("0: ") and float(ends[0][3:]) < 7.5  # an end keeps its place
    page("click", {"at": curve()["points"][1], "button": "right"})
    assert len(curve()["points"]) == 2
    page("click", {"at": curve()["points"][0], "button": "right"})
    assert len(curve()["points"]) == 2  # an end stays
    page("drag", {"from": middle(*curve()["points"]), "to": moved(middle(*curve()["points"]), 10, 5)})
    assert len(curve()["points"]) == 3  # a press on the line makes a point
    page("click", {"at": moved(curve()["points"][1], 50, -30), "times": 2})
    assert len(curve()["points"]) == 4  # so do two anywhere
    page("drag", {"from": curve()["points"][1], "to": moved(curve()["points"][1], 0, -200)})
    assert len(curve()["points"]) == 3  # pulled out
    page("click", {"at": curve()["points"][1]})
    page("press", ["Delete"])
    assert len(curve()["points"]) == 2


def test_the_keyboard_moves_points(page, curve):
    page("click", {"at": curve()["points"][1]})
    page("press", ["ArrowUp", "ArrowUp", "ArrowDown", "ArrowLeft"])
    assert curve()["text"] == "0: 7.5, 0.49: 5.05, 1: 1"
    page("press", ["Shift+ArrowRight", "Tab", "Shift+ArrowUp"])
    assert curve()["text"] == "0: 7.5, 0.59: 5.05, 1: 1.5"
    page("press", ["Shift+Tab", "Backspace"])
    assert curve()["text"] == "0: 7.5, 1: 1.5"


def test_undo_is_the_editors_own(page, curve):
    before = curve()
    page("drag", {"from": before["points"][1], "to": moved(before["points"][1], 20, 20)})
    dragged = curve()["text"]
    page("preset", "constant")
    assert curve()["text"] == "0: 7.5, 1: 7.5"
    page("press", ["Control+z"])
    assert curve()["text"] == dragged
    page("press", ["Control+z"])
    again = curve()
    assert (again["text"], len(again["points"])) == (before["text"], 3)
    page("drag", {"from": again["points"][1], "to": moved(again["points"][1], -20, 20)})
    assert curve()["text"] not in (before["text"], dragged)  # the picture after an undo is drawn in as before


def test_the_picture_follows_text_steps_and_axis(page, curve):
    assert curve()["said"] == "Values of the 4 steps: 7.5, 5.8, 3.7, 1"
    page("set", {"type": "DDIMSampler", "widget": "steps", "value": 3})
    assert curve()["said"] == "Values of the 3 steps: 7.5, 5, 1"
    page("set", {"type": "DDIMCurve", "widget": "curve", "value": "1 + 7 * sin(pi * u)"})
    formula = curve()
    assert formula["said"] == "Values of the 3 steps: 1, 8, 1" and formula["points"] == []
    page("set", {"type": "DDIMCurve", "widget": "curve", "value": "0: 2, 1: 4"})
    low = curve()["points"][0][1]
    page("axis", {"end": "high", "value": "40"})
    assert curve()["points"][0][1] > low + 20
    saved = page("save")["workflow"]
    assert next(n for n in saved["nodes"] if n["type"] == "DDIMCurve")["properties"]["high"] == 40
    page("axis", {"end": "high", "value": ""})
    assert curve()["points"][0][1] == pytest.approx(low, abs=1)


def test_the_file_and_the_prompt_hold_the_text_alone(page, curve):
    points = curve()["points"]
    page("drag", {"from": points[1], "to": moved(points[1], 10, 10)})
    saved = page("save")
    node = next(n for n in saved["workflow"]["nodes"] if n["type"] == "DDIMCurve")
    assert node["widgets_values"] == [curve()["text"], "0, 10"]
    assert saved["output"]["99"]["inputs"] == {"curve": curve()["text"], "drawn_range": "0, 10"}
    page("open", {"workflow": saved["workflow"], "view": [40, 420]})
    assert page("save")["output"] == saved["output"]


def test_the_picture_stays_inside_its_node(curve):
    (left, top, width, height), room = (
        [box[side] for side in ("x", "y", "width", "height")] for box in curve()["inside"]
    )
    assert width > 150 and height > 100
    assert room[0] - 1 <= left and left + width <= room[0] + room[2] + 1
    assert room[1] - 1 <= top and top + height <= room[1] + room[3] + 1


def test_a_list_by_wire_takes_its_place(server, page, drawn):
    workflow = with_curve("0: 7.5, 1: 1", 3)
    (node,) = (node for node in workflow["nodes"] if node["type"] == "DDIMCurve")
    node["inputs"][0]["link"] = 100
    workflow["links"].append([100, 100, 0, 99, 0, "FLOAT"])
    output = {"name": "FLOAT", "type": "FLOAT", "links": [100]}
    primitive = {"id": 100, "type": "PrimitiveFloat", "pos": [40, 900], "size": [270, 60], "flags": {}, "order": 0}
    primitive |= {"mode": 0, "inputs": [], "outputs": [output], "properties": {}, "widgets_values": [2.0]}
    workflow["nodes"].append(primitive)
    page("open", {"workflow": workflow, "view": [40, 420]})
    assert page("curve")["notice"] == "The connected values are used, not this curve."
    assert page("curve")["points"] == []
    ran = page("run")
    wanted = {"curve": "0: 7.5, 1: 1", "values": ["100", 0], "drawn_range": "0, 10"}
    assert ran["prompt"]["99"]["inputs"] == wanted
    assert list(server.pictures(server.history(ran["answer"]["prompt_id"])))


def headless(prompt, folder):
    """The picture that the headless runner makes of a prompt."""
    context = Context(output_dir=folder, temp_dir=folder / "temp", input_dir=folder, device="cpu")
    result = Executor({**STAND_IN_CLASS_MAPPINGS, **NODE_CLASS_MAPPINGS}, context=context).run(prompt)
    assert result.succeeded, (result.node_errors, result.failure)
    (picture,) = folder.glob("*.png")
    return np.asarray(Image.open(picture), dtype=int)


def test_comfyuis_curve_editor_drives_a_run(server, page, drawn, tmp_path):
    """As the page posts it, to the server; the headless runner makes the same picture of what it posted, and saved."""
    if "CurveEditor" not in server.asked("/object_info"):
        pytest.skip("this ComfyUI has no CurveEditor")
    page("open", {"workflow": with_curve("0: 1, 1: 1", 6), "view": [40, 420]})
    page("drawInCurveEditor", {"points": [[0, 0.75], [0.3, 0.7], [1, 0.1]], "range": "1, 9"})
    assert page("curve")["notice"] == "The connected curve is used, not this one."
    ran = page("run")
    (curve,) = (node["inputs"] for node in ran["prompt"].values() if node["class_type"] == "DDIMCurve")
    assert ran["prompt"][curve["drawn"][0]]["class_type"] == "CurveEditor" and curve["drawn_range"] == "1, 9"
    (made,) = (np.asarray(each, dtype=int) for each in server.pictures(server.history(ran["answer"]["prompt_id"])))
    saved = page("save")["workflow"]
    classes = object_info({**STAND_IN_CLASS_MAPPINGS, **NODE_CLASS_MAPPINGS})
    for name, prompt in {"posted": ran["prompt"], "saved": convert_workflow(saved, classes)}.items():
        (tmp_path / name).mkdir()
        assert abs(headless(prompt, tmp_path / name) - made).max() <= 1, name  # bytes are cut, not rounded
    del curve["drawn"]
    (tmp_path / "written").mkdir()
    assert abs(headless(ran["prompt"], tmp_path / "written") - made).max() > 20


def test_a_guidance_schedule_shows_its_curve(page, drawn):
    workflow = read("guidance_schedule")
    page("open", {"workflow": workflow, "view": [400, 700]})
    seen = page("curve", "DDIMGuidanceSchedule")
    (node,) = (node for node in workflow["nodes"] if node["type"] == "DDIMGuidanceSchedule")
    assert node["widgets_values"] == ["interval", 6.0, 1.0, 0.0, 0.5]
    assert seen["said"] == f"Values of the 20 steps: {', '.join(['6'] * 10 + ['1'] * 10)}"
    page("set", {"type": "DDIMGuidanceSchedule", "widget": "end", "value": 2.0})
    assert page("curve", "DDIMGuidanceSchedule")["said"].endswith("6, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2")


def test_an_unreadable_curve_is_told_in_plain_words(page, drawn):
    page("open", {"workflow": with_curve("0: 7, 0.5", 3), "view": [40, 420]})
    assert page("curve")["notice"] == "not 'progress: value': 0.5"
    page("run")
    said = page("complaints")
    assert "DDIMCurve" in said["marked"]
    assert "expected 'progress: value' with two numbers" in said["words"]
