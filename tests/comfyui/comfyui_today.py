"""What ComfyUI's nodes and packs may count on since 0.9 to 0.33, each beside PromptExecutor or the server's own code;
`test_executor.py` runs it where COMFYUI_DIR names such a ComfyUI."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from comfyui_ddim.executor import Context, Executor
from comfyui_ddim.executor.comfyui import load_comfyui

COMFYUI = Path(os.environ["COMFYUI_DIR"])
handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
COMFY_CLASSES, _, _ = load_comfyui(COMFYUI, Context(device="cpu"))

import execution  # noqa: E402
from comfy_api.latest import ComfyAPI, io  # noqa: E402
from comfyui_rules import RULES  # noqa: E402

import nodes as comfyui_nodes  # noqa: E402

logging.disable(logging.ERROR)
pytestmark = pytest.mark.skipif(RULES != "current", reason="this ComfyUI has none of it")


def prompt(**nodes):
    return {node_id: {"class_type": kind, "inputs": inputs} for node_id, (kind, inputs) in nodes.items()}


class All(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="All", inputs=[io.Int.Input("n")], is_output_node=True, accept_all_inputs=True)

    @classmethod
    def execute(cls, n, **others):
        return io.NodeOutput(ui={"others": [sorted(others.items())]})


class Number(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Number", inputs=[io.Int.Input("n")], outputs=[io.Int.Output()])

    @classmethod
    def execute(cls, n):
        ran.append(n)
        return io.NodeOutput(n, ui={"n": [n]})


class Grow(io.ComfyNode):
    """Asks for those of its dynamic inputs that it hasn't got, by the keys it is given."""

    @classmethod
    def define_schema(cls):
        template = io.Autogrow.TemplatePrefix(io.Int.Input("n", lazy=True), prefix="n", min=1, max=4)
        inputs = [io.Autogrow.Input("numbers", template=template), io.Int.Input("last", lazy=True)]
        return io.Schema(node_id="Grow", inputs=inputs, outputs=[io.Int.Output()])

    @classmethod
    def check_lazy_status(cls, numbers, last=None):
        asked.append(sorted(numbers.items()))
        return [key for value, key in numbers.values() if value is None] + (["last"] if last is None else [])

    @classmethod
    def execute(cls, numbers, last=None):
        return io.NodeOutput(sum(numbers.values()) + last)


