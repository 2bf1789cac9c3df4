"""Ids that must differ: a node inside a subgraph whose number another level has too is numbered anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .definition import Definition
from .graph import Graph, Node, Workflow


def renumbered(workflow: Workflow) -> Workflow:
    """The workflow as the editor numbers it on opening: the first node of a number keeps it, the top level first."""
    used = set(workflow.graph.nodes)
    everywhere = used.union(*(graph.nodes for graph in workflow.subgraphs.values()))
    last = max([workflow.last_id, *(int(key) for key in used if key.isascii() and key.isdigit() and len(key) < 16)])
    changes: dict[str, dict[str, str]] = {}
    for name, graph in workflow.subgraphs.items():
        for key in graph.nodes:
            if key in used:
                last += 1
                while str(last) in everywhere:
                    last += 1
                changes.setdefault(name, {})[key] = str(last)
            used.add(changes.get(name, {}).get(key, key))
    workflow = replace(workflow, last_id=last)
    if not changes:
        return workflow
    subgraphs = {name: _with_ids(graph, changes.get(name, {}), changes) for name, graph in workflow.subgraphs.items()}
    return replace(workflow, graph=_with_ids(workflow.graph, {}, changes), subgraphs=subgraphs)


def with_opened_groups(workflow: Workflow, groups: Mapping[str, Definition]) -> tuple[Workflow, dict[str, Definition]]:
    """The workflow with a subgraph of its own for each group node at the top: new ids inside, then for the host."""
    ids: dict[str, str] = {}
    types: dict[str, str] = {}
    subgraphs, definitions, last = dict(workflow.subgraphs), dict(groups), workflow.last_id
    for node in workflow.graph.nodes.values():
        if node.type in groups and node.type in subgraphs:
            inside = subgraphs[node.type]
            numbers = {key: str(last + 1 + i) for i, key in enumerate(inside.nodes)}
            last += len(numbers) + 1
            ids[node.id], types[node.id] = str(last), f"{node.type} {last}"
            subgraphs[types[node.id]] = _with_ids(inside, numbers, {})
            definitions[types[node.id]] = groups[node.type]
    if not ids:
        return workflow, dict(groups)
    nodes = {key: replace(node, type=types.get(key, node.type)) for key, node in workflow.graph.nodes.items()}
    graph = _with_ids(replace(workflow.graph, nodes=nodes), ids, {})
    return replace(workflow, graph=graph, subgraphs=subgraphs, last_id=last), definitions


def _with_ids(graph: Graph, ids: dict[str, str], changes: dict[str, dict[str, str]]) -> Graph:
    nodes = {}
    for key, node in graph.nodes.items():
        inside = changes.get(node.type)
        properties = _properties(node, inside) if inside else node.properties
        nodes[ids.get(key, key)] = replace(node, id=ids.get(key, key), properties=properties)
    links = {
        key: replace(link, origin=ids.get(link.origin, link.origin), target=ids.get(link.target, link.target))
        for key, link in graph.links.items()
    }
    return replace(graph, nodes=nodes, links=links)


def _properties(node: Node, inside: dict[str, str]) -> dict[str, Any]:
    """A host's properties, with the new ids of the nodes whose widgets it shows."""
    shown = node.properties.get("proxyWidgets")
    if not isinstance(shown, list):
        return node.properties
    entries = [[inside.get(str(one[0]), one[0]), *one[1:]] if isinstance(one, list) and one else one for one in shown]
    return {**node.properties, "proxyWidgets": entries}
