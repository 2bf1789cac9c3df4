"""By what a result is found again: the class, its fingerprint, its constants, and the same of all it depends on.

Two nodes with equal signatures are the same computation. A signature is a small integer that stands for the tuple
of those parts, the signatures of the sources among them, so that making and comparing one costs the same however
long the chain behind it is.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .caller import Caller, HiddenValues, Method, gather
from .graph import Graph, is_link, links
from .node_class import NodeClasses

logger = logging.getLogger(__name__)

_LINK, _CONSTANT = 0, 1


class SignatureTable:
    """The integers given out so far, by the parts they stand for; kept from run to run."""

    def __init__(self):
        self._numbers: dict[tuple, int] = {}
        self._next = itertools.count()

    def number(self, parts: tuple) -> int:
        """The integer of these parts: the same one whenever the parts are equal."""
        known = self._numbers.get(parts)
        if known is None:
            known = self._numbers[parts] = next(self._next)
        return known

    def fresh(self) -> int:
        """An integer that no parts will ever have."""
        return next(self._next)

    def __len__(self) -> int:
        return len(self._numbers)

    def keep(self, numbers: Iterable[int]) -> None:
        """Forget all but these and what they are made of."""
        live = set(numbers)
        kept = []
        for parts, number in reversed(self._numbers.items()):  # sources always come before their users
            if number in live:
                kept.append((parts, number))
                live.update(value[1] for _, value in parts[3] if value[0] == _LINK)
        self._numbers = dict(reversed(kept))


class Signatures:
    """The signatures of one run's nodes."""

    def __init__(
        self, table: SignatureTable, graph: Graph, classes: NodeClasses, caller: Caller, rerun_outputs: bool = False
    ):
        self._rerun_outputs = rerun_outputs
        self._table = table
        self._graph = graph
        self._classes = classes
        self._caller = caller
        self._of: dict[str, int] = {}
        self.fingerprints: dict[str, Any] = {}
        """What IS_CHANGED said, by node; those that couldn't say aren't in it."""

    def forget(self, node_ids: Iterable[str]) -> None:
        """Other nodes have taken these ids."""
        for node_id in node_ids:
            self._of.pop(node_id, None)

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._of

    def __getitem__(self, node_id: str) -> int:
        """The signature of a node given to `add` before; raises KeyError."""
        return self._of[node_id]

    async def add(self, node_ids: Iterable[str]) -> None:
        """Work out the signatures of these nodes and of all they depend on."""
        for node_id in node_ids:
            await self._add_with_sources(node_id)

    async def _add_with_sources(self, wanted: str) -> None:
        stack, entered = [wanted], set()
        while stack:
            node_id = stack[-1]
            if node_id in self._of:
                stack.pop()
                continue
            if not self._graph.has_node(node_id):
                self._of[node_id] = self._table.fresh()
                continue
            node = self._graph.get_node(node_id)
            missing = [source for _, source in links(node) if source not in self._of]
            if node_id in entered and missing:  # it was entered before its sources were done: a cycle
                self._of[node_id] = self._table.fresh()
            elif missing:
                entered.add(node_id)
                stack.extend(reversed(missing))
            else:
                self._of[node_id] = await self._signature(node_id, node)

    async def _signature(self, node_id: str, node: dict[str, Any]) -> int:
        name = node.get("class_type")
        if name not in self._classes or not isinstance(node.get("inputs"), dict):
            return self._table.fresh()
        if self._rerun_outputs and self._classes[name].is_output:
            return self._table.fresh()
        try:
            fingerprint = self.fingerprints[node_id] = await self._fingerprint(node_id, node)
            own_id = node_id if self._classes[name].is_keyed_by_id else None
        except Exception as error:
            logger.warning("node %s (%s): its check for changes failed, so it runs again: %s", node_id, name, error)
            return self._table.fresh()
        inputs = tuple(
            (key, (_LINK, self._of[value[0]], value[1]) if is_link(value) else (_CONSTANT, freeze(value)))
            for key, value in sorted(node["inputs"].items())
        )
        return self._table.number((name, freeze(fingerprint), own_id, inputs))

    async def _fingerprint(self, node_id: str, node: dict[str, Any]) -> Any:
        """What IS_CHANGED says of the node's constants; raises what it raises."""
        node_class = self._classes[node["class_type"]]
        hook = node_class.hook("IS_CHANGED", "fingerprint_inputs")
        if hook is None:
            return False
        arguments = gather(node_class, node_id, node["inputs"], None, HiddenValues())
        answers = await self._caller.ask(Method(node_class, node_class.cls, node_id, hook[0]), arguments)
        return [None if isinstance(answer, node_class.runtime.blockers) else answer for answer in answers]


def freeze(value: Any) -> Any:
    """A hashable stand-in, equal for equal values; what can't be compared is equal to nothing."""
    if value is None or isinstance(value, (int, float, str)):
        return value
    try:
        if isinstance(value, Mapping):
            return frozenset((freeze(key), freeze(item)) for key, item in value.items())
        if isinstance(value, Sequence):
            return tuple(freeze(item) for item in value)
    except RecursionError:
        pass
    return object()
