"""VALIDATE_INPUTS and IS_CHANGED of every class, for a wired value and for whatever else a workflow may hold."""

import importlib.util
import inspect
import itertools
import json
import re

import pytest
import torch
from comfyui_ddim.executor import Executor
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, STAND_IN_CLASS_MAPPINGS
from comfyui_ddim.prompts.constants import WIDGETS as CONSTANTS
from comfyui_ddim.prompts.messages import fault_lines

ALL = {**STAND_IN_CLASS_MAPPINGS, **NODE_CLASS_MAPPINGS}
JUDGING = {name: node for name, node in ALL.items() if hasattr(node, "VALIDATE_INPUTS")}
ANYTHING = [5, -1, 1.5, True, float("nan"), "", "x", "\0", "\ud800", "a" * 100_000, "../..", "(" * 5000, "9" * 5000]
ANYTHING += [{}, {"a": 1}, [], ["x"], [1, 2, 3], b"x", "\n\x1b[31m", "C:\\x", "nan: 1", "0:1," * 9999, "-" * 400 + "1"]


@pytest.fixture(autouse=True)
def packages(monkeypatch):
    """As if every package that a node may need were there: its absence is another fault than a value's."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: found(name, *more) or name)


def judged(node, name, value):
    many = getattr(node, "INPUT_IS_LIST", False)
    return node.VALIDATE_INPUTS(**{name: [value] if many else value})


def parameters(node):
    return list(inspect.signature(node.VALIDATE_INPUTS).parameters)


def test_some_judge():
    assert {"DDIMCurve", "DDIMSchedule", "SaveImage", "LoadImage", "CheckpointLoaderSimple", "KSampler"} <= set(JUDGING)


@pytest.mark.parametrize("name", JUDGING)
def test_a_wired_value_is_judged_when_it_is_there(tmp_path, name):
    with using(Context(tmp_path, tmp_path, tmp_path, tmp_path)):
        assert JUDGING[name].VALIDATE_INPUTS() is True
        for parameter in parameters(JUDGING[name]):
            assert judged(JUDGING[name], parameter, None) is True


EXPECTED = {
    "Canny": ["expected 0.01 to 0.99"],
    "CurveEditor": ["expected 1 to 1000 points", "expected two numbers [x, y]"],
}
"""What is said to expect, of inputs that aren't texts."""


@pytest.mark.parametrize("name", JUDGING)
@pytest.mark.parametrize("value", ANYTHING, ids=lambda value: repr(value)[:20])
def test_any_value_is_judged_in_a_line(tmp_path, name, value):
    with using(Context(tmp_path, tmp_path, tmp_path, tmp_path)):
        for parameter in parameters(JUDGING[name]):
            said = judged(JUDGING[name], parameter, value)
            assert said is True or (isinstance(said, str) and said and len(said) < 3000)
            if not isinstance(value, str):
                assert any(words in said for words in EXPECTED.get(name, ["expected text"]))


@pytest.mark.parametrize("name", [name for name, node in ALL.items() if hasattr(node, "IS_CHANGED")])
def test_a_wired_value_always_counts_as_changed(tmp_path, name):
    with using(Context(tmp_path, tmp_path, tmp_path, tmp_path)):
        changed = ALL[name].IS_CHANGED(**{next(iter(ALL[name].INPUT_TYPES()["required"])): None})
        assert changed != changed


class AnyType(str):
    """A type that fits every input."""

    def __ne__(self, other):
        return False


class Give:
    """Gives what a wire may bring."""

    FUNCTION, CATEGORY, RETURN_TYPES = "give", "", (AnyType("*"), "STRING")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}


class Take:
    """An output node for those that have no output of their own."""

    FUNCTION, CATEGORY, RETURN_TYPES, OUTPUT_NODE = "take", "", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"optional": {"given": (AnyType("*"),)}}


def alone(node, changes):
    """A prompt of this one node: widgets at their defaults, whatever else by wire, and an output node if it is none."""
    inputs = {}
    for name, (kind, *options) in ALL[node].INPUT_TYPES()["required"].items():
        given = options[0].get("default") if options else None
        if given is None and isinstance(kind, list):
            given = kind[0] if kind else "x"
        inputs[name] = ["1", 0] if given is None else given
    prompt = {"1": {"class_type": "Give", "inputs": {}}, "2": {"class_type": node, "inputs": {**inputs, **changes}}}
    if not getattr(ALL[node], "OUTPUT_NODE", False):
        prompt["3"] = {"class_type": "Take", "inputs": {"given": ["2", 0]}}
    return prompt


