"""Calling a node: its inputs gathered as lists, its method called once per item.

Every value travels as a list ("column"), one item per picture or whatever else is mapped over. A method is called
as often as the longest column is long; shorter columns repeat their last item.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .graph import Graph, is_link
from .node_class import NodeClass

Columns = dict[str, Sequence[Any]]
MISSING = (None,)
"""The column of an input whose source has not run (yet)."""

FindOutputs = Callable[[str], "list[Sequence[Any]] | None"]
"""Node id -> its outputs, a column per slot; None if it has none yet."""


@dataclass(frozen=True)
class Arguments:
    """A node's inputs, ready for `Caller.call`."""

    columns: Columns
    missing: frozenset[str] = frozenset()
    hidden: Mapping[str, Any] = field(default_factory=dict)  # kind -> value, for v3 classes
    v3_data: Any = None


@dataclass(frozen=True)
class HiddenValues:
    """Where hidden inputs come from; without a graph (when a class is asked about constants) PROMPT is empty."""

    graph: Graph | None = None
    extra_data: Mapping[str, Any] = field(default_factory=dict)

    def value(self, kind: str, node_id: str) -> Any:
        """The value of a hidden input of this kind."""
        if kind == "PROMPT":
            return self.graph.get_original_prompt() if self.graph is not None else {}
        if kind == "DYNPROMPT":
            return self.graph
        return node_id if kind == "UNIQUE_ID" else self.extra_data.get(kind.lower())


_HIDDEN_KINDS = (
    "PROMPT",
    "DYNPROMPT",
    "EXTRA_PNGINFO",
    "UNIQUE_ID",
    "AUTH_TOKEN_COMFY_ORG",
    "API_KEY_COMFY_ORG",
    "COMFY_USAGE_SOURCE",
)


def gather(
    node_class: NodeClass,
    node_id: str,
    inputs: Mapping[str, Any],
    find_outputs: FindOutputs | None,
    hidden_values: HiddenValues,
) -> Arguments:
    """The columns of a node's inputs.

    Constants that the class doesn't declare are dropped unless it accepts all, links never are (classes with
    `**kwargs` rely on it).
    Without `find_outputs` every link is missing: that is how a class is asked about its constants alone.
    """
    declaration = node_class.declaration(inputs)
    columns: Columns = {}
    missing = set()
    for name, value in inputs.items():
        declared = declaration.inputs.get(name)
        if is_link(value) and not (declared is not None and declared.is_raw):
            outputs = find_outputs(value[0]) if find_outputs is not None else None
            if outputs is None or value[1] >= len(outputs):
                missing.add(name)
                columns[name] = MISSING
            else:
                columns[name] = outputs[value[1]]
        elif declared is not None or node_class.accepts_all:
            columns[name] = [value]
    hidden = {
        name: hidden_values.value(kind, node_id)
        for name, kind in declaration.hidden.items()
        if kind in _HIDDEN_KINDS
    }
    if node_class.is_v3:
        return Arguments(columns, frozenset(missing), hidden, declaration.v3_data)
    columns.update((name, [value]) for name, value in hidden.items())
    return Arguments(columns, frozenset(missing))


@dataclass(frozen=True)
class Method:
    """A method of a node to call: `target` is the node's object, or its class for questions to the class."""

    node_class: NodeClass
    target: Any
    node_id: str
    name: str


class Caller:
    """Calls node methods for one run.

    `calling(node_id, index)` is entered around each call; `before_call(node_id, index)` runs before a node's own
    method (not before questions to its class) and may raise to stop the run.
    """

    def __init__(self, calling: Callable[[str, int | None], Any], before_call: Callable[[str, int], None]):
        self._calling = calling
        self._before_call = before_call

    async def ask(self, method: Method, arguments: Arguments) -> list[Any]:
        """Call one of a class's optional methods (IS_CHANGED and the like); a list of results, one per item."""
        return await results_of(await self.call(method, arguments))

    async def call(
        self, method: Method, arguments: Arguments, on_block: Callable[[Any], Any] | None = None
    ) -> list[Any]:
        """Call the method once per item; the results, where unfinished coroutines stand as tasks.

        Items that hold a blocker are not called: their result is `on_block(blocker)`. Only a node's own method is
        called with `on_block`.
        """
        takes_lists, blockers = method.node_class.takes_lists, method.node_class.runtime.blockers
        results: list[Any] = []
        try:
            for index, values in enumerate(_rows(arguments.columns, takes_lists)):
                blocker = _first_blocker(values, blockers, takes_lists)
                if blocker is not None:
                    results.append(on_block(blocker) if on_block is not None else blocker)
                    continue
                if on_block is not None:
                    self._before_call(method.node_id, index)
                results.append(await self._call_once(method, arguments, index, values))
        except BaseException:
            for task in results:
                if isinstance(task, asyncio.Task):
                    task.cancel()
            raise
        return results

    async def _call_once(self, method: Method, arguments: Arguments, index: int, values: dict[str, Any]) -> Any:
        if method.node_class.is_v3:
            bind = method.node_class.runtime.bind
            function, values = bind(method.target, method.name, arguments.v3_data, arguments.hidden, values)
        else:
            function = getattr(method.target, method.name)
        if inspect.iscoroutinefunction(function):
            return await self._start(function, method.node_id, index, values)
        with self._calling(method.node_id, index):
            return function(**values)

    async def _start(
        self, function: Callable[..., Any], node_id: str, index: int, values: dict[str, Any]
    ) -> Any:
        async def run() -> Any:
            with self._calling(node_id, index):
                return await function(**values)

        task = asyncio.create_task(run())
        await asyncio.sleep(0)  # what doesn't wait for anything is done after this
        return task.result() if task.done() else task


def _rows(columns: Columns, takes_lists: bool) -> list[dict[str, Any]]:
    if takes_lists:
        return [columns]
    count = max((len(column) for column in columns.values()), default=0)
    if count == 1:  # by far the most common
        return [{name: column[0] for name, column in columns.items()}]
    if count == 0:
        return [{}]
    return [
        {name: column[min(index, len(column) - 1)] for name, column in columns.items()}
        for index in range(count)
    ]


def _first_blocker(values: dict[str, Any], blockers: tuple[type, ...], takes_lists: bool) -> Any:
    for value in values.values():
        for item in value if takes_lists else (value,):
            if isinstance(item, blockers):
                return item
    return None


async def results_of(results: list[Any]) -> list[Any]:
    """The results with every task awaited; raises what the first failing one raised."""
    tasks = [result for result in results if isinstance(result, asyncio.Task)]
    if tasks:
        await asyncio.gather(*tasks)
    return [result.result() if isinstance(result, asyncio.Task) else result for result in results]
