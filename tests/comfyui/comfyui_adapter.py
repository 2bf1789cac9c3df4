"""A pytest plugin that puts our Executor where ComfyUI's execution tests expect a ComfyUI server.

It replaces their client's connection and the server process they start; the tests themselves, their test nodes and
their GraphBuilder stay as they are. `test_executor_comfyui.py` runs it.
"""

import collections
import json
import os
import time
import types
import urllib.error
import uuid
from pathlib import Path

from comfyui_ddim.executor import Context, Executor
from comfyui_ddim.executor.comfyui import load_comfyui

COMFYUI = Path(os.environ["COMFYUI_DIR"])


class Server:
    """What stands in for the running ComfyUI: one executor, its history, and where its pictures lie."""

    def __init__(self, output_dir):
        os.chdir(COMFYUI)
        import sys

        sys.path.insert(0, str(COMFYUI))
        from utils.extra_config import load_extra_path_config

        load_extra_path_config("tests/execution/extra_model_paths.yaml")
        output_dir = Path(output_dir).resolve()
        context = Context(output_dir=output_dir, temp_dir=output_dir / "temp", device="cpu")
        self.classes, _, self.context = load_comfyui(COMFYUI, context)
        self.folders = {"output": context.output_dir, "temp": context.temp_dir}
        self.start([])

    def start(self, command_line):
        """As `python main.py ...` would be started."""
        cache, size = os.environ.get("ADAPTER_CACHE", "classic"), 0
        if "--cache-none" in command_line:
            cache = "none"
        if "--cache-lru" in command_line:
            cache, size = "lru", int(command_line[command_line.index("--cache-lru") + 1])
        from comfyui_rules import RULES as rules

        self.executor = Executor(self.classes, cache=cache, cache_size=size, context=self.context, rules=rules)
        self.history = {}


class Socket:
    """A WebSocket that has received what a run announced."""

    def __init__(self):
        self.messages = collections.deque()

    def settimeout(self, seconds):
        pass

    def close(self):
        pass

    def send(self, name, data):
        self.messages.append(json.dumps({"type": name, "data": data}, default=str))

    def recv(self):
        if not self.messages:
            import websocket

            time.sleep(0.05)
            raise websocket.WebSocketTimeoutException
        return self.messages.popleft()


class Client:
    """The methods that replace ComfyClient's."""

    server = None

    def connect(self, listen="127.0.0.1", port=8188, client_id=None):
        self.client_id = client_id or str(uuid.uuid4())
        self.ws = Socket()

    def queue_prompt(self, prompt, partial_execution_targets=None):
        self.ws.messages.clear()

        def on_event(name, data):
            self.ws.send(name, data)
            if name in ("executing", "progress"):
                node = {key: data.get(key) for key in ("value", "max")}
                self.ws.send("progress_state", {"prompt_id": data["prompt_id"], "nodes": {data["node"]: node}})

        prompt = json.loads(json.dumps(prompt))
        result = self.server.executor.run(prompt, partial_execution_targets, on_event=on_event)
        if not result.accepted:
            raise urllib.error.HTTPError("http://nowhere/prompt", 400, str(result.error), {}, None)
        self.server.history[result.prompt_id] = {"outputs": json.loads(json.dumps(result.outputs))}
        self.ws.send("executing", {"node": None, "prompt_id": result.prompt_id})
        return {"prompt_id": result.prompt_id}

    def get_image(self, filename, subfolder, folder_type):
        return (self.server.folders[folder_type] / subfolder / filename).read_bytes()

    def get_history(self, prompt_id):
        return {prompt_id: self.server.history[prompt_id]}

    def get_all_history(self, max_items=None, offset=None):
        first = offset or 0
        items = list(self.server.history.items())[first:]
        return dict(items if max_items is None else items[:max_items])


def pytest_collection_finish(session):
    """The test modules are imported: put ourselves in the place of their server."""
    server = Client.server = Server(session.config.getoption("--output_dir"))
    process = types.SimpleNamespace(kill=lambda: None)

    def start(command_line, *args, **options):
        server.start(command_line)
        return process

    for module in {item.module for item in session.items if hasattr(item.module, "ComfyClient")}:
        module.subprocess = types.SimpleNamespace(Popen=start)
        for name in ("connect", "queue_prompt", "get_image", "get_history", "get_all_history"):
            setattr(module.ComfyClient, name, getattr(Client, name))
        module.ComfyClient.server = server
    import subprocess

    real = subprocess.Popen
    subprocess.Popen = lambda command, *a, **k: start(command) if "main.py" in command else real(command, *a, **k)
