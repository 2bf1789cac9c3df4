"""The node classes of a test session: a host's own, the packs under test, the assert nodes."""

from __future__ import annotations

import argparse
import asyncio
import importlib
from pathlib import Path

from ..cli.node_set import NodeSet, load_node_set, load_pack
from ..executor.context import using
from ..executor.errors import WorkflowError
from .assert_nodes import ASSERT_CLASS_MAPPINGS
from .settings import Settings


def load_nodes(settings: Settings, output: Path) -> tuple[NodeSet, dict[str, type]]:
    """All classes, and those of the packs under test; runs write to `output`. Raises WorkflowError."""
    asked = {"models": settings.models, "input": settings.input, "output": output, "device": settings.device}
    node_set = load_node_set(argparse.Namespace(comfyui=settings.comfyui, nodes=[], dtype="auto", **asked))
    own: dict[str, type] = {}
    with using(node_set.context):
        for folder in settings.packs:
            classes, titles = _load_into_comfyui(folder) if settings.comfyui else _load_alone(folder)
            node_set.add(classes, titles)
            own |= classes
    node_set.add({name: one for name, one in ASSERT_CLASS_MAPPINGS.items() if name not in node_set.classes})
    return node_set, own


def _load_alone(folder: Path) -> tuple[dict[str, type], dict[str, str]]:
    try:
        return load_pack(folder)
    except WorkflowError as error:
        fault = str(error).removeprefix("--nodes ")
        hint = " (a pack that imports ComfyUI's modules needs a ComfyUI checkout: comfy_dir, or COMFYUI_DIR)"
        raise WorkflowError(f"comfy_packs: {fault}{hint * ('ModuleNotFoundError' in fault)}") from error


def _load_into_comfyui(folder: Path) -> tuple[dict[str, type], dict[str, str]]:
    """By ComfyUI's own loader, which takes both forms of pack; one that is linked into custom_nodes is loaded again."""
    nodes = importlib.import_module("nodes")
    before = dict(nodes.NODE_CLASS_MAPPINGS)
    folder = folder.resolve()
    if not asyncio.run(nodes.load_custom_node(str(folder), module_parent="custom_nodes")):
        raise WorkflowError(f"comfy_packs: {folder}: ComfyUI can't load it; its log says why")
    classes = {name: one for name, one in nodes.NODE_CLASS_MAPPINGS.items() if before.get(name) is not one}
    return classes, nodes.NODE_DISPLAY_NAME_MAPPINGS