class Usage(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Usage", is_output_node=True, hidden=[io.Hidden.comfy_usage_source])

    @classmethod
    def execute(cls):
        return io.NodeOutput(ui={"source": [cls.hidden.comfy_usage_source]})


class Out(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Out", inputs=[io.Int.Input("value")], is_output_node=True)

    @classmethod
    def execute(cls, value):
        return io.NodeOutput(ui={"value": [value]})


CLASSES = {one.__name__: one for one in (All, Number, Grow, Usage, Out)}
ran: list = []
asked: list = []


class Listener:
    client_id = last_node_id = None
    sockets_metadata = {}

    def send_sync(self, name, data, sid=None):
        pass


def theirs(nodes, extra_data=None):
    """What PromptExecutor shows for it."""
    executor = execution.PromptExecutor(
        Listener(), cache_type=execution.CacheType.CLASSIC, cache_args={"lru": 0, "ram": 0, "ram_inactive": 0}
    )
    outputs = [node_id for node_id, node in nodes.items() if CLASSES[node["class_type"]].OUTPUT_NODE]
    executor.execute(nodes, "id", {"client_id": "me", **(extra_data or {})}, outputs)
    return executor.history_result["outputs"]


GRAPHS = {
    "undeclared constants": prompt(
        n=("Number", {"n": 4}), all=("All", {"n": 1, "option1": "a", "index": 2, "x": ["n", 0]}),
    ),
    "dynamic lazy inputs": prompt(
        a=("Number", {"n": 1}), b=("Number", {"n": 2}), c=("Number", {"n": 3}),
        grow=("Grow", {"numbers.n0": ["a", 0], "numbers.n1": ["b", 0], "last": ["c", 0]}),
        out=("Out", {"value": ["grow", 0]}),
    ),
    "usage source": prompt(usage=("Usage", {})),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_nodes_are_given_what_comfyui_gives_them(name, monkeypatch):
    monkeypatch.setattr(comfyui_nodes, "NODE_CLASS_MAPPINGS", CLASSES)
    extra_data = {"comfy_usage_source": "the test"}
    asked.clear()
    result = Executor(CLASSES).run(GRAPHS[name], extra_data=extra_data)
    ours_asked = list(asked)
    asked.clear()
    assert result.succeeded, (result.node_errors, result.failure)
    assert result.outputs == theirs(GRAPHS[name], extra_data) and result.outputs
    assert ours_asked == asked and (asked or name != "dynamic lazy inputs")


def test_a_cache_provider_is_asked_and_told_under_comfyuis_own_keys(monkeypatch):
    """A store that a server has filled serves the runner, and the other way round."""
    monkeypatch.setattr(comfyui_nodes, "NODE_CLASS_MAPPINGS", CLASSES)
    caching = ComfyAPI().caching
    kept, told = {}, []

    class Store(io_caching().CacheProvider):
        async def on_lookup(self, context):
            return kept.get(context.cache_key_hash)

        async def on_store(self, context, value):
            await asyncio.sleep(0.05)
            kept[context.cache_key_hash] = value

        def should_cache(self, context, value=None):
            return context.class_type == "Number"

        def on_prompt_start(self, prompt_id):
            told.append(("start", prompt_id))

        def on_prompt_end(self, prompt_id):
            told.append(("end", prompt_id))

    nodes = prompt(n=("Number", {"n": 7}), m=("Number", {"n": 8}), out=("Out", {"value": ["n", 0]}))
    provider = Store()
    asyncio.run(caching.register_provider(provider))
    try:
        ran.clear()
        first = Executor(CLASSES).run(nodes, prompt_id="p")
        assert (ran, first.ran, len(kept)) == ([7], ["n", "out"], 1) and told == [("start", "p"), ("end", "p")]
        again = Executor(CLASSES).run(nodes)
        assert (ran, again.cached, again.ran) == ([7], ["n"], ["out"]) and again.outputs == first.outputs
        assert theirs(nodes)["out"] == {"value": [7]} and ran == [7]  # theirs finds what ours has stored
    finally:
        asyncio.run(caching.unregister_provider(provider))
    assert Executor(CLASSES).run(nodes).cached == []


def io_caching():
    from comfy_api.latest import Caching

    return Caching


# --- what a server does with a prompt


def test_classes_that_are_gone_are_replaced_as_in_a_posted_prompt():
    small = ("EmptyImage", {"width": 8, "height": 4, "batch_size": 1, "color": 255})
    nodes = prompt(
        a=small, resized=("ResizeImagesByLongerEdge", {"images": ["a", 0], "longer_edge": 4}),
        show=("PreviewImage", {"images": ["resized", 0]}),
    )  # fmt: skip
    before = repr(nodes)
    classes = {name: kind for name, kind in COMFY_CLASSES.items() if name != "ResizeImagesByLongerEdge"}
    removed = comfyui_nodes.NODE_CLASS_MAPPINGS.pop("ResizeImagesByLongerEdge", None)
    try:
        verdict = Executor(classes).check(nodes)
    finally:
        if removed is not None:
            comfyui_nodes.NODE_CLASS_MAPPINGS["ResizeImagesByLongerEdge"] = removed
    assert verdict.accepted and not verdict.node_errors and repr(nodes) == before


def test_packs_handlers_see_every_prompt():
    import server

    instance = server.PromptServer.instance

    def handler(posted):
        posted["prompt"]["out"]["inputs"]["value"] = 5
        posted["extra_data"]["seen"] = True
        return posted

    instance.add_on_prompt_handler(handler)
    try:
        result = Executor(CLASSES).run(prompt(out=("Out", {"value": 1})))
    finally:
        instance.on_prompt_handlers.remove(handler)
    assert result.outputs == {"out": {"value": [5]}}


# --- what packs ask of the server at import


def test_the_server_answers_what_packs_ask_at_import():
    import server

    instance = server.PromptServer.instance
    assert instance.get_queue_info() == {"exec_info": {"queue_remaining": 0}}
    assert (instance.number, instance.client_id, instance.port) == (0, None, 8188)
    instance.queue_updated()
    instance.send_sync("anything", {})
    instance.routes.get("/mine")(lambda request: None)
    for name in ("user_manager", "custom_node_manager", "subgraph_manager", "model_file_manager"):
        assert getattr(instance, name) is getattr(instance, name)
    assert instance.node_replace_manager.has_replacement("ResizeImagesByLongerEdge")
    with pytest.raises(AttributeError, match="there is no ComfyUI server here"):
        instance.internal_routes  # noqa: B018


def test_signals_stay_the_callers_and_waiting_for_the_servers_loop_is_an_error():
    import server

    loop = server.PromptServer.instance.loop
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    never = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="no server is running here"):
        asyncio.run_coroutine_threadsafe(never, loop)
    never.close()


def test_every_part_of_comfyui_is_imported():
    failed = [path.stem for path in (COMFYUI / "comfy_extras").glob("nodes_*.py") if not loaded(path)]
    assert failed == []


def loaded(path):
    return any(getattr(module, "__file__", None) == str(path) for module in list(sys.modules.values()))


def test_what_is_printed_at_exit_is_not_on_standard_output(tmp_path):
    pack = tmp_path / "late.py"
    pack.write_text("import atexit\natexit.register(lambda: print('last words'))\nNODE_CLASS_MAPPINGS = {}\n")
    code = (
        "from pathlib import Path; from comfyui_ddim.executor import Context, comfyui; import importlib.util, sys\n"
        "load = comfyui._load_packs\n"
        "async def with_pack(nodes):\n"
        f"    await nodes.load_custom_node({str(pack)!r})\n"
        "comfyui._load_packs = with_pack\n"
        f"comfyui.load_comfyui(Path({str(COMFYUI)!r}), Context(device='cpu'))\n"
        "print('result')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "result\n" and "last words" in done.stderr, done.stderr[-2000:]