RAW = re.compile(r"\b(None|True|False|nan|inf|dict|NoneType)\b|\{'|: '")


@pytest.mark.parametrize("node", ALL)
def test_a_wrong_value_is_told_before_the_work_as_the_file_has_it(tmp_path, node):
    """null and true, not None and True; null and objects are no value of any widget, also not in Python's words."""
    classes = {**ALL, "Give": Give, "Take": Take}
    widgets = [
        name
        for part in ("required", "optional")
        for name, declared in ALL[node].INPUT_TYPES().get(part, {}).items()
        if isinstance(declared[0], list) or declared[0] in CONSTANTS
    ]
    for name, value in itertools.product(widgets, [None, True, {"a": None, "b": [True]}]):
        prompt = alone(node, {name: value})
        with using(Context(tmp_path, tmp_path, tmp_path, tmp_path)):
            lines = fault_lines(prompt, Executor(classes).check(prompt), classes)
        told = [line for line in lines if f"input {name}: " in line]
        if value is None or isinstance(value, dict):
            assert len(told) == 1 and json.dumps(value) in told[0], lines
        for line in told:
            assert not RAW.search(line.partition("is not one of ")[0]), line


@pytest.mark.parametrize("name", ["", "no such"])
def test_a_link_to_an_input_that_is_not_there_is_told_before_the_work(tmp_path, name):
    classes = {**ALL, "Give": Give, "Take": Take}
    for node in ALL:
        prompt = alone(node, {name: ["1", 0]})
        with using(Context(tmp_path, tmp_path, tmp_path, tmp_path)):
            lines = fault_lines(prompt, Executor(classes).check(prompt), classes)
        assert any("but the node has no such input; it has" in line for line in lines), node


TEXTS = [
    (node, name)
    for node, cls in ALL.items()
    for name, declared in cls.INPUT_TYPES()["required"].items()
    if declared[0] == "STRING"
]


@pytest.mark.parametrize(("node", "name"), TEXTS)
def test_a_text_may_come_over_a_wire(tmp_path, node, name):
    """The graph is valid: what the wire brings is judged once it is there."""
    inputs = {}
    for other, (kind, *options) in ALL[node].INPUT_TYPES()["required"].items():
        given = options[0].get("default") if options else None
        inputs[other] = ["1", 1] if other == name else ["1", 0] if given is None else given
        assert given is not None or not isinstance(kind, list)
    prompt = {"1": {"class_type": "Give", "inputs": {}}, "2": {"class_type": node, "inputs": inputs}}
    if not getattr(ALL[node], "OUTPUT_NODE", False):
        prompt["3"] = {"class_type": "Take", "inputs": {"given": ["2", 0]}}
    with using(Context(tmp_path, tmp_path, tmp_path, tmp_path)):
        verdict = Executor({**ALL, "Give": Give, "Take": Take}).check(prompt)
    assert verdict.accepted and not verdict.node_errors


@pytest.mark.parametrize("value", [None, 5, {}, [], b"x", float("nan")])
def test_a_wire_that_brings_no_text_is_a_value_error(tmp_path, value):
    """As it may over a wire of any type; the command line ends such a run with a line and exit code 2."""
    calls = {
        "DDIMCurve": lambda node: node.make([value]),
        "DDIMSchedule": lambda node: node.make("exact", "as preset", "as preset", value),
        "LoadImage": lambda node: node.load_image(value),
        "LoadImageMask": lambda node: node.load_image(value, "red"),
        "SaveImage": lambda node: node.save_images(torch.zeros(1, 8, 8, 3), value),
        "CheckpointLoaderSimple": lambda node: node.load_checkpoint(value),
        "DDIMLoadModel": lambda node: node.load(value),
        "VAELoader": lambda node: node.load_vae(value),
        "ControlNetLoader": lambda node: node.load_controlnet(value),
        "DDIMExampleImage": lambda node: node.read(value),
    }
    with using(Context(tmp_path, tmp_path, tmp_path, tmp_path)):
        for name, call in calls.items():
            with pytest.raises(ValueError, match=r"expected|not one of"):
                call(ALL[name]())
