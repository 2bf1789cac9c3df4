"""Who may still ask for a node's result, so that it can be dropped when nobody may."""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Consumers:
    """For every node that might run: the nodes that might use its result.

    `sources(node)` are all the nodes a node is linked to, lazily or not; `will_run(node)` says whether the node
    is on the schedule. A node that nobody asked for lets go of its own sources as soon as nobody can.
    """

    def __init__(self, sources: Callable[[str], Iterable[str]], will_run: Callable[[str], bool]):
        self._sources = sources
        self._will_run = will_run
        self._users: dict[str, set[str]] = {}
        self._uses: dict[str, set[str]] = {}

    def add(self, node_ids: Iterable[str]) -> None:
        """Take these nodes, and all they might ask for, into account."""
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
