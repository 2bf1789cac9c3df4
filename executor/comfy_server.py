"""What stands in for ComfyUI's server: `PromptServer.instance`, which packs talk to while they are imported and run.

It listens to nobody and tells nobody: routes and handlers are taken and kept, messages go nowhere.
"""

from __future__ import annotations

import asyncio
import importlib
from types import ModuleType
from typing import Any

_MANAGERS = {  # attribute -> the class in ComfyUI's `server` module that makes it, where the version has one
    "user_manager": "UserManager",
    "model_file_manager": "ModelFileManager",
    "custom_node_manager": "CustomNodeManager",
    "subgraph_manager": "SubgraphManager",
    "node_replace_manager": "NodeReplaceManager",
}


class LoadingLoop(asyncio.SelectorEventLoop):
    """The loop in which ComfyUI and its packs are loaded; it stands still afterwards.

    Signals stay the caller's, whatever packs ask for. What is handed to it from another thread once it stands
    still would never run, and whoever waits for that would wait for ever: that is an error instead.
    """

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:
        """Nothing: Ctrl-C stops a run."""

    def remove_signal_handler(self, sig: int) -> bool:
        """There is none."""
        return False

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> asyncio.Handle:
        """Raises RuntimeError unless the loop is running."""
        if not self.is_running():
            raise RuntimeError("this needs the event loop of ComfyUI's server, and no server is running here")
        return super().call_soon_threadsafe(*args, **options)


def pretend_server(loop: asyncio.AbstractEventLoop) -> None:
    """Make a `PromptServer.instance` that answers what packs ask of it at import."""
    server = importlib.import_module("server")
    server.PromptServer.instance = _no_server(server)(loop)


def _no_server(server: ModuleType) -> type:
    class NoServer(server.PromptServer):
        """A PromptServer that listens to nobody and tells nobody."""

        def __init__(self, loop: asyncio.AbstractEventLoop):
            web = importlib.import_module("aiohttp").web
            self.app, self.routes = web.Application(), web.RouteTableDef()
            self.loop = loop
            self.messages: asyncio.Queue[Any] = asyncio.Queue()
            self.prompt_queue = importlib.import_module("execution").PromptQueue(self)
            self.client_session = self.client_id = self.last_node_id = self.last_prompt_id = None
            self.number, self.address, self.port = 0, "127.0.0.1", 8188
            self.web_root = ""
            self.sockets: dict[str, Any] = {}
            self.sockets_metadata: dict[str, Any] = {}
            self.on_prompt_handlers: list[Any] = []
            self.supports = ["custom_nodes_from_web"]

        def __getattr__(self, name: str) -> Any:
            """The managers, each made when it is first asked for: some make folders."""
            maker = getattr(server, _MANAGERS.get(name, ""), None)
            if maker is None:
                raise AttributeError(f"{name}: there is no ComfyUI server here, and its stand-in doesn't have this")
            manager = maker()
            setattr(self, name, manager)
            return manager

        def send_sync(self, event: Any, data: Any, sid: Any = None) -> None:
            """Nobody listens."""

        async def send(self, event: Any, data: Any, sid: Any = None) -> None:
            """Nobody listens."""

        def send_progress_text(self, text: Any, node_id: Any, sid: Any = None) -> None:
            """Nobody listens."""

    return NoServer
