"""ComfyUI's own nodes, out of a ComfyUI checkout, in this process: no server, no browser.

Loads what ComfyUI's start would load (its nodes, its extra nodes, its custom_nodes with their prestartup scripts, its
extra_model_paths.yaml) through ComfyUI's own functions. Only one checkout can be loaded in a process.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib
import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from . import comfy_memory
from .comfy_server import LoadingLoop, pretend_server
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
        folders, nodes = _load(folder, context, models_dir)
    except ImportError as error:
        raise WorkflowError(
            f"{folder}: can't be loaded: {error}; is its requirements.txt installed in {sys.prefix}?"
        ) from error
    seen = Context(
        input_dir=Path(folders.get_input_directory()),
        output_dir=context.output_dir,
        temp_dir=context.temp_dir,
        models_dir=models_dir or Path(folders.models_dir),
        device=context.device,
    )
    return nodes.NODE_CLASS_MAPPINGS, nodes.NODE_DISPLAY_NAME_MAPPINGS, seen


def _load(folder: Path, context: Context, models_dir: Path | None) -> tuple[ModuleType, ModuleType]:
    """ComfyUI's `folder_paths` and `nodes`, in the order of its main.py."""
    comfy_memory.before_torch(context.device)
    arguments = _choose_device(context.device)
    comfy_memory.before_comfyui(arguments)
    folders = importlib.import_module("folder_paths")
    _set_folders(folders, folder, context, models_dir)
    _run_prestartup_scripts(folders)
    nodes = importlib.import_module("nodes")
    importlib.import_module("comfy.utils").set_progress_bar_enabled(False)  # we show our own
    comfy_memory.after_comfyui(arguments)
    with _signals_kept(), _functions_kept():
        loop = LoadingLoop()
        pretend_server(loop)
        loop.run_until_complete(_load_packs(nodes))
    comfy_memory.after_packs()
    atexit.register(_send_last_words_to_stderr)
    return folders, nodes


async def _load_packs(nodes: ModuleType) -> None:
    """Load extra nodes and packs; what they leave running in the loop is cancelled, for it will stand still."""
    await nodes.init_extra_nodes(init_custom_nodes=True, init_api_nodes=False)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back the handlers of signals that packs replace at import."""
    if threading.current_thread() is not threading.main_thread():  # nobody can set any
        yield
        return
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handlers = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:  # None: it was not set by Python
                signal.signal(number, handler)


@contextlib.contextmanager
def _functions_kept() -> Iterator[None]:
    """ComfyUI puts back some functions of its own that packs replace at import, where the version does that."""
    if importlib.util.find_spec("hook_breaker_ac10a0") is None:
        yield
        return
    breaker = importlib.import_module("hook_breaker_ac10a0")
    breaker.save_functions()
    yield
    breaker.restore_functions()


def _send_last_words_to_stderr() -> None:
    """Standard output may be a program's input: what packs print at exit is no part of it."""
    if sys.stdout is not None:
        sys.stdout.flush()
    sys.stdout = sys.stderr


def _choose_device(device: str) -> Any:
    """ComfyUI's arguments, set before it looks for a device, for it looks while it is imported."""
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
    return arguments


def _set_folders(folders: ModuleType, folder: Path, context: Context, models_dir: Path | None) -> None:
    folders.set_output_directory(str(context.output_dir.resolve()))
    folders.set_temp_directory(str(context.temp_dir.resolve()))
    if context.input_dir.is_dir():
        folders.set_input_directory(str(context.input_dir.resolve()))
    # Imported even where there is no such file: nodes.py puts comfy/ first on the path, and `utils` would be another.
    extra_config = importlib.import_module("utils.extra_config")
    if (extra := folder / "extra_model_paths.yaml").is_file():
        extra_config.load_extra_path_config(str(extra))
    for name in ("checkpoints", "clip", "vae", "diffusion_models", "loras"):  # what its nodes save can be loaded
        folders.add_model_folder_path(name, str(context.output_dir.resolve() / name))
    if models_dir is not None:
        for name in list(folders.folder_names_and_paths):
            if name != "custom_nodes":
                folders.add_model_folder_path(name, str(models_dir.resolve() / name), is_default=True)


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
