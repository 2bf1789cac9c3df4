"""The pack in ComfyUI's real editor, in Chromium: runs where COMFYUI_DIR names a ComfyUI checkout.

Needs, besides: COMFYUI_PYTHON, the interpreter that runs that ComfyUI (default: this one); CHROMIUM, the browser
(default: `chromium` on the PATH); node, with playwright-core on its NODE_PATH. Nothing is installed or fetched.
With SHOTS=folder a screenshot of every workflow is left there.
"""

import json
import os
import re
import shutil
import subprocess
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

HERE = Path(__file__).parent
ROOT = HERE.parent
PACK = "ComfyUI-DDIM"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
SHOTS = os.environ.get("SHOTS")

pytestmark = pytest.mark.skipif(
    not ("COMFYUI_DIR" in os.environ and CHROMIUM and shutil.which("node") and os.environ.get("NODE_PATH")),
    reason="needs COMFYUI_DIR, chromium, node and a NODE_PATH with playwright-core",
)


@pytest.fixture(scope="module")
def server(run_comfyui):
    with run_comfyui({PACK: ROOT}, "--preview-method", "latent2rgb") as server:
        yield server


@pytest.fixture(scope="module")
def page(server):
    """`page(scene, given)`: a function of browser/scenes.mjs in the page of that server."""
    command = ["node", HERE / "browser" / "drive.mjs", server.url, CHROMIUM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as browser:

        def page(scene, given=None):
            print(json.dumps([scene, given]), file=browser.stdin, flush=True)
            line = browser.stdout.readline()
            assert line, "the browser has gone"
            told = json.loads(line)
            assert "error" not in told, told["error"]
            return told["answer"]

        try:
            yield page
        finally:
            browser.stdin.close()
            browser.wait(30)


@pytest.fixture(params=["on the canvas", "as elements"])
def drawn(request, page):
    """The editor's two ways to draw nodes; older ones have only the first."""
    as_elements = request.param == "as elements"
    if not page("drawNodes", as_elements) and as_elements:
        pytest.skip("this editor draws nodes on its canvas only")
    yield
    page("drawNodes", False)


def read(name):
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text())


SEEDS = count(1000)


def with_curve(curve, steps):
    """The workflow text_to_image with a DDIMCurve wired into the sampler's guidance, and that many steps.

    Each has a seed of its own, so that ComfyUI runs it and finds nothing in its cache.
    """
    workflow = read("text_to_image")
    (sampler,) = (node for node in workflow["nodes"] if node["type"] == "DDIMSampler")
    sampler["widgets_values"][0], sampler["widgets_values"][2] = next(SEEDS), steps
    workflow["last_node_id"], workflow["last_link_id"] = node, link = 99, 99
    slot = next(i for i, entry in enumerate(sampler["inputs"]) if entry["name"] == "guidance_schedule")
    sampler["inputs"][slot]["link"] = link
    workflow["links"].append([link, node, 0, sampler["id"], slot, "DDIM_CURVE"])
    workflow["nodes"].append(
        {
            "id": node,
            "type": "DDIMCurve",
            "pos": [40, 420],
            "size": [340, 300],
            "flags": {},
            "order": 0,
            "mode": 0,
            "inputs": [{"name": "values", "type": "FLOAT", "link": None, "shape": 7}],
            "outputs": [{"name": "curve", "type": "DDIM_CURVE", "links": [link]}],
            "properties": {},
            "widgets_values": [curve],
        }
    )
    return workflow


@pytest.fixture
def curve(page, drawn):
    """`curve()` opens it anew and tells how it is there; an editor with a curve of three points and four steps."""
    page("open", {"workflow": with_curve("0: 7.5, 0.5: 5, 1: 1", 4), "view": [40, 420]})
    return lambda: page("curve")


def middle(a, b):
    return [(p + q) / 2 for p, q in zip(a, b, strict=True)]


def moved(at, right, down):
    return [at[0] + right, at[1] + down]


def test_every_node_can_be_added(page):
    added = {node["name"]: node for node in page("addEveryNode")}
    assert set(added) == set(NODE_CLASS_MAPPINGS)
    for name, node in added.items():
        assert node["title"] and node["title"] != name
        assert node["widgets"] + node["slots"] > 0
        assert all(size >= needed - 1 for size, needed in zip(node["size"], node["needs"], strict=True)), node


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_shipped_workflows_open_and_become_pictures(server, page, workflow):
    written = json.loads(workflow.read_text())
    page("open", {"workflow": written})
    seen = page("inspect")
    assert (seen["nodes"], seen["wires"]) == (len(written["nodes"]), len(written["links"]))
    assert {wrong: seen[wrong] for wrong in ("missing", "open", "over", "small", "dialogs") if seen[wrong]} == {}
    made = list(server.pictures(server.history(page("run")["answer"]["prompt_id"])))
    assert made and all(np.asarray(picture).std() > 0 for picture in made)
    page("until", {"kind": "execution_success"})
    assert page("inspect")["over"] == []  # with the pictures that its nodes show now
    if SHOTS:
        page("shot", str(Path(SHOTS) / f"{workflow.stem}.png"))


