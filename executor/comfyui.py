"""ComfyUI's own nodes, out of a ComfyUI checkout, in this process: no server, no browser.

Loads what ComfyUI's start would load (its nodes, its extra nodes, its custom_nodes with their prestartup scripts, its
extra_model_paths.yaml) through ComfyUI's own functions. Only one checkout can be loaded in a process.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from .context import Context
from .errors import WorkflowError

logger = logging.getLogger(__name__)


def load_comfyui(
    folder: Path, context: Context, models_dir: Path | None = None
) -> tuple[dict[str, type], dict[str, str], Context]:
    """`(node classes, display names, context)` of the ComfyUI checkout in `folder`.

    ComfyUI writes to `context.output_dir` and `context.temp_dir` and runs on `context.device`. It reads from
    `context.input_dir` if that exists, else from its own input folder; models are looked for in `models_dir` first,
    then where ComfyUI looks. The returned context has the folders as ComfyUI sees them. Raises WorkflowError if there
    is no ComfyUI in `folder`, or it can't be loaded.
    """
    folder = folder.resolve()
    if not (folder / "nodes.py").is_file() or not (folder / "comfy" / "model_management.py").is_file():
        raise WorkflowError(f"{folder}: not a ComfyUI checkout, it has no nodes.py and comfy/model_management.py")
    sys.path[:] = [str(folder), *(path for path in sys.path if path != str(folder))]  # before any other `nodes`
    try:
        _choose_device(context.device)
        folders = importlib.import_module("folder_paths")
        _set_folders(folders, folder, context, models_dir)
        nodes = importlib.import_module("nodes")
        importlib.import_module("comfy.utils").set_progress_bar_enabled(False)  # we show our own
        _pretend_server()
        _run_prestartup_scripts(folders)
        asyncio.run(nodes.init_extra_nodes(init_custom_nodes=True, init_api_nodes=False))
    except ImportError as error:
        raise WorkflowError(
            f"{folder}: can't be loaded: {error}; are its requirements.txt installed in {sys.prefix}?"
        ) from error
    seen = Context(
        input_dir=Path(folders.get_input_directory()),
        output_dir=context.output_dir,
        temp_dir=context.temp_dir,
        models_dir=models_dir or Path(folders.models_dir),
        device=context.device,
    )
    return nodes.NODE_CLASS_MAPPINGS, nodes.NODE_DISPLAY_NAME_MAPPINGS, seen


def _choose_device(device: str) -> None:
    """Before ComfyUI looks for a device, for it looks while it is imported."""
    kind, _, index = device.partition(":")
    if kind in ("cuda", "rocm") and index:
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ["HIP_VISIBLE_DEVICES"] = index
    arguments = importlib.import_module("comfy.cli_args").args
    if kind == "auto":
        torch = importlib.import_module("torch")
        accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
        xpu = getattr(torch, "xpu", None)
        kind = "" if accelerated or (xpu is not None and xpu.is_available()) else "cpu"
    if kind == "cpu":
        arguments.cpu = True


def _set_folders(folders: ModuleType, folder: Path, context: Context, models_dir: Path | None) -> None:
    folders.set_output_directory(str(context.output_dir.resolve()))
    folders.set_temp_directory(str(context.temp_dir.resolve()))
    if context.input_dir.is_dir():
        folders.set_input_directory(str(context.input_dir.resolve()))
    # Imported even where there is no such file: nodes.py puts comfy/ first on the path, and `utils` would be another.
    extra_config = importlib.import_module("utils.extra_config")
    if (extra := folder / "extra_model_paths.yaml").is_file():
        extra_config.load_extra_path_config(str(extra))
    if models_dir is not None:
        for name in list(folders.folder_names_and_paths):
            if name != "custom_nodes":
                folders.add_model_folder_path(name, str(models_dir.resolve() / name), is_default=True)


def _pretend_server() -> None:
    """Packs add routes to, and send messages through, `PromptServer.instance`; give them one that does nothing."""
    server = importlib.import_module("server")

    class NoServer(server.PromptServer):
        """A PromptServer that listens to nobody and tells nobody."""

        def __init__(self):
            web = importlib.import_module("aiohttp").web
            self.app, self.routes = web.Application(), web.RouteTableDef()
            self.loop = self.client_id = self.last_node_id = self.last_prompt_id = self.prompt_queue = None
            self.sockets: dict[str, Any] = {}
            self.sockets_metadata: dict[str, Any] = {}
            self.on_prompt_handlers: list[Any] = []
            self.supports: list[str] = []

        def send_sync(self, event: Any, data: Any, sid: Any = None) -> None:
            """Nobody listens."""

        def send_progress_text(self, text: Any, node_id: Any, sid: Any = None) -> None:
            """Nobody listens."""

    server.PromptServer.instance = NoServer()


def _run_prestartup_scripts(folders: ModuleType) -> None:
    for script in _prestartup_scripts(folders):
        spec = importlib.util.spec_from_file_location(f"{script.parent.name}_prestartup", script)
        assert spec is not None and spec.loader is not None
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except Exception as error:
            logger.warning("%s failed: %s", script, error)


def _prestartup_scripts(folders: ModuleType) -> Iterator[Path]:
    for packs in folders.get_folder_paths("custom_nodes"):
        if Path(packs).is_dir():
            for pack in sorted(Path(packs).iterdir()):
                script = pack / "prestartup_script.py"
                if pack.suffix != ".disabled" and script.is_file():
                    yield script
