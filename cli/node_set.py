"""The node classes that a command works with, and the context they run in."""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..executor.context import Context, using
from ..executor.errors import UnknownClassError, WorkflowError
from ..executor.object_info import object_info


@dataclass
class NodeSet:
    """Node classes by name, what people call them, and the folders they work with."""

    context: Context
    classes: dict[str, type] = field(default_factory=dict)
    display_names: dict[str, str] = field(default_factory=dict)

    def add(self, classes: dict[str, type], display_names: dict[str, str] | None = None) -> None:
        """Take in more; names already there are replaced."""
        self.classes.update(classes)
        self.display_names.update(display_names or {})

    @cached_property
    def object_info(self) -> dict[str, Any]:
        """What ComfyUI's /object_info would say of them."""
        return object_info(self.classes, self.display_names)


def uses_comfyui(arguments: argparse.Namespace) -> Path | None:
    """The ComfyUI checkout whose nodes are to be used, if any."""
    folder = getattr(arguments, "comfyui", None) or os.environ.get("COMFYUI_DIR")
    return Path(folder) if folder else None


def comfyui_helps(error: Exception, arguments: argparse.Namespace) -> bool:
    """Whether a file has nodes of unknown classes, and ComfyUI's weren't looked at."""
    others = uses_comfyui(arguments) or getattr(arguments, "object_info", None)
    return isinstance(error, UnknownClassError) and not others


def load_node_set(arguments: argparse.Namespace) -> NodeSet:
    """What the options ask for: ComfyUI's nodes or our stand-ins, our own pack, and single packs."""
    node_set = NodeSet(_context_of(arguments))
    if arguments.output is not None:
        check_output(arguments.output)
    comfyui = uses_comfyui(arguments)
    _check_engine(node_set.context, comfyui)
    if comfyui:
        from ..executor.comfyui import load_comfyui

        *loaded, node_set.context = load_comfyui(comfyui, node_set.context, arguments.models)
        node_set.add(*loaded)
    with using(node_set.context):
        with _without_collecting():
            from .. import nodes

        _check_device(arguments.device)
        if not comfyui:
            node_set.add(nodes.STAND_IN_CLASS_MAPPINGS)
        node_set.add(nodes.NODE_CLASS_MAPPINGS, nodes.NODE_DISPLAY_NAME_MAPPINGS)
        for folder in arguments.nodes:
            node_set.add(*load_pack(folder))
    return node_set


@contextmanager
def _without_collecting() -> Iterator[None]:
    """While torch is imported the first time, no look for garbage: its objects stay, and many looks take 0.2 s."""
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _context_of(arguments: argparse.Namespace) -> Context:
    usual = Context()
    return Context(
        input_dir=arguments.input or usual.input_dir,
        output_dir=arguments.output or usual.output_dir,
        temp_dir=usual.temp_dir,
        models_dir=arguments.models or usual.models_dir,
        device=arguments.device,
        dtype=arguments.dtype,
        engine=getattr(arguments, "engine", usual.engine),
        picture_format=getattr(arguments, "format", usual.picture_format),
        quality=getattr(arguments, "quality", None) or usual.quality,
    )


def _check_engine(context: Context, comfyui: Path | None) -> None:
    """See that the engine asked for can be had; raises WorkflowError."""
    if context.engine == "torch":
        return
    name = f"--engine {context.engine}"
    if comfyui:
        raise WorkflowError(f"{name}: ComfyUI's own nodes, which --comfyui brings, compute with torch")
    if context.device not in ("auto", "cpu"):
        raise WorkflowError(f"{name}: runs on the CPU, not on --device {context.device}")
    if context.dtype == "float16":
        raise WorkflowError(f"{name}: computes in float32 or bfloat16, not in --dtype float16")
    if importlib.util.find_spec(context.engine) is None:
        raise WorkflowError(f'{name}: OpenVINO isn\'t installed: pip install "comfyui-ddim[openvino]"')


def check_output(folder: Path) -> None:
    """See that files can be written there, before anything is computed; raises WorkflowError."""
    try:
        nearest = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    except (OSError, ValueError) as error:  # a name too long, a null in it
        raise WorkflowError(f"--output {folder}: {getattr(error, 'strerror', None) or error}") from None
    if not nearest.is_dir():
        raise WorkflowError(f"--output {folder}: {nearest} is a file, expected a folder")
    if not os.access(nearest, os.W_OK):
        raise WorkflowError(f"--output {folder}: {nearest} can't be written to")


def _check_device(name: str) -> None:
    """See that there is such a device, once torch is loaded; raises WorkflowError."""
    if name == "auto":
        return
    torch = importlib.import_module("torch")
    try:
        kind = torch.device(name).type
    except RuntimeError:
        raise WorkflowError(f"--device {name}: expected auto, cpu, cuda, cuda:1, mps ...") from None
    modules = [getattr(owner, kind, None) for owner in (torch, torch.backends)]
    questions = [module.is_available for module in modules if hasattr(module, "is_available")]
    if questions and not any(is_available() for is_available in questions):
        raise WorkflowError(f"--device {name}: torch {torch.__version__} finds no such device here")


def load_pack(folder: Path) -> tuple[dict[str, type], dict[str, str]]:
    """The node classes and display names of a pack that needs nothing of ComfyUI; raises WorkflowError.

    `folder` is as it would lie in custom_nodes: a folder with an `__init__.py`, or a single .py file.
    """
    file = folder / "__init__.py" if folder.is_dir() else folder
    if not file.is_file() or file.suffix != ".py":
        raise WorkflowError(f"--nodes {folder}: expected a folder with an __init__.py, or a .py file")
    name = "comfyui_ddim_pack_" + "".join(c if c.isalnum() else "_" for c in str(folder.resolve()))
    where = [str(folder)] if folder.is_dir() else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=where)
    assert spec is not None and spec.loader is not None  # it has a loader: it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise WorkflowError(f"--nodes {folder}: can't be loaded: {type(error).__name__}: {error}") from error
    classes = getattr(module, "NODE_CLASS_MAPPINGS", None)
    if not isinstance(classes, dict):
        raise WorkflowError(f"--nodes {folder}: has no NODE_CLASS_MAPPINGS")
    return classes, getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {}
