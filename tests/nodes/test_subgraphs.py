"""The subgraph blueprints that ship: placed in a workflow and run by the executor, each gives what its nodes give."""

import json
from pathlib import Path

import pytest
import torch
from comfyui_ddim.executor import Executor, object_info
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.executor.reading import read_workflow
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, STAND_IN_CLASS_MAPPINGS

FOLDER = Path(__file__).parents[2] / "subgraphs"
FILES = sorted(FOLDER.glob("*.json"))
CLASSES = {**STAND_IN_CLASS_MAPPINGS, **NODE_CLASS_MAPPINGS}
INFO = object_info(CLASSES)
PROMPT, EDITED = "a large red sphere in the middle on a green floor under a blue sky", "a large blue cube in the middle"
MODEL, COND, EMPTY, IMAGE, MASK, OTHER = range(10, 16)
SOURCES = {
    MODEL: ("DDIMLoadModel", ["ddim-scenes.safetensors"]),
    COND: ("DDIMConditioning", [PROMPT, ""]),
    EMPTY: ("DDIMEmptyLatent", [64, 64, 1]),
    IMAGE: ("DDIMExampleImage", ["red-sphere"]),
    MASK: ("DDIMMask", ["rectangle", 128, 128, 0.5, 0.0, 1.0, 1.0, 0, False]),
    OTHER: ("DDIMConditioning", [EDITED, ""]),
}
WIRES = {
    "model": (MODEL, 0),
    "vae": (MODEL, 2),
    "positive": (COND, 0),
    "described_by": (COND, 0),
    "negative": (COND, 1),
    "edited_to": (OTHER, 0),
    "latent": (EMPTY, 0),
    "image": (IMAGE, 0),
    "mask": (MASK, 0),
}
"""Where each input of a blueprint comes from, by its name."""


class Keep:
    """Keeps what comes in under a name, for the test to see."""

    seen: dict

    RETURN_TYPES, FUNCTION, OUTPUT_NODE, CATEGORY = (), "keep", True, "x"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*",), "name": ("STRING", {"default": ""})}}

    def keep(self, value, name):
        self.seen[name] = value
        return {"ui": {}}


def own_node(id, kind, values, wires, links):
    """A node of the browser's form; `wires` are (input, source, output)."""
    declared = CLASSES[kind].INPUT_TYPES() if kind != "Keep" else Keep.INPUT_TYPES()
    inputs = []
    for name, (type_, *_) in {**declared.get("required", {}), **declared.get("optional", {})}.items():
        entry = {"name": name, "type": "COMBO" if isinstance(type_, list) else type_, "link": None}
        if isinstance(type_, list) or type_ in ("INT", "FLOAT", "STRING", "BOOLEAN"):
            entry["widget"] = {"name": name}
        inputs.append(entry)
    for name, source, output in wires:
        place = next(i for i, entry in enumerate(inputs) if entry["name"] == name)
        inputs[place]["link"] = len(links) + 1
        links.append([len(links) + 1, source, output, id, place, inputs[place]["type"]])
    return {"id": id, "type": kind, "mode": 0, "inputs": inputs, "outputs": [], "widgets_values": values}


def placed(file):
    """A workflow with the blueprint between real nodes, every input wired that takes a wire, every output kept."""
    document, links = json.loads(file.read_text()), []
    (host,) = document["nodes"]
    nodes = [host]
    for id, (kind, values) in SOURCES.items():
        nodes.append(own_node(id, kind, values, [("clip", MODEL, 1)] if kind == "DDIMConditioning" else [], links))
    for place, entry in enumerate(host["inputs"]):
        if "widget" not in entry:
            source, output = WIRES[entry["name"]]
            entry["link"] = len(links) + 1
            links.append([len(links) + 1, source, output, host["id"], place, entry["type"]])
    for place, entry in enumerate(host["outputs"]):
        nodes.append(own_node(20 + place, "Keep", [entry["name"]], [("value", host["id"], place)], links))
    return {**document, "nodes": nodes, "links": links}


def run(file, tmp_path, **changes):
    """What the blueprint gives, by its outputs' names; `changes` are values of the widgets of inner nodes."""
    seen = {}
    classes = {**CLASSES, "Keep": type("Keep", (Keep,), {"seen": seen})}
    document = placed(file)
    path = tmp_path / "w.json"
    path.write_text(json.dumps(document))
    prompt = read_workflow(path, object_info(classes)).nodes
    for node in prompt.values():
        known = CLASSES[node["class_type"]].INPUT_TYPES() if node["class_type"] in CLASSES else {}
        for name, value in changes.items():
            if name in {**known.get("required", {}), **known.get("optional", {})}:
                node["inputs"][name] = value
    result = Executor(classes, context=Context(device="cpu")).run(prompt)
    assert result.succeeded, (result.node_errors, result.failure)
    assert list(seen) and set(seen) == {entry["name"] for entry in document["nodes"][0]["outputs"]}
    return seen


def by_hand(name, *inputs, **more):
    cls = CLASSES[name]
    with using(Context(device="cpu")), torch.inference_mode():
        return getattr(cls(), cls.FUNCTION)(*inputs, **more)


