"""Every shipped workflow in ComfyUI and in the headless runner: the same latents, at every node that gives some.

These tests run where COMFYUI_DIR names a ComfyUI checkout with its requirements.
"""

import asyncio
import importlib
import os
import shutil
from pathlib import Path

import pytest
from comfyui_ddim.executor import Context, Executor, object_info
from comfyui_ddim.executor.comfyui import load_comfyui
from comfyui_ddim.executor.reading import read_workflow
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, STAND_IN_CLASS_MAPPINGS

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
SCALE = 0.18215
"""From a latent as ComfyUI keeps it to one as the model sees it."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Node classes and folders: of the headless runner, and of ComfyUI with this pack in it."""
    base = tmp_path_factory.mktemp("hosts")
    own = Context(output_dir=base / "light", temp_dir=base / "temp", input_dir=base / "input", device="cpu")
    for folder in (own.input_dir, own.output_dir, own.temp_dir, base / "comfyui"):
        folder.mkdir()
    for picture in (ROOT / "workflows" / "pictures").iterdir():
        shutil.copy(picture, own.input_dir)
    theirs = Context(output_dir=base / "comfyui", temp_dir=base / "temp", input_dir=own.input_dir, device="cpu")
    classes, _, theirs = load_comfyui(Path(os.environ["COMFYUI_DIR"]), theirs)
    assert asyncio.run(importlib.import_module("nodes").load_custom_node(str(ROOT)))
    light = {**STAND_IN_CLASS_MAPPINGS, **NODE_CLASS_MAPPINGS}
    assert classes["DDIMSampler"] is not light["DDIMSampler"]
    return (light, own), (classes, theirs)


def recording(classes, seen, theirs):
    """The classes, whose nodes leave the latents they give in `seen`, each with the node's class and the output.

    Of classes that have the newer form in ComfyUI, what Decode gets of them.
    """

    def recorded(name, cls):
        function = cls.FUNCTION

        def work(self, **inputs):
            if name == "DDIMDecode" and not any(inputs["samples"]["samples"] is each for _, each in seen):
                seen.append(("given to DDIMDecode", inputs["samples"]["samples"]))
            outputs = getattr(super(Recorded, self), function)(**inputs)
            found = outputs.get("result", ()) if isinstance(outputs, dict) else outputs
            for place, each in enumerate(found):
                if isinstance(each, dict) and "samples" in each:
                    seen.append((f"{name} {place}", each["samples"]))
            return outputs

        Recorded = type(cls.__name__, (cls,), {function: work})
        return Recorded

    made = {name: cls for name, cls in classes.items() if "LATENT" in getattr(cls, "RETURN_TYPES", ())}
    classic = [name for name in made if not hasattr(theirs[name], "execute")]
    return {**classes, **{name: recorded(name, classes[name]) for name in (*classic, "DDIMDecode")}}


def latents(hosts, place, workflow, change=None):
    """What every node that gives latents gave, in the order of the run; `change` may make another prompt of it."""
    classes, context = hosts[place]
    seen = []
    prompt = read_workflow(workflow, object_info(classes)).nodes
    prompt = change(prompt) if change else prompt
    result = Executor(recording(classes, seen, hosts[1][0]), context=context).run(prompt)
    assert result.succeeded, (result.node_errors, result.failure)
    return seen


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_the_same_latents_in_both(hosts, workflow):
    ours, theirs = (latents(hosts, place, workflow) for place in (0, 1))
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    assert any(name.startswith("DDIM") for name, _ in ours)
    of_parts = ("SamplerCustomAdvanced 0", "given to DDIMDecode")
    assert sum(name in of_parts for name, _ in ours) == 2 * (workflow.stem == "sampler_in_parts")
    for (name, a), (_, b) in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        apart = (a - b).abs().flatten(1).amax(dim=1) * SCALE
        # Of x0 at every step the noisier half is eps' difference up to twelvefold.
        noisier = len(apart) // 2 if name == "DDIMSampler 3" else 0
        assert (apart[:noisier] <= 1e-3).all() and (apart[noisier:] <= 1e-4).all(), name


def with_curve_editor(prompt):
    """ComfyUI's Curve Editor, by Curve (DDIM), as the sampler's guidance."""
    points = [[0.0, 0.75], [0.3, 0.7], [1.0, 0.1]]
    drawn = {"class_type": "CurveEditor", "inputs": {"curve": {"points": points, "interpolation": "monotone_cubic"}}}
    curve = {"curve": "1", "drawn": ["drawn", 0], "drawn_range": "1, 9"}
    nodes = {**prompt, "drawn": drawn, "curve": {"class_type": "DDIMCurve", "inputs": curve}}
    (sampler,) = (node_id for node_id, node in prompt.items() if node["class_type"] == "DDIMSampler")
    inputs = {**prompt[sampler]["inputs"], "guidance_schedule": ["curve", 0]}
    return {**nodes, sampler: {"class_type": "DDIMSampler", "inputs": inputs}}


def test_comfyuis_curve_editor_drives_a_run_in_both(hosts):
    if "CurveEditor" not in hosts[1][0]:
        pytest.skip("this ComfyUI has no CurveEditor")
    workflow = ROOT / "workflows" / "text_to_image.json"
    ours, theirs = (dict(latents(hosts, place, workflow, with_curve_editor))["DDIMSampler 0"] for place in (0, 1))
    assert (ours - theirs).abs().max() * SCALE <= 1e-4
    usual = dict(latents(hosts, 0, workflow))["DDIMSampler 0"]
    assert (ours - usual).abs().max() * SCALE > 0.1


def guessing(prompt):
    """The ControlNet in guess mode, and the negative prompt without it."""
    by_class = {node["class_type"]: (node_id, dict(node["inputs"])) for node_id, node in prompt.items()}
    by_class["DDIMLoadControlNet"][1]["guess_mode"] = True
    by_class["DDIMSampler"][1]["negative"] = by_class["ControlNetApplyAdvanced"][1]["negative"]
    return {**prompt, **{i: {"class_type": name, "inputs": inputs} for name, (i, inputs) in by_class.items()}}


def test_guess_mode_in_both(hosts):
    workflow = ROOT / "workflows" / "controlnet.json"
    ours, theirs = (dict(latents(hosts, place, workflow, guessing))["DDIMSampler 0"] for place in (0, 1))
    assert (ours - theirs).abs().max() * SCALE <= 1e-4
    usual = dict(latents(hosts, 0, workflow))["DDIMSampler 0"]
    assert (ours - usual).abs().max() * SCALE > 0.1
