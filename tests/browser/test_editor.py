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
from editor import PACK, ROOT, needs_editor, read, with_curve

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
