"""Checks that need ComfyUI's modules in the process; `test_executor_comfyui.py` runs them where COMFYUI_DIR is set."""

import asyncio
import copy
import json
import logging
import os
import random
from pathlib import Path

import pytest
from comfyui_ddim.executor import Context, Executor, object_info
from comfyui_ddim.executor.comfyui import load_comfyui

COMFYUI = Path(os.environ["COMFYUI_DIR"])
COMFY_CLASSES, _, _ = load_comfyui(COMFYUI, Context(device="cpu"))

import execution  # noqa: E402
from comfy_api.latest import io  # noqa: E402
from comfy_execution.graph_utils import ExecutionBlocker, GraphBuilder  # noqa: E402
from comfyui_rules import RULES  # noqa: E402

import nodes as comfyui_nodes  # noqa: E402

logging.disable(logging.ERROR)


def prompt(**nodes):
    return {node_id: {"class_type": kind, "inputs": inputs} for node_id, (kind, inputs) in nodes.items()}


# --- the newer form of node class


class Plus(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Plus",
            inputs=[io.Int.Input("a", min=0, max=5), io.Int.Input("b", optional=True)],
            outputs=[io.Int.Output()],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(cls, a, b=10):
        hidden = [cls.hidden.unique_id, len(cls.hidden.prompt), cls.hidden.extra_pnginfo]
        return io.NodeOutput(a + b, ui={"hidden": hidden})


class Switch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs = [io.Boolean.Input("flag"), io.Int.Input("yes", lazy=True), io.Int.Input("no", lazy=True)]
        return io.Schema(node_id="Switch", inputs=inputs, outputs=[io.Int.Output()])

    @classmethod
    def check_lazy_status(cls, flag, yes=None, no=None):
        return ["yes" if flag else "no"] if (yes if flag else no) is None else []

    @classmethod
    def fingerprint_inputs(cls, flag, yes, no):
        return float("nan")

    @classmethod
    async def execute(cls, flag, yes=None, no=None):
        await asyncio.sleep(0.01)
        return io.NodeOutput(yes if flag else no)


class Expand(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs, outputs = [io.Int.Input("n")], [io.Int.Output()]
        return io.Schema(node_id="Expand", inputs=inputs, outputs=outputs, enable_expand=True)

    @classmethod
    def execute(cls, n):
        graph = GraphBuilder()
        plus = graph.node("Plus", a=n, b=1)
        return io.NodeOutput(plus.out(0), expand=graph.finalize())


class Block(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Block", inputs=[io.Int.Input("n")], outputs=[io.Int.Output()])

    @classmethod
    def execute(cls, n):
        return io.NodeOutput(0, block_execution="not this one")


class Show(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Show", inputs=[io.Int.Input("value")], outputs=[], is_output_node=True)

    @classmethod
    def execute(cls, value):
        return io.NodeOutput(ui={"value": [value]})


NEWER = {node.__name__: node for node in (Plus, Switch, Expand, Block, Show)}


@pytest.mark.parametrize("cache", ["classic", "lru", "none"])
def test_newer_classes(cache):
    nodes = prompt(
        three=("Plus", {"a": 3}),
        four=("Plus", {"a": 4}),
        switch=("Switch", {"flag": True, "yes": ["three", 0], "no": ["four", 0]}),
        expand=("Expand", {"n": ["switch", 0]}),
        show=("Show", {"value": ["expand", 0]}),
        block=("Block", {"n": 1}),
        blocked=("Show", {"value": ["block", 0]}),
    )
    events = []
    executor = Executor(NEWER, cache=cache, cache_size=10, rules=RULES)
    extra_data = {"extra_pnginfo": {"workflow": 1}}
    result = executor.run(nodes, extra_data=extra_data, on_event=lambda *event: events.append(event))
    assert result.failure is None
    assert result.outputs["show"] == {"value": [14]}
    assert result.outputs["three"] == {"hidden": ["three", 7, {"workflow": 1}]}
    assert "four" not in result.ran and "expand.0.0.1" in result.ran and "blocked" not in result.outputs
    blocked = [data["exception_message"] for name, data in events if name == "execution_error"]
    assert blocked == ["Execution Blocked: not this one"]
    if cache != "none":
        again = executor.run(nodes, extra_data=extra_data)
        assert "three" not in again.ran and "switch" in again.ran  # its fingerprint is never the same


def test_newer_classes_are_validated_and_described():
    nodes = prompt(plus=("Plus", {"a": 9}), show=("Show", {"value": ["plus", 0]}))
    (error,) = Executor(NEWER, rules=RULES).check(nodes).node_errors["plus"]["errors"]
    assert error["type"] == "value_bigger_than_max"
    info = object_info(NEWER)["Plus"]
    assert info["input"]["required"]["a"][0] == "INT" and info["input_order"]["optional"] == ["b"]


def test_comfyui_s_blocker_and_interrupt():
    import comfy.model_management

    class Half:
        INPUT_TYPES = classmethod(lambda cls: {"required": {"n": ("INT",)}})
        RETURN_TYPES, FUNCTION = ("INT",), "work"

        def work(self, n):
            return (ExecutionBlocker(None),)

    class Stop(Half):
        def work(self, n):
            executor.interrupt()
            comfy.model_management.throw_exception_if_processing_interrupted()
            raise AssertionError("not stopped")

    executor = Executor({**NEWER, "Half": Half, "Stop": Stop}, rules=RULES)
    result = executor.run(prompt(half=("Half", {"n": 1}), show=("Show", {"value": ["half", 0]})))
    assert result.succeeded and result.outputs == {}
    result = executor.run(prompt(stop=("Stop", {"n": 1}), show=("Show", {"value": ["stop", 0]})))
    assert result.interrupted and result.failure is None
    assert executor.run(prompt(show=("Show", {"value": 1}))).succeeded


def test_progress_by_comfyui_s_own_ways_arrives():
    from comfy.utils import ProgressBar

    class Work:
        INPUT_TYPES = classmethod(lambda cls: {"required": {"n": ("INT",)}})
        RETURN_TYPES, FUNCTION = ("INT",), "work"

        def work(self, n):
            bar = ProgressBar(n)
            for _ in range(n):
                bar.update(1)
            return (n,)

    events = []
    nodes = prompt(work=("Work", {"n": 3}), show=("Show", {"value": ["work", 0]}))
    Executor({**NEWER, "Work": Work}, rules=RULES).run(nodes, on_event=lambda *event: events.append(event))
    seen = [(data["node"], data["value"], data["max"]) for name, data in events if name == "progress"]
    assert seen in ([("work", 1, 3), ("work", 2, 3), ("work", 3, 3)], [("work", 1, 3), ("work", 3, 3)])  # throttled


# --- validation, side by side


class Wildcard(str):
    def __ne__(self, other):
        return False


def classic(required=None, optional=None, returns=("IMAGE",), output=False, hidden=None, **attributes):
    declared = {"required": required or {}, "optional": optional or {}}
    if hidden:
        declared["hidden"] = hidden
    members = {"INPUT_TYPES": classmethod(lambda cls: declared), "RETURN_TYPES": returns, "FUNCTION": "work"}
    return type("Node", (), {**members, "OUTPUT_NODE": output, "work": lambda self, **inputs: {}, **attributes})


def checking(function, **attributes):
    return classic({"a": ("INT", {"max": 2})}, VALIDATE_INPUTS=classmethod(function), **attributes)


def crash(cls, a=None):
    raise RuntimeError("boom")


async def later(cls, a, **others):
    return a != -1


CLASSES = {
    "Image": classic({"n": ("INT", {"min": 0, "max": 5})}),
    "Model": classic(returns=("MODEL", "CLIP")),
    "Values": classic({"x": ("FLOAT", {"min": 0.0, "max": 1.0}), "s": ("STRING",), "b": ("BOOLEAN", {})}),
    "Choice": classic({"c": (["a", "b"],)}, {"many": ([str(i) for i in range(30)],)}),
    "Mix": classic({"i": ("IMAGE,MASK",)}, {"m": ("MODEL",), "any": (Wildcard("*"),), "star": ("*",)}),
    "V3": classic(
        {"c": ("COMBO", {"options": ["a", "b"], "multiselect": False})},
        {"several": ("COMBO", {"options": [1, "a", "z"], "multiselect": True, "multi_select": {}})},
    ),
    "Save": classic({"i": ("IMAGE",)}, {"n": ("INT", {"min": 0, "max": 5})}, output=True, hidden={"h": "PROMPT"}),
    "SaveModel": classic({"m": ("MODEL",)}, output=True),
    "Named": checking(lambda cls, a: "bad a" if a == 7 else True),
    "Later": checking(later),
    "All": checking(lambda cls, **inputs: inputs.get("a") != 1, hidden={"me": "UNIQUE_ID"}),
    "Types": classic(
        {"m": ("MODEL",)}, VALIDATE_INPUTS=classmethod(lambda cls, input_types, m=0: input_types["m"] != "IMAGE")
    ),
    "Lost": checking(lambda cls, other=None: "never told"),
    "Crash": checking(crash),
    "Lists": checking(lambda cls, a: a != [3], INPUT_IS_LIST=True),
    "Broken": type("Broken", (), {"INPUT_TYPES": classmethod(lambda cls: 1 / 0), "RETURN_TYPES": ("IMAGE",)}),
}


class Ordered:
    """A set in the order of its making: ComfyUI's own order is arbitrary, and shows in its answers."""

    def __init__(self, items=()):
        self.items = dict.fromkeys(items)

    def add(self, item):
        self.items[item] = None

    def union(self, others):
        return Ordered([*self.items, *others])

    def __iter__(self):
        return iter(self.items)

    def __len__(self):
        return len(self.items)


def random_prompt(rng):
    """Up to six nodes with many faults; cycles only where ComfyUI says more of them than that recursion ended."""
    count = rng.randint(1, 6)
    made = {}
    for i in range(count):
        before = [str(j) for j in range(count if RULES == "current" and rng.random() < 0.1 else i)] or ["99"]
        kind = rng.choice([*CLASSES, "Save", "Save", "SaveModel", "Mix", "Image"])
        declared = {} if kind == "Broken" else CLASSES[kind].INPUT_TYPES()
        inputs = {}
        for name, config in [*declared.get("required", {}).items(), *declared.get("optional", {}).items()]:
            if rng.random() < 0.12:
                continue
            link = [rng.choice(before), rng.choice([0, 0, 0, 1, 5])]
            constants = [0, 1, 2, 3, 7, -1, 3.9, "3", "x", "false", True, None, [], [1], [1, 2], ["a", 0, 1], ["99", 0]]
            constants += [{"__value__": [1, 2]}, {"__value__": ["a", 1]}, {"a": 1}, "a", "29", "40", float("nan")]
            is_socket = config[0] in ("IMAGE", "MODEL", "IMAGE,MASK", "*")
            constant = rng.choice([1, link, rng.choice(constants), rng.choice([-1, 7, "z"])])
            inputs[name] = link if is_socket and rng.random() < 0.85 else constant
        if rng.random() < 0.1:
            inputs["undeclared"] = rng.choice([1, ["0", 0]])
        made[str(i)] = {"class_type": kind, "inputs": inputs}
        if rng.random() < 0.02:
            del made[str(i)][rng.choice(["inputs", "class_type"])]
        if rng.random() < 0.02:
            made[str(i)] |= {"_meta": {"title": "Its title"}, "class_type": "Nonesuch"}
    targets = None if rng.random() < 0.8 else rng.sample(list(made), rng.randint(0, count))
    return made, targets


def comparable(accepted, error, outputs, node_errors):
    node_errors = copy.deepcopy(node_errors)
    for entry in node_errors.values():
        for one in entry["errors"]:
            one["extra_info"].pop("traceback", None)
    return repr((accepted, error, list(outputs), node_errors))


def test_validation_says_what_comfyui_s_says(monkeypatch):
    monkeypatch.setattr(execution, "set", Ordered, raising=False)
    monkeypatch.setattr(comfyui_nodes, "NODE_CLASS_MAPPINGS", CLASSES)
    executor, rng, faults = Executor(CLASSES, rules=RULES), random.Random(0), set()
    for _ in range(1500):
        nodes, targets = random_prompt(rng)
        submitted = json.dumps(nodes)
        verdict = executor.check(nodes, targets)
        assert json.dumps(nodes) == submitted
        accepted, error, outputs, node_errors = asyncio.run(execution.validate_prompt("id", nodes, targets))
        theirs = comparable(accepted, error, outputs, node_errors)
        assert comparable(verdict.accepted, verdict.error, verdict.outputs, verdict.node_errors) == theirs, submitted
        faults.update(one["type"] for entry in node_errors.values() for one in entry["errors"])
    assert faults == {
        "required_input_missing", "bad_linked_input", "return_type_mismatch", "exception_during_inner_validation",
        "exception_during_validation", "invalid_input_type", "value_smaller_than_min", "value_bigger_than_max",
        "value_not_in_list", "custom_validation_failed",
    } | ({"dependency_cycle"} if RULES == "current" else set())  # fmt: skip


# --- ComfyUI's own nodes from the command line


def test_comfyui_s_nodes_from_the_command_line(tmp_path, monkeypatch, capsys):
    from comfyui_ddim.cli import main

    monkeypatch.chdir(tmp_path)
    nodes = prompt(
        red=("EmptyImage", {"width": 64, "height": 32, "batch_size": 2, "color": 0xFF0000}),
        inverted=("ImageInvert", {"image": ["red", 0]}),
        save=("SaveImage", {"images": ["inverted", 0], "filename_prefix": "cyan"}),
    )
    Path("w.json").write_text(json.dumps(nodes))
    assert main(["run", "w.json", "--comfyui", str(COMFYUI), "--device", "cpu", "--quiet"]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths] == ["cyan_00001_.png", "cyan_00002_.png"]
    from PIL import Image

    picture = Image.open(paths[0])
    assert picture.size == (64, 32) and picture.getpixel((0, 0)) == (0, 255, 255)
    assert json.loads(picture.text["prompt"])["red"]["inputs"]["color"] == 0xFF0000


def test_a_folder_that_is_no_comfyui(tmp_path, capsys):
    from comfyui_ddim.cli import main

    assert main(["nodes", "--comfyui", str(tmp_path)]) == 2
    assert "not a ComfyUI checkout" in capsys.readouterr().err
