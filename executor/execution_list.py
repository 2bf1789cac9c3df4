"""Which node runs next: demand goes from outputs to inputs, nodes run when nothing they wait for is left."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from typing import Any


class ExecutionList:
    """A topological order that may grow while it is being worked off.

    `sources(node)` are the nodes whose results a node must have before it runs, `has_result(node)` says which
    are there already. Outputs go first, so that results show early, and so do other urgent nodes (those that
    only wait for something); then what feeds outputs. Among equals, the one asked for first runs first.
    """

    def __init__(
        self,
        sources: Callable[[str], Iterable[str]],
        has_result: Callable[[str], bool],
        is_urgent: Callable[[str], bool],
        is_output: Callable[[str], bool],
    ):
        self._sources = sources
        self._has_result = has_result
        self._is_urgent = is_urgent
        self._is_output = is_output
        self._waits_for: dict[str, set[Any]] = {}  # pending node -> pending nodes (and outside events)
        self._users: dict[str, dict[str, None]] = {}  # pending node -> pending nodes waiting for it, in order
        self._feeds_output: set[str] = set()
        self._order: dict[str, int] = {}
        self._asked = 0
        self._ready: list[tuple[int, int, str]] = []  # (rank, order, node); may hold stale entries
        self._to_rank: set[str] = set()
        self._outside = 0
        self._something_ended = asyncio.Event()

    def __bool__(self) -> bool:
        """Whether any node is still to be run."""
        return bool(self._waits_for)

    def __contains__(self, node_id: str) -> bool:
        """Whether the node is still to be run."""
        return node_id in self._waits_for

    def want(self, node_id: str) -> None:
        """Ask for a node, and so for all it needs."""
        stack, found = [node_id], []
        while stack:
            node = stack.pop()
            if node in self._waits_for:
                continue
            self._waits_for[node], self._users[node] = set(), {}
            self._order[node] = self._asked
            self._asked += 1
            self._to_rank.add(node)
            for source in self._sources(node):
                if not self._has_result(source):
                    stack.append(source)
                    found.append((source, node))
        for source, user in found:
            self._connect(source, user)

    def add_dependency(self, source: str, user: str) -> None:
        """Make a pending node wait for another one too."""
        if not self._has_result(source):
            self.want(source)
            self._connect(source, user)

    def _connect(self, source: str, user: str) -> None:
        self._waits_for[user].add(source)
        self._users[source][user] = None
        self._to_rank.add(source)
        if self._is_output(user) and source not in self._feeds_output:
            self._feeds_output.add(source)
            self._to_rank.update(node for node in self._waits_for[source] if isinstance(node, str))

    def wait_outside(self, node_id: str) -> Callable[[], None]:
        """Hold a pending node back until the returned function is called."""
        event = object()
        self._waits_for[node_id].add(event)
        self._outside += 1

        def ended() -> None:
            self._outside -= 1
            self._let_go(node_id, event)
            self._something_ended.set()

        return ended

    def done(self, node_id: str) -> None:
        """A node has run: those that waited only for it are ready."""
        del self._waits_for[node_id]
        self._feeds_output.discard(node_id)
        for user in self._users.pop(node_id):
            self._let_go(user, node_id)

    def _let_go(self, node_id: str, event: Any) -> None:
        waits = self._waits_for.get(node_id)
        if waits is not None:
            waits.discard(event)
            if not waits:
                self._to_rank.add(node_id)

    def not_done(self, node_id: str) -> None:
        """A picked node has to be picked again, once what it now waits for is there."""
        self._to_rank.add(node_id)

    def pick(self) -> str | None:
        """A node that can run now; None if every pending node waits for something."""
        for node in self._to_rank:
            if node in self._waits_for and not self._waits_for[node]:
                heapq.heappush(self._ready, (self._rank(node), self._order[node], node))
        self._to_rank.clear()
        while self._ready:
            node = heapq.heappop(self._ready)[2]
            if node in self._waits_for and not self._waits_for[node]:
                return node
        return None

    def _rank(self, node_id: str) -> int:
        if self._is_urgent(node_id):
            return 0
        if node_id in self._feeds_output:
            return 1
        return 2 if any(user in self._feeds_output for user in self._users[node_id]) else 3

    @property
    def is_waiting_outside(self) -> bool:
        """Whether some node is held back by something other than a node."""
        return self._outside > 0

    async def outside_event(self, seconds: float) -> None:
        """Wait until something outside ends, or for so long."""
        self._something_ended.clear()
        try:
            await asyncio.wait_for(self._something_ended.wait(), seconds)
        except TimeoutError:
            return

    def pending(self) -> list[str]:
        """The nodes still to be run, in the order they were asked for."""
        return list(self._waits_for)

    def cycle(self) -> list[str]:
        """Where every pending node waits for another: nodes each of which waits for the next, and the last
        for the first."""
        path: dict[str, None] = {}
        node = next(iter(self._waits_for))
        while node not in path:
            path[node] = None
            node = next(source for source in self._waits_for[node] if isinstance(source, str))
        return list(path)[list(path).index(node) :]


class Consumers:
    """For every node that might run: the nodes that might use its result.

    `sources(node)` are all the nodes a node is linked to, lazily or not; `will_run(node)` says whether the node
    is on the execution list. A node that nobody asked for lets go of its own sources as soon as nobody can.
    """

    def __init__(self, sources: Callable[[str], Iterable[str]], will_run: Callable[[str], bool]):
        self._sources = sources
        self._will_run = will_run
        self._users: dict[str, set[str]] = {}
        self._uses: dict[str, set[str]] = {}

    def add(self, node_ids: Iterable[str]) -> None:
        """Take these nodes, and all they might ask for, into record."""
        stack = list(node_ids)
        while stack:
            node_id = stack.pop()
            if node_id in self._uses:
                continue
            self._uses[node_id] = set()
            self._users.setdefault(node_id, set())
            for source in self._sources(node_id):
                self.add_use(source, node_id)
                stack.append(source)

    def add_use(self, source: str, user: str) -> None:
        """`user` might ask for the result of `source` too."""
        self._uses[user].add(source)
        self._users.setdefault(source, set()).add(user)

    def done(self, node_id: str) -> list[str]:
        """A node has run; the nodes whose results nobody can ask for any more."""
        unused = [] if self._users.get(node_id) else [node_id]
        leaving = [node_id]
        while leaving:
            user = leaving.pop()
            for source in self._uses.pop(user, ()):
                users = self._users[source]
                users.discard(user)
                if not users:
                    unused.append(source)
                    if not self._will_run(source):
                        leaving.append(source)
        return unused
