"""Which results are kept, and for how long.

- classic: everything that the latest prompt contains;
- lru: also results of earlier prompts, until more than `size` are kept;
- ram: results of earlier prompts, until memory runs short;
- none: a result is dropped when nobody in the run can ask for it any more.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .graph import Graph
from .signature import Signatures


@dataclass(frozen=True)
class Result:
    """What a node gave: a column per output slot, and what it shows the user."""

    outputs: list[Sequence[Any]]
    ui: dict[str, list[Any]] = field(default_factory=dict)


class Cache(Protocol):
    """What a run asks of a cache."""

    signs: bool
    """Whether `begin` and `expand` need the nodes' signatures worked out."""

    def begin(self, graph: Graph, signatures: Signatures) -> None:
        """A run of `graph` begins; its prompt's nodes have signatures."""

    def expand(self, parent_id: str, children: Iterable[str]) -> None:
        """A node has put `children` in its place; they have signatures."""

    def get(self, node_id: str) -> Result | None:
        """The node's result, if it is kept."""

    def put(self, node_id: str, result: Result) -> None:
        """Keep a result."""

    def drop(self, node_id: str) -> None:
        """Nobody in this run will ask for the node's result again."""

    def make_room(self) -> None:
        """A node has run: free memory if it runs short."""

    def live_signatures(self) -> Iterable[int]:
        """Signatures under which something is kept."""


class _Scope:
    """Results of the nodes of one expansion (or of the prompt), and the expansions below them."""

    def __init__(self):
        self.results: dict[int, Result] = {}
        self.below: dict[tuple[str, str], _Scope] = {}

    def keep_only(self, signatures: set[int], nodes: set[tuple[str, str]]) -> None:
        """Forget what none of these nodes needs."""
        self.results = {key: result for key, result in self.results.items() if key in signatures}
        self.below = {key: scope for key, scope in self.below.items() if key in nodes}


class ClassicCache:
    """Keeps what the current prompt contains; each expanding node has its own results below it."""

    signs = True

    def __init__(self):
        self._top = _Scope()

    def begin(self, graph: Graph, signatures: Signatures) -> None:
        """Forget results of nodes that this prompt doesn't have."""
        self._graph, self._signatures = graph, signatures
        self._scope_of: dict[str, _Scope] = {}
        self._narrow(self._top, graph.original_prompt)

    def _narrow(self, scope: _Scope, node_ids: Iterable[str]) -> None:
        nodes = {(node_id, self._graph.get_node(node_id).get("class_type")) for node_id in node_ids}
        scope.keep_only({self._signatures[node_id] for node_id, _ in nodes}, nodes)

    def expand(self, parent_id: str, children: Iterable[str]) -> None:
        """Open (or go on with) the parent's own scope for these children."""
        children = list(children)
        key = (parent_id, self._graph.get_node(parent_id)["class_type"])
        scope = self._scope_of.get(parent_id, self._top).below.setdefault(key, _Scope())
        self._scope_of.update((child, scope) for child in children)
        self._narrow(scope, children)

    def get(self, node_id: str) -> Result | None:
        """The result of this node, or of one just like it in the same scope."""
        if node_id not in self._signatures:  # it came with an expansion that failed
            return None
        return self._scope_of.get(node_id, self._top).results.get(self._signatures[node_id])

    def put(self, node_id: str, result: Result) -> None:
        """Keep it until a prompt comes that doesn't have it."""
        self._scope_of.get(node_id, self._top).results[self._signatures[node_id]] = result

    def drop(self, node_id: str) -> None:
        """Nothing: the next run may want it."""

    def make_room(self) -> None:
        """Nothing: what is kept doesn't depend on memory."""

    def live_signatures(self) -> Iterable[int]:
        """All that are kept, in all scopes."""
        scopes = [self._top]
        while scopes:
            scope = scopes.pop()
            yield from scope.results
            scopes.extend(scope.below.values())


