"""The same random graphs run by ComfyUI's PromptExecutor and by ours: the same events in the same order.

`test_executor_comfyui.py` runs it where COMFYUI_DIR is set.
"""

import asyncio
import json
import logging
import os
import random
from pathlib import Path

import pytest
from comfyui_ddim.executor import Context, Executor
from comfyui_ddim.executor.comfyui import load_comfyui

load_comfyui(Path(os.environ["COMFYUI_DIR"]), Context(device="cpu"))

import execution  # noqa: E402
from comfy_execution.graph_utils import ExecutionBlocker, GraphBuilder  # noqa: E402
from comfyui_rules import RULES, VERSION  # noqa: E402

import nodes as comfyui_nodes  # noqa: E402

logging.disable(logging.ERROR)


class Wildcard(str):
    def __ne__(self, other):
        return False


ANY = Wildcard("*")


def node(function, returns=("*",), hidden=None, lazy=False, **attributes):
    """A class around a function of inputs n (INT), flag (BOOLEAN) and anything else."""
    names = [name for name in function.__code__.co_varnames[: function.__code__.co_argcount] if name != "me"]
    kinds = {"n": ("INT",), "flag": ("BOOLEAN",)}
    declared = {"required": {name: kinds.get(name, (ANY, {"lazy": lazy})) for name in names}, "hidden": hidden or {}}

    async def work_async(self, **inputs):
        return await function(**inputs)

    def work(self, **inputs):
        return function(**inputs)

    members = {
        "INPUT_TYPES": classmethod(lambda cls: declared),
        "RETURN_TYPES": returns,
        "FUNCTION": "work",
        "work": work_async if asyncio.iscoroutinefunction(function) else work,
    }
    return type(function.__name__, (), {**members, **attributes})


async def sleep(a):
    await asyncio.sleep(0.001)
    return (a,)


def expand(a, n):
    graph = GraphBuilder()
    last = graph.node("Add", a=a, b=1)
    for i in range(n % 3):
        last = graph.node("Add", a=last.out(0), b=i)
    if n % 3 == 2:
        graph.node("Show", a=last.out(0))
    return {"result": (last.out(0),), "expand": graph.finalize()}


def ask(self, flag, a, b):
    wanted = "a" if flag else "b"
    return [wanted] if {"a": a, "b": b}[wanted] is None else []


CLASSES = {
    "Value": node(lambda n: (n,)),
    "Add": node(lambda a, b: (a + b,)),
    "Show": node(lambda a: {"ui": {"shown": [a]}}, returns=(), OUTPUT_NODE=True),
    "Pass": node(lambda a: {"ui": {"passed": [a]}, "result": (a,)}, OUTPUT_NODE=True),
    "Pair": node(lambda a, b: ([a, b],), OUTPUT_IS_LIST=(True,)),
    "Sum": node(lambda a: (sum(a),), INPUT_IS_LIST=True),
    "Sleep": node(sleep),
    "Expand": node(expand),
    "Choose": node(lambda flag, a, b: (a if flag else b,), lazy=True, check_lazy_status=ask),
    "Block": node(lambda a: (ExecutionBlocker(None) if a % 3 == 0 else a,)),
    "Fail": node(lambda a: (1 // (a % 7),)),
    "Changed": node(lambda a: (a,), IS_CHANGED=classmethod(lambda cls, a: float("nan"))),
    "ById": node(lambda a, me: (a,), hidden={"me": "UNIQUE_ID"}),
}


def random_prompt(rng):
    """A graph without cycles or faults, in any order. No two values are equal, and so no two sources: where two equal
    sources could be one node or two, ComfyUI takes graphs to be different that we take to be the same."""
    made = {}
    for i in range(rng.randint(2, 14)):
        sources = [node_id for node_id, one in made.items() if CLASSES[one["class_type"]].RETURN_TYPES]
        kind = rng.choice([*CLASSES, "Show", "Show", "Add"]) if sources else "Value"
        inputs = {}
        for name in CLASSES[kind].INPUT_TYPES()["required"]:
            constant = rng.random() < 0.5 if name == "flag" else 100 * i + rng.randint(1, 50)
            is_link = name not in ("flag", "n") and rng.random() < 0.85
            inputs[name] = [rng.choice(sources), 0] if is_link else constant
        made[str(i)] = {"class_type": kind, "inputs": inputs}
    sources = [node_id for node_id, one in made.items() if CLASSES[one["class_type"]].RETURN_TYPES]
    for i in range(rng.randint(1, 3)):
        made[f"show{i}"] = {"class_type": "Show", "inputs": {"a": [rng.choice(sources), 0]}}
    order = list(made)
    rng.shuffle(order)
    return {node_id: made[node_id] for node_id in order}


def change_a_constant(rng, prompt):
    inputs = prompt[rng.choice(list(prompt))]["inputs"]
    for name, value in inputs.items():
        if isinstance(value, int) and not isinstance(value, bool):
            inputs[name] = value + 1


class Listener:
    """The server that PromptExecutor sends its messages to."""

    client_id = last_node_id = None
    sockets_metadata = {}

    def __init__(self):
        self.events = []

    def send_sync(self, name, data, sid=None):
        self.events.append((name, data))


def told(events):
    """What both tell, without times and tracebacks."""
    lines = []
    for name, data in events:
        if name in ("executing", "executed"):
            lines.append((name, data["node"], data["display_node"], repr(data.get("output"))))
        elif name == "execution_error":
            keys = ("node_id", "node_type", "exception_type", "exception_message", "current_inputs")
            lines.append((name, *(repr(data[key]) for key in keys)))
        elif name == "execution_cached":
            lines.append((name, data["nodes"]))
        elif name == "execution_success":
            lines.append((name,))
    return lines


def cache_options(size):
    """How PromptExecutor is told the size of its cache."""
    return {"cache_size": size} if VERSION < (0, 4) else {"cache_args": {"lru": size, "ram": 0, "ram_inactive": 0}}


@pytest.mark.parametrize("cache", ["classic", "lru"])
def test_the_same_events_in_the_same_order(cache, monkeypatch):
    monkeypatch.setattr(comfyui_nodes, "NODE_CLASS_MAPPINGS", CLASSES)
    rng, seen = random.Random(0), set()
    for _ in range(150):
        listener = Listener()
        kind = {"classic": execution.CacheType.CLASSIC, "lru": execution.CacheType.LRU}[cache]
        theirs = execution.PromptExecutor(listener, cache_type=kind, **cache_options(5))
        ours = Executor(CLASSES, cache=cache, cache_size=5, rules=RULES)
        prompt = random_prompt(rng)
        for _ in range(3):
            submitted = json.dumps(prompt)
            outputs = ours.check(prompt).outputs
            listener.events.clear()
            theirs.execute(json.loads(submitted), "id", {"client_id": "me"}, outputs)
            events = []
            result = ours.run(prompt, on_event=lambda name, data, events=events: events.append((name, data)))
            assert told(events) == told(listener.events), submitted
            assert result.outputs == theirs.history_result["outputs"], submitted
            seen.update(name for name, *_ in told(events))
            change_a_constant(rng, prompt)
    assert seen == {"execution_cached", "executing", "executed", "execution_error", "execution_success"}
