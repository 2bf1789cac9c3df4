"""Node types that ComfyUI renamed: files of any age name them as they did when they were saved."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from .graph import Graph, Workflow

RENAMED: Mapping[str, str] = {
    "T2IAdapterLoader": "ControlNetLoader",
    "ConditioningAverage ": "ConditioningAverage",
    "SDV_img2vid_Conditioning": "SVD_img2vid_Conditioning",
    "Load3DAnimation": "Load3D",
    "Preview3DAnimation": "Preview3D",
}
"""As the editor renames them when it opens a file, and the server in every prompt."""


def current_type(kind: Any, known: Container[str]) -> Any:
    """Today's name of a node type; an old name counts where a class still has it."""
    today = RENAMED.get(kind) if isinstance(kind, str) and kind not in known else None
    return today if today in known else kind


def with_current_types(workflow: Workflow, known: Container[str]) -> Workflow:
    """The workflow with today's names of its nodes' types."""
    subgraphs = {name: _renamed(graph, known) for name, graph in workflow.subgraphs.items()}
    return replace(workflow, graph=_renamed(workflow.graph, known), subgraphs=subgraphs)


def _renamed(graph: Graph, known: Container[str]) -> Graph:
    if not any(node.type in RENAMED for node in graph.nodes.values()):
        return graph
    nodes = {key: replace(node, type=current_type(node.type, known)) for key, node in graph.nodes.items()}
    return replace(graph, nodes=nodes)
