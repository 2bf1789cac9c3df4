"""The order in which cells are made, and what to keep from one to another, so that common work is done once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ..executor.graph import links
from .axes import Prompt
from .cells import Cells

__all__ = ["downstream", "results_to_keep", "running_order"]

MOST_KEPT = 200
"""Results of earlier cells that a worker keeps."""
HEAVY = frozenset(["MODEL", "CLIP", "VAE", "CONTROL_NET", "CLIP_VISION", "STYLE_MODEL", "UPSCALE_MODEL"])
"""Types of results that stand for a whole model: of these only the latest is kept."""


def downstream(nodes: Prompt, starts: Sequence[str]) -> set[str]:
    """The nodes that depend on these, and these."""
    users = _users(nodes)
    found, stack = set(starts), list(starts)
    while stack:
        for user in users.get(stack.pop(), ()):
            if user not in found:
                found.add(user)
                stack.append(user)
    return found


def running_order(cells: Cells, needed: set[str]) -> Iterator[int]:
    """All indexes, in the order in which the cells' common beginnings are computed once.

    An executor keeps what the latest prompt has. So axes on which more of the nodes that run (`needed`) depend vary
    more slowly: what they don't change is kept while the others vary.
    """
    order = _slow_to_fast(cells, needed)
    strides = [math.prod(cells.shape[axis + 1 :]) for axis in range(len(cells.shape))]

    def walk(depth: int, start: int) -> Iterator[int]:
        axis = order[depth]
        for step in range(cells.shape[axis]):
            index = start + step * strides[axis]
            if depth + 1 < len(order):
                yield from walk(depth + 1, index)
            else:
                yield index

    return walk(0, 0)


def results_to_keep(cells: Cells, needed: set[str], node_classes: Mapping[str, type]) -> tuple[frozenset[str], int]:
    """The nodes whose results come again after other ones, and how many results that are; none if they are too many.

    Where two axes change branches of their own, the fast one's branch gives the same results for each value of the slow
    one. Kept are those that a node beyond the branch takes.
    """
    depends = _axes_of(cells, needed)
    rank = {axis: place for place, axis in enumerate(_slow_to_fast(cells, needed))}

    def comes_again(node_id: str) -> bool:
        inside = {axis for axis in depends[node_id] if cells.shape[axis] > 1}
        outside = {axis for axis, size in enumerate(cells.shape) if size > 1} - inside
        return bool(inside and outside) and min(map(rank.__getitem__, outside)) < max(map(rank.__getitem__, inside))

    users = _users(cells.base)
    again = {node_id for node_id in needed if comes_again(node_id) and not _is_heavy(cells.base, node_id, node_classes)}
    kept = frozenset(node_id for node_id in again if set(users.get(node_id, ())) & needed - again)
    count = sum(math.prod(cells.shape[axis] for axis in depends[node_id]) for node_id in kept)
    return (kept, count) if count <= MOST_KEPT else (frozenset(), 0)


def _users(nodes: Prompt) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {}
    for node_id, node in nodes.items():
        for _, source in links(node):
            users.setdefault(source, []).append(node_id)
    return users


def _reach(cells: Cells, needed: set[str]) -> list[set[str]]:
    """For each axis the nodes that run and depend on it."""
    nodes = cells.nodes(0)
    return [downstream(nodes, [node_id for node_id, _ in axis.targets]) & needed for axis in cells.axes]


def _slow_to_fast(cells: Cells, needed: set[str]) -> list[int]:
    reach = _reach(cells, needed)
    return sorted(range(len(cells.axes)), key=lambda axis: -len(reach[axis]))


def _axes_of(cells: Cells, needed: set[str]) -> dict[str, set[int]]:
    """For each node that runs the axes that it depends on."""
    reach = _reach(cells, needed)
    return {node_id: {axis for axis, found in enumerate(reach) if node_id in found} for node_id in needed}


def _is_heavy(nodes: Prompt, node_id: str, node_classes: Mapping[str, type]) -> bool:
    types = getattr(node_classes.get(nodes[node_id]["class_type"]), "RETURN_TYPES", ())
    return bool(HEAVY & set(types))
