"""Workflow files that people have: a copy of every one that ever shipped still reads, and means what it meant.

`old_workflows/NAME.N.json` is the N-th version of workflows/NAME.json; versions that differ only in places, sizes and
notes are left out. When a shipped workflow changes, its new version goes there too; none is ever changed or removed.
"""

import json
from pathlib import Path

import pytest
from comfyui_ddim.executor import Context, Executor, object_info
from comfyui_ddim.executor.reading import read_workflow
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, STAND_IN_CLASS_MAPPINGS

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "tests" / "old_workflows").glob("*.json"))
CLASSES = {**STAND_IN_CLASS_MAPPINGS, **NODE_CLASS_MAPPINGS}
INFO = object_info(CLASSES)
CONTROLS = ("fixed", "increment", "decrement", "randomize")

every_file = pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)


def saved_values(node: dict) -> dict[str, object]:
    """A node's widget values by the names that the file itself gives its widgets."""
    names = [entry["widget"]["name"] for entry in node["inputs"] if "widget" in entry]
    values = list(node["widgets_values"])
    named = {}
    for name in names:
        named[name] = values.pop(0)
        if name in ("seed", "noise_seed") and values and values[0] in CONTROLS:
            values.pop(0)
    assert not values, f"{node['type']}: more values than widgets"
    return named


def test_there_are_all_of_them():
    assert len(FILES) >= 20 and {"text_to_image.1", "inpaint.1", "inpaint.3"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("workflow", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_what_ships_now_is_the_last_of_them(workflow):
    last = max(file for file in FILES if file.stem.rpartition(".")[0] == workflow.stem)
    assert read_workflow(last, INFO).nodes == read_workflow(workflow, INFO).nodes


@every_file
def test_an_old_workflow_says_the_same_as_ever(file):
    document = json.loads(file.read_text())
    prompt = read_workflow(file, INFO).nodes
    nodes = [node for node in document["nodes"] if "Note" not in node["type"]]
    assert set(prompt) == {str(node["id"]) for node in nodes}
    links = {link[0]: [str(link[1]), link[2]] for link in document["links"]}
    for node in nodes:
        told = prompt[str(node["id"])]
        assert told["class_type"] == node["type"]
        declared = CLASSES[node["type"]].INPUT_TYPES()
        of_inputs = {**declared.get("required", {}), **declared.get("optional", {})}
        linked = {entry["name"]: links[entry["link"]] for entry in node["inputs"] if entry["link"] is not None}
        saved = saved_values(node)  # with a slot for inputs that take a wire only, in which nothing stands
        kept = {name: value for name, value in saved.items() if not of_inputs[name][1].get("forceInput")}
        known = {**kept, **linked}
        assert {name: told["inputs"][name] for name in known} == known
        # What is new since then stands at what changes nothing: it is optional, so it may as well be missing.
        assert set(declared.get("required", {})) <= set(known)
        assert set(told["inputs"]) - set(known) <= set(declared.get("optional", {}))


@every_file
def test_an_old_workflow_has_no_fault(file, tmp_path):
    executor = Executor(CLASSES, context=Context(output_dir=tmp_path, temp_dir=tmp_path, device="cpu"))
    checked = executor.check(read_workflow(file, INFO).nodes)
    assert checked.accepted and not checked.node_errors, checked.node_errors


@pytest.mark.parametrize("name", ["text_to_image.1", "image_to_image.1", "inpaint.1", "guidance_schedule.1"])
def test_an_old_workflow_runs(name, tmp_path):
    prompt = read_workflow(Path(__file__).parents[1] / "old_workflows" / f"{name}.json", INFO).nodes
    for node in prompt.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 2
    executor = Executor(CLASSES, context=Context(output_dir=tmp_path, temp_dir=tmp_path, device="cpu"))
    result = executor.run(prompt)
    assert result.succeeded, result.failure or result.node_errors
    assert len(list(tmp_path.glob("*.png"))) == 1