@pytest.mark.parametrize("drawn", ["as elements"], indirect=True)
def test_every_input_and_output_has_a_dot(page, drawn):
    workflow = read("text_to_image")
    page("open", {"workflow": workflow})
    dots = page("dots")
    slots = sum(len(node.get("inputs", [])) + len(node.get("outputs", [])) for node in workflow["nodes"])
    widgets = sum("widget" in entry for node in workflow["nodes"] for entry in node.get("inputs", []))
    assert len(dots) >= slots - widgets and "rgba(0, 0, 0, 0)" not in dots


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
    assert node["inputs"] == {"curve": text}
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
    assert node["widgets_values"] == [curve()["text"]]
    assert saved["output"]["99"]["inputs"] == {"curve": curve()["text"]}
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
    assert page("curve")["notice"] == "The wired values count, not this curve."
    assert page("curve")["points"] == []
    ran = page("run")
    assert ran["prompt"]["99"]["inputs"] == {"curve": "0: 7.5, 1: 1", "values": ["100", 0]}
    assert list(server.pictures(server.history(ran["answer"]["prompt_id"])))


def test_a_guidance_schedule_shows_its_curve(page, drawn):
    workflow = read("guidance_schedule")
    page("open", {"workflow": workflow, "view": [400, 700]})
    seen = page("curve", "DDIMGuidanceSchedule")
    (node,) = (node for node in workflow["nodes"] if node["type"] == "DDIMGuidanceSchedule")
    assert node["widgets_values"] == ["interval", 6.0, 1.0, 0.0, 0.5]
    assert seen["said"] == f"Values of the 20 steps: {', '.join(['6'] * 10 + ['1'] * 10)}"
    page("set", {"type": "DDIMGuidanceSchedule", "widget": "end", "value": 2.0})
    assert page("curve", "DDIMGuidanceSchedule")["said"].endswith("6, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2")


def test_progress_and_previews_show_while_sampling(page, drawn):
    page("open", {"workflow": with_curve("2.5", 60)})
    page("run")
    page("until", {"kind": "b_preview", "count": 3})
    seen = page("shownOn", "DDIMSampler")
    assert seen["picture"] and (seen["progress"] is None or 0 < seen["progress"] < 1), seen
    page("until", {"kind": "execution_success"})
    told = page("told")
    assert any(each["kind"] == "progress" and each["value"] == 60 for each in told)
    assert all(each["size"] > 100 for each in told if each["kind"] == "b_preview")


def test_cancelling_stops_within_one_step(server, page):
    page("open", {"workflow": with_curve("3.5", 1000)})
    ran = page("run")
    page("until", {"kind": "progress", "count": 5})
    stopped = page("interrupt")
    history = server.history(ran["answer"]["prompt_id"])
    assert history["status"]["status_str"] == "error" and not history["outputs"]
    times = {kind: message["timestamp"] for kind, message in history["status"]["messages"]}
    assert stopped["last"] < 1000
    step = (times["execution_interrupted"] - times["execution_start"]) / stopped["last"]
    assert times["execution_interrupted"] - stopped["answered"] < step + 500  # milliseconds, on a busy machine


def test_an_error_of_a_run_is_told_in_plain_words(page, drawn):
    workflow = with_curve("2", 1000)
    (sampler,) = (node for node in workflow["nodes"] if node["type"] == "DDIMSampler")
    sampler["widgets_values"][5] = 0.5
    page("open", {"workflow": workflow})
    page("run")
    page("until", {"kind": "execution_error"})
    said = page("complaints")
    assert said["marked"] == ["DDIMSampler"]
    assert "need a table of 2000, expected at most 1000" in said["words"]


def test_an_unreadable_curve_is_told_in_plain_words(page, drawn):
    page("open", {"workflow": with_curve("0: 7, 0.5", 3), "view": [40, 420]})
    assert page("curve")["notice"] == "not 'progress: value': 0.5"
    page("run")
    said = page("complaints")
    assert "DDIMCurve" in said["marked"]
    assert "expected 'progress: value' with two numbers" in said["words"]


@pytest.mark.parametrize("locale", ["ko", "zh"])
def test_the_editor_speaks_other_languages(page, locale):
    written = json.loads((ROOT / "locales" / locale / "nodeDefs.json").read_text())
    try:
        told = page("speak", {"locale": locale, "node": "DDIMSampler", "widget": "eta"})
    finally:
        page("speak", {"locale": "en", "node": "DDIMSampler", "widget": "eta"})
    for name, texts in written.items():
        shown = told["names"][name]
        assert shown["title"] == texts["display_name"]
        entries = {key: entry["name"] for key, entry in texts["inputs"].items() if key != "control_after_generate"}
        assert shown["inputs"] == entries
        assert shown["outputs"] == [entry["name"] for entry in texts["outputs"].values()]
    assert told["tooltip"].strip() == written["DDIMSampler"]["inputs"]["eta"]["tooltip"]


def test_every_node_has_its_help(page):
    """Opened as a person does: its heading, lists and picture are there, no markdown shows, nothing is cut."""
    for name in NODE_CLASS_MAPPINGS:
        help = page("help", name)
        page("leaveHelp")
        assert help["headings"][:3] == [NODE_DISPLAY_NAME_MAPPINGS[name], "Inputs", "Outputs"]
        ((picture, width),) = help["pictures"]
        assert picture == f"{name}.png" and width > 0
        assert help["entries"] > 1 and help["beyond"] <= 0
        assert not re.search(r"\*\*|\||`|!\[|^#", help["prose"], re.MULTILINE)


def test_templates_have_thumbnails_and_open(page):
    page("open", {"workflow": read("text_to_image")})
    given, seen = page("templates", PACK)
    names = {path.stem for path in WORKFLOWS}
    assert set(given) == names
    assert {name for name, _ in seen} <= names and all(width >= 128 for _, width in seen)
    page("openTemplate", {"name": "variations"})
    assert page("inspect")["nodes"] == len(read("variations")["nodes"])