@pytest.fixture(scope="module")
def shipped():
    model, clip, vae = by_hand("DDIMLoadModel", "ddim-scenes.safetensors")
    positive, negative = by_hand("DDIMConditioning", clip, PROMPT, "")
    (image,) = by_hand("DDIMExampleImage", "red-sphere")
    return model, clip, vae, positive, negative, image


def test_there_are_four():
    names = {"Inpaint with Mask and x0", "Invert and Edit", "Film Strip of a Run", "Guidance Curve with Plot"}
    assert {file.stem for file in FILES} == {f"{name} (DDIM)" for name in names}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_blueprint_is_what_the_node_library_shows(file):
    document = json.loads(file.read_text())
    ((host,), (graph,)) = document["nodes"], document["definitions"]["subgraphs"]
    assert host["type"] == graph["id"] and host["title"] == graph["name"] == file.stem
    assert graph["category"] == "DDIM" and graph["description"].endswith(".")
    assert [entry["name"] for entry in host["inputs"]] == [entry["name"] for entry in graph["inputs"]]
    inner = {str(node["id"]): node for node in graph["nodes"]}
    assert all(node["type"] in NODE_CLASS_MAPPINGS for node in inner.values())
    promoted = [entry["name"] for entry in host["inputs"] if "widget" in entry]
    for (node, widget), name in zip(host["properties"]["proxyWidgets"], promoted, strict=True):
        assert any(entry.get("widget", {}).get("name") == widget for entry in inner[node]["inputs"]), name
    boxes = [(*node["pos"], *node["size"]) for node in inner.values()]
    for i, (x, y, width, height) in enumerate(boxes):
        assert all(x + width <= a or a + b <= x or y + height <= c or c + d <= y for a, c, b, d in boxes[i + 1 :])


def test_inpainting_keeps_what_the_mask_leaves_out(tmp_path, shipped):
    model, _, vae, positive, negative, image = shipped
    made = run(FOLDER / "Inpaint with Mask and x0 (DDIM).json", tmp_path, steps=3, seed=4)
    (kept,) = by_hand("DDIMEncode", image, vae)
    (mask,) = by_hand("DDIMMask", *SOURCES[MASK][1])
    wanted = by_hand("DDIMSampler", model, positive, negative, kept, 4, 3, 5.0, 0.0, 1.0, mask=mask, x0=kept)[0]
    assert torch.equal(made["latent"]["samples"], wanted["samples"])
    assert torch.equal(made["image"], by_hand("DDIMDecode", wanted, vae)[0])
    assert (made["latent"]["samples"] - kept["samples"])[..., :8].abs().max() < 1e-4


def test_the_edit_starts_from_the_image_s_noise(tmp_path, shipped):
    model, clip, vae, positive, negative, image = shipped
    made = run(FOLDER / "Invert and Edit (DDIM).json", tmp_path, steps=3, iterations=2)
    (latent,) = by_hand("DDIMEncode", image, vae)
    x_T = by_hand("DDIMInvert", model, positive, negative, latent, 3, 1.0, "fixed point", 2, 1e-4, 1.0)[0]
    assert torch.equal(made["x_T"]["samples"], x_T["samples"])
    edited, _ = by_hand("DDIMConditioning", clip, EDITED, "")
    wanted = by_hand("DDIMSampler", model, edited, negative, latent, 0, 3, 3.0, 0.0, 1.0, x_T=x_T)[0]
    assert torch.equal(made["image"], by_hand("DDIMDecode", wanted, vae)[0])


def test_the_strip_shows_the_steps(tmp_path, shipped):
    model, _, vae, positive, negative, _ = shipped
    made = run(FOLDER / "Film Strip of a Run (DDIM).json", tmp_path, steps=6, log_every_t=3, columns=2, seed=2)
    (latent,) = by_hand("DDIMEmptyLatent", 64, 64, 1)
    wanted, _, x, x0 = by_hand("DDIMSampler", model, positive, negative, latent, 2, 6, 5.0, 0.0, 1.0)
    assert torch.equal(made["latent"]["samples"], wanted["samples"])
    steps = ({"samples": each["samples"][[2, 5]]} for each in (x, x0))
    upper, lower = (by_hand("DDIMDecode", each, vae)[0] for each in steps)
    assert (made["film_strip"] - by_hand("DDIMFilmStrip", upper, 2, 4, lower)[0]).abs().max() < 1e-5
    assert torch.equal(made["image"], by_hand("DDIMDecode", wanted, vae)[0])


def test_the_curve_is_the_one_that_is_drawn(tmp_path, shipped):
    made = run(FOLDER / "Guidance Curve with Plot (DDIM).json", tmp_path, shape="linear", start=4.0, end=2.0)
    (curve,) = by_hand("DDIMGuidanceSchedule", "linear", 4.0, 2.0, 0.0, 1.0)
    assert made["guidance"](0.5) == curve(0.5) == 3.0
    wanted = by_hand("DDIMPlot", shipped[0], 20, 5.0, 0.0, 1.0, "steps", 768, 512, guidance_schedule=curve)[0]
    assert torch.equal(made["plot"], wanted)
