"""The pack in ComfyUI's real editor: nodes, workflows, runs, help, languages, templates. editor.py says what it needs.

With SHOTS=folder a screenshot of every workflow is left there.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from editor import PACK, ROOT, SEEDS, needs_editor, read, with_curve

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
SHOTS = os.environ.get("SHOTS")

pytestmark = needs_editor


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


def film_and_plot():
    """A short run whose film strip and plot are nodes as they are when they have just been added.

    Both have a number of their own each time, so that they run.
    """
    workflow, seed = read("film_strip"), next(SEEDS)
    by_type = {node["type"]: node for node in workflow["nodes"]}
    by_type["DDIMSampler"]["widgets_values"][2] = 4
    by_type["DDIMSampler"]["widgets_values"][0] = seed
    by_type["DDIMFilmStrip"]["size"] = [300, 180]
    by_type["DDIMFilmStrip"]["pos"] = [100, 2000]
    inputs = [{"name": "model", "type": "MODEL", "link": 98}]
    plot = {"id": 99, "type": "DDIMPlot", "pos": [500, 2000], "size": [300, 300], "flags": {}, "order": 0, "mode": 0}
    plot |= {"inputs": inputs, "properties": {}, "widgets_values": [20, seed % 100, 0, 1, "steps", 768, 512]}
    plot["outputs"] = [{"name": "plot", "type": "IMAGE", "links": [99]}]
    shown = {"id": 97, "type": "PreviewImage", "pos": [900, 2000], "size": [200, 200], "flags": {}, "order": 0}
    shown |= {"mode": 0, "inputs": [{"name": "images", "type": "IMAGE", "link": 99}], "outputs": [], "properties": {}}
    by_type["DDIMLoadModel"]["outputs"][0]["links"].append(98)
    workflow["nodes"] += [plot, shown]
    workflow["links"] += [[98, by_type["DDIMLoadModel"]["id"], 0, 99, 0, "MODEL"], [99, 99, 0, 97, 0, "IMAGE"]]
    workflow["last_node_id"], workflow["last_link_id"] = 99, 99
    return workflow


def test_nodes_show_their_picture_and_grow_for_it(server, page, drawn):
    """As ComfyUI's own do; also where the picture comes from ComfyUI's cache, if that announces it again."""
    workflow = film_and_plot()
    info = server.asked("/object_info")
    again = "has_intermediate_output" in info["DDIMPlot"]
    for _ in range(2 if again else 1):
        page("open", {"workflow": workflow, "view": [100, 2000]})
        kinds = ("DDIMFilmStrip", "DDIMPlot", "PreviewImage")
        before = {kind: page("heightOf", kind) for kind in kinds}
        server.history(page("run")["answer"]["prompt_id"])
        grown = {}
        for kind in kinds:
            seen = page("pictureOn", kind)
            assert seen["inside"] and seen["width"] > 200, (kind, seen)
            grown[kind] = seen["height"] - before[kind]
        least = 200 if again else 100  # front ends of ComfyUIs that don't announce it again give a preview less room
        assert all(grown[kind] >= least for kind in kinds[:2]), grown


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


@pytest.fixture
def speaking(page):
    """`speaking(locale)`: the editor in another language, until the test is over."""
    spoken = []

    def speak(locale):
        spoken.append(locale)
        page("language", locale)

    yield speak
    if spoken:
        page("language", "en")


@pytest.mark.parametrize("locale", ["ko", "zh"])
def test_the_editor_speaks_other_languages(page, speaking, locale):
    written = json.loads((ROOT / "locales" / locale / "nodeDefs.json").read_text())
    speaking(locale)
    told = page("speak", {"node": "DDIMSampler", "widget": "eta"})
    for name, texts in written.items():
        shown = told["names"][name]
        assert shown["title"] == texts["display_name"]
        entries = {key: entry["name"] for key, entry in texts["inputs"].items() if key != "control_after_generate"}
        assert shown["inputs"] == entries
        assert shown["outputs"] == [entry["name"] for entry in texts["outputs"].values()]
    assert told["tooltip"].strip() == written["DDIMSampler"]["inputs"]["eta"]["tooltip"]


@pytest.fixture
def of_today(page):
    """The editor, where it is one that has app mode, blueprints of packs, and nodes that are elements in earnest."""
    if page("frontEnd") < [1, 49]:
        pytest.skip("not tried on this front end")


@pytest.mark.parametrize("drawn", ["as elements"], indirect=True)
def test_tooltips_of_nodes_as_elements(page, of_today, drawn):
    seen = page("tooltips", {"type": "DDIMSampler", "input": "x_T", "output": "steps_x0", "widget": "eta"})
    node = NODE_CLASS_MAPPINGS["DDIMSampler"]
    given = node.INPUT_TYPES()
    assert seen == {
        "title": node.DESCRIPTION,
        "input": given["optional"]["x_T"][1]["tooltip"],
        "output": node.OUTPUT_TOOLTIPS[3],
        "widget": given["required"]["eta"][1]["tooltip"],
    }


HELP = ROOT / "web" / "docs"


@pytest.mark.parametrize("locale", ["en", "ko", "zh"])
def test_every_node_has_its_help(page, speaking, locale):
    """Opened as a person does: its heading, lists and picture are there, no markdown shows, nothing is cut."""
    if locale != "en":
        speaking(locale)
    for name in NODE_CLASS_MAPPINGS:
        help = page("help", name)
        page("leaveHelp")
        written = (HELP / f"{name}.md" if locale == "en" else HELP / name / f"{locale}.md").read_text(encoding="utf-8")
        assert help["headings"] == re.findall(r"^##? (.+)", written, re.MULTILINE)
        if locale == "en":
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


BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))


@pytest.mark.parametrize("blueprint", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_can_be_found_inserted_and_run(server, page, of_today, drawn, blueprint):
    wires = page("sources")
    assert page("addBySearch", blueprint.stem) == blueprint.stem
    shown = page("wireLast", wires)
    assert shown
    made = list(server.pictures(server.history(page("run")["answer"]["prompt_id"]), ("temp",)))
    assert len(made) >= shown and all(np.asarray(picture).std() > 0 for picture in made)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_shipped_workflow_opens_as_an_app(page, of_today, workflow):
    written = json.loads(workflow.read_text())
    page("open", {"workflow": written})
    seen = page("asApp")
    titles = [widget for _, widget, *_ in written["extra"]["linearData"]["inputs"]]
    assert [label for label, _ in seen["widgets"]] == titles and seen["runs"]
    assert all(height > 40 for _, height in seen["widgets"])
