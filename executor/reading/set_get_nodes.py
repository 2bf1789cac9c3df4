"""Values that reach a node by name instead of by a link: KJNodes' SetNode and GetNode, and others like them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from .flatten import FlatNode, Missing
from .graph import BYPASS, Slot, short
from .virtual import SETTERS


def join_by_name(flat: Mapping[str, FlatNode]) -> dict[str, FlatNode]:
    """The graph with an input on every node that gets a value by name: what feeds the node that sets that name.

    A name is looked up on the node's own level, then on those around it, as KJNodes does.
    """
    setters: dict[tuple[str, str, str], FlatNode] = {}
    for node in flat.values():
        if node.virtual and node.node.type in SETTERS.values():
            setters.setdefault((node.host, node.node.type, _name(node)), node)
    joined = dict(flat)
    for node in flat.values():
        if not node.virtual or node.node.type not in SETTERS or node.node.mode == BYPASS:
            continue
        kind, name = SETTERS[node.node.type], _name(node)
        found = (setters.get((host, kind, name)) for host in _levels(node, flat))
        setter = next((one for one in found if one is not None), None)
        sources = (Missing(f"a {kind} named {short(name)}"),) if setter is None else setter.sources[:1]
        joined[node.id] = replace(node, inputs=(Slot("", "*"),) * len(sources), sources=sources)
    return joined


def _name(node: FlatNode) -> str:
    values = node.node.values
    return str(values[0]) if isinstance(values, list) and values else ""


def _levels(node: FlatNode, flat: Mapping[str, FlatNode]) -> Iterator[str]:
    """The node's host, its host's host, and so on to the top, which is ""."""
    host = node.host
    while host:
        yield host
        host = flat[host].host
    yield ""