class LRUCache:
    """Keeps results across prompts; when they are more than `size`, those of the longest unused runs go.

    The results of the current prompt are kept however many they are. With `keep` those of earlier ones are kept only if
    they are of the nodes of these ids, and don't count with the current prompt's.
    """

    signs = True

    def __init__(self, size: float, keep: Container[str] | None = None):
        self._size = size
        self._keep = keep
        self._worth: set[int] = set()
        self._results: dict[int, Result] = {}
        self._used: dict[int, int] = {}  # signature -> the last run that used it
        self._run = 0

    def begin(self, graph: Graph, signatures: Signatures) -> None:
        """Count the prompt's nodes as used, then forget the longest unused."""
        self._signatures = signatures
        self._run += 1
        self._mark(graph.original_prompt)
        self._forget_unused()

    def _forget_unused(self) -> None:
        """Drop all that was last used in the oldest run, then the next, until few enough are left."""
        if self._keep is not None:
            for key in [key for key, last in self._used.items() if last != self._run and key not in self._worth]:
                del self._used[key]
                self._results.pop(key, None)
        for run in sorted(set(self._used.values())):
            if self._count() <= self._size or run == self._run:
                break
            unused = [key for key, last in self._used.items() if last == run]
            for key in unused:
                del self._used[key]
                self._results.pop(key, None)
                self._worth.discard(key)

    def _count(self) -> int:
        return len(self._results) if self._keep is None else len(self._worth)

    def _mark(self, node_ids: Iterable[str]) -> None:
        for node_id in node_ids:
            key = self._signatures[node_id]
            self._used[key] = self._run
            if self._keep is not None and node_id in self._keep:
                self._worth.add(key)

    def expand(self, parent_id: str, children: Iterable[str]) -> None:
        """Count the children as used."""
        self._mark(children)
        self._forget_unused()

    def get(self, node_id: str) -> Result | None:
        """The result of this node, or of one just like it in any prompt."""
        if node_id not in self._signatures:  # it came with an expansion that failed
            return None
        key = self._signatures[node_id]
        self._used[key] = self._run
        return self._results.get(key)

    def put(self, node_id: str, result: Result) -> None:
        """Keep it until it is among the longest unused."""
        key = self._signatures[node_id]
        self._used[key] = self._run
        self._results[key] = result

    def drop(self, node_id: str) -> None:
        """Nothing: a later run may want it."""

    def make_room(self) -> None:
        """Nothing: what is kept doesn't depend on memory."""

    def live_signatures(self) -> Iterable[int]:
        """All that are kept."""
        return self._results


class RAMPressureCache(LRUCache):
    """Keeps results across prompts until less than so many GiB of memory are free; never drops this prompt's.

    Large and long unused ones go first: a result counts by its bytes, and 1.3 times as much for every run since its
    last use. `available()` is the free memory in bytes. Raises ValueError without psutil, which tells it.
    """

    def __init__(self, gigabytes: float = 0, available: Callable[[], int] | None = None):
        super().__init__(0)
        memory = _memory() if available is None or not gigabytes else None
        self._available = available or (lambda: memory().available)
        self._headroom = (gigabytes * 2**30) or min(10 * 2**30, max(2 * 2**30, memory().total / 10))

    def _forget_unused(self) -> None:
        """Nothing: memory decides."""

    def make_room(self) -> None:
        """Drop results of earlier prompts, the largest and longest unused first, until enough is free."""
        if self._available() >= self._headroom:
            return
        earlier = [key for key in self._results if self._used[key] != self._run]
        for key in sorted(earlier, key=self._weight, reverse=True):
            del self._results[key], self._used[key]
            if self._available() >= self._headroom:
                return

    def _weight(self, key: int) -> float:
        return 1.3 ** (self._run - self._used[key]) * max(1, _bytes(self._results[key].outputs))


def _memory() -> Callable[[], Any]:
    try:
        return importlib.import_module("psutil").virtual_memory
    except ImportError as error:
        raise ValueError('cache "ram" needs the package psutil, to know how much memory is free') from error


def _bytes(value: Any) -> int:
    """How much memory tensors take that a result holds, models' weights included."""
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_bytes, value))
    if hasattr(value, "element_size") and value.device.type == "cpu":
        return value.numel() * value.element_size()
    patcher = getattr(value, "patcher", value)
    return patcher.model_size() if hasattr(patcher, "model_size") else 0


class NoCache:
    """Keeps a result only as long as somebody in the run may ask for it."""

    signs = False

    def __init__(self):
        self._results: dict[str, Result] = {}

    def begin(self, graph: Graph, signatures: Signatures) -> None:
        """Start with nothing."""
        self._results.clear()

    def expand(self, parent_id: str, children: Iterable[str]) -> None:
        """Nothing to prepare."""

    def get(self, node_id: str) -> Result | None:
        """This node's own result in this run."""
        return self._results.get(node_id)

    def put(self, node_id: str, result: Result) -> None:
        """Keep it until `drop`."""
        self._results[node_id] = result

    def drop(self, node_id: str) -> None:
        """Forget it."""
        self._results.pop(node_id, None)

    def make_room(self) -> None:
        """Nothing: what is kept doesn't depend on memory."""

    def live_signatures(self) -> Iterable[int]:
        """None."""
        return ()


def make_cache(kind: str, size: float = 0, keep: Container[str] | None = None) -> Cache:
    """A cache by name; raises ValueError for another name or a negative size. `keep` is the LRU cache's."""
    if size < 0:
        raise ValueError(f"cache_size is {size!r}, expected 0 or more")
    if kind == "classic":
        return ClassicCache()
    if kind == "lru":
        return LRUCache(size, keep)
    if kind == "ram":
        return RAMPressureCache(size)
    if kind == "none":
        return NoCache()
    raise ValueError(f'cache is {kind!r}, expected "classic", "lru", "ram" or "none"')
