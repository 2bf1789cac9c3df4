"""One run of one prompt: asks for the outputs, calls node after node, keeps what they give."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from .cache import Cache, Result
from .caller import Arguments, Caller, HiddenValues, gather, results_of
from .consumers import Consumers
from .events import Emit
from .faults import type_name
from .graph import Graph, NodeNotFoundError, is_link, links
from .host import Host
from .instances import Instances
from .node_class import NodeClass, NodeClasses
from .returns import Returns, read_returns, resolve, to_columns
from .schedule import Schedule
from .signature import Signatures, SignatureTable

logger = logging.getLogger(__name__)


class NodeInputError(ValueError):
    """A node asks, while running, for an input that isn't linked."""


class Run:
    """The state of a run. What outlives it (cache, signature table, node instances) is handed in."""

    def __init__(
        self,
        run_id: str,
        graph: Graph,
        classes: NodeClasses,
        host: Host,
        caller: Caller,
        cache: Cache,
        table: SignatureTable,
        instances: Instances,
        hidden_values: HiddenValues,
        emit: Emit,
    ):
        self.id = run_id
        self.graph = graph
        self._classes = classes
        self._host = host
        self._caller = caller
        self._cache = cache
        self._signatures = Signatures(table, graph, classes, caller)
        self._instances = instances
        self._hidden_values = hidden_values
        self._emit = emit
        self._schedule = Schedule(
            self._needed_sources, self._has_result, self._is_urgent, self._is_output
        )
        self._consumers = Consumers(self._all_sources, self._schedule.__contains__)
        self._tasks: dict[str, list[Any]] = {}  # node -> its results, some of them running tasks
        self._expanded: dict[str, Returns] = {}  # node -> what it returned together with new nodes
        self._uis: dict[str, dict[str, list[Any]]] = {}
        self._columns: dict[str, Arguments] = {}  # of the node being called, for the report of its failure
        self.ran: list[str] = []
        self.cached: list[str] = []
        self.executed: dict[str, None] = {}
        self.failure: dict[str, Any] | None = None
        self.error: BaseException | None = None
        self.interrupted = False

    # --- the loop

    async def work(self, outputs: list[str], is_stopping: Callable[[], bool]) -> None:
        """Run the outputs and what they need; how it went is in `failure` and `interrupted`."""
        self._emit("execution_start")
        await self._look_up_prompt()
        try:
            if await self._work(outputs, is_stopping):
                self._emit("execution_success")
        finally:
            await self._cancel_tasks()

    async def _look_up_prompt(self) -> None:
        prompt = self.graph.original_prompt
        if self._cache.signs:
            await self._signatures.add(prompt)
        self._cache.begin(self.graph, self._signatures)
        self.cached = [node_id for node_id in prompt if self._has_result(node_id)]
        self._emit("execution_cached", nodes=self.cached)

    async def _work(self, outputs: list[str], is_stopping: Callable[[], bool]) -> bool:
        with _inference_mode() as enter_inference_mode:
            for output in outputs:
                try:
                    self._schedule.want(output)
                except NodeNotFoundError as error:
                    return self._failed(output, error)
            self._consumers.add(outputs)
            while self._schedule:
                node_id = self._schedule.pick()
                if node_id is None:
                    if not self._schedule.is_waiting_outside:
                        return self._found_cycle()
                    await self._schedule.outside_event(0.1)
                    if is_stopping():
                        return self._stopped(next(iter(self._tasks)))
                    continue
                enter_inference_mode()
                try:
                    is_done = await self._step(node_id)
                except self._host.interruptions:
                    return self._stopped(node_id)
                except Exception as error:
                    return self._failed(node_id, error)
                if is_done:
                    self._schedule.done(node_id)
                    for unused in self._consumers.done(node_id):
                        self._cache.drop(unused)
                else:
                    self._schedule.not_done(node_id)
        return True

    async def _step(self, node_id: str) -> bool:
        """Take a node one step on; True when it has its result, False when it has to be picked again."""
        cached = self._cache.get(node_id)
        if cached is not None:
            self._announce_result(node_id, cached.ui or None)
            return True
        node_class = self._class_of(node_id)
        if node_id in self._tasks:
            results = await results_of(self._tasks.pop(node_id))
            return await self._finish(node_id, node_class, read_returns(results, node_class))
        if node_id in self._expanded:
            returns = self._expanded.pop(node_id)
            self._keep(node_id, to_columns(resolve(returns, self._outputs_of), node_class))
            return True
        return await self._call(node_id, node_class)

    async def _call(self, node_id: str, node_class: NodeClass) -> bool:
        node = self.graph.get_node(node_id)
        arguments = gather(node_class, node_id, node["inputs"], self._outputs_of, self._hidden_values)
        self._columns = {node_id: arguments}
        self.ran.append(node_id)
        self._emit("executing", node=node_id, display_node=self.graph.get_display_node_id(node_id))
        instance = self._instances.get(node_id, self.graph.get_real_node_id(node_id), node_class)
        if await self._needs_more_inputs(node_id, node_class, instance, arguments):
            return False
        results = await self._caller.call(
            node_class,
            instance,
            node_id,
            node_class.function,
            arguments,
            on_block=lambda blocker: self._blocked(node_id, blocker),
        )
        tasks = [result for result in results if isinstance(result, asyncio.Task)]
        if any(not task.done() for task in tasks):
            self._tasks[node_id] = results
            ended = self._schedule.wait_outside(node_id)
            asyncio.gather(*tasks, return_exceptions=True).add_done_callback(lambda _: ended())
            return False
        results = await results_of(results)
        return await self._finish(node_id, node_class, read_returns(results, node_class))

    async def _needs_more_inputs(
        self, node_id: str, node_class: NodeClass, instance: Any, arguments: Arguments
    ) -> bool:
        """Ask a lazy node which inputs it wants now, and schedule those that aren't there."""
        hook = node_class.hook("check_lazy_status", "check_lazy_status")
        if hook is None:
            return False
        answers = await self._caller.ask(node_class, instance, node_id, hook[0], arguments)
        names = {name for answer in answers if isinstance(answer, list) for name in answer}
        wanted = [
            name
            for name in sorted(name for name in names if isinstance(name, str))
            if name not in arguments.columns or name in arguments.missing
        ]
        inputs = self.graph.get_node(node_id)["inputs"]
        for name in wanted:
            if not is_link(inputs.get(name)):
                state = "that value is a constant" if name in inputs else "it has no such input"
                raise NodeInputError(f"Node {node_id} says it needs input {name}, but {state}")
            self._schedule.add_dependency(inputs[name][0], node_id)
        return bool(wanted)

    async def _finish(self, node_id: str, node_class: NodeClass, returns: Returns) -> bool:
        if returns.ui:
            self._uis[node_id] = returns.ui
            self._announce_result(node_id, returns.ui)
        if returns.expands:
            await self._expand(node_id, returns)
            return False
        self._keep(node_id, to_columns([call.values for call in returns.calls], node_class))
        return True

    async def _expand(self, node_id: str, returns: Returns) -> None:
        """Take in the new nodes, run the outputs among them, and have the node wait for those it links to."""
        children: list[str] = []
        for call in returns.calls:
            for child_id, child in (call.expansion or {}).items():
                if child["class_type"] not in self._classes:
                    raise NodeNotFoundError(f"expands into unknown node class {child['class_type']!r}")
                display_id = child.get("override_display_id", node_id)
                self.graph.add_ephemeral_node(child_id, child, node_id, display_id)
                children.append(child_id)
        if self._cache.signs:
            await self._signatures.add(children)
        self._cache.expand(node_id, children)
        outputs = [child_id for child_id in children if self._is_output(child_id)]
        sources = [
            value[0]
            for call in returns.calls
            if call.expansion is not None
            for value in call.values or ()
            if is_link(value)
        ]
        self._consumers.add([*outputs, *sources])
        for output in outputs:
            self._schedule.want(output)
        for source in sources:
            self._consumers.add_use(source, node_id)
            self._schedule.add_dependency(source, node_id)
        self._expanded[node_id] = returns

    def _keep(self, node_id: str, outputs: list[Any]) -> None:
        self._cache.put(node_id, Result(outputs, self._uis.get(node_id, {})))
        self.executed[node_id] = None

    # --- what the schedule and the caller ask about nodes

    def _class_of(self, node_id: str) -> NodeClass:
        return self._classes[self.graph.get_node(node_id)["class_type"]]

    def _has_result(self, node_id: str) -> bool:
        return self.graph.has_node(node_id) and self._cache.get(node_id) is not None

    def _outputs_of(self, node_id: str) -> list[Any] | None:
        result = self._cache.get(node_id) if self.graph.has_node(node_id) else None
        return result.outputs if result is not None else None

    def _all_sources(self, node_id: str) -> Iterator[str]:
        return (source for _, source in links(self.graph.get_node(node_id)) if self.graph.has_node(source))

    def _needed_sources(self, node_id: str) -> Iterator[str]:
        """All sources but those of lazy inputs."""
        node = self.graph.get_node(node_id)
        declared = self._class_of(node_id).signature(node["inputs"]).inputs
        for name, source in links(node):
            if not self.graph.has_node(source):
                raise NodeNotFoundError(f"input {name} is linked to node {source}, which doesn't exist")
            if name not in declared or not declared[name].is_lazy:
                yield source

    def _is_output(self, node_id: str) -> bool:
        return self._class_of(node_id).is_output

    def _is_urgent(self, node_id: str) -> bool:
        node_class = self._class_of(node_id)
        return node_class.is_output or node_class.is_async

    # --- how it ends, and what is said of it

    def uis(self) -> dict[str, dict[str, list[Any]]]:
        """What every node shows, those answered from the cache included."""
        shown = {
            node_id: result.ui
            for node_id in self.graph.original_prompt
            if (result := self._cache.get(node_id)) is not None and result.ui
        }
        return {**shown, **self._uis}

    def _announce_result(self, node_id: str, ui: dict[str, list[Any]] | None) -> None:
        self._emit("executed", node=node_id, display_node=self.graph.get_display_node_id(node_id), output=ui)

    def _blocked(self, node_id: str, blocker: Any) -> Any:
        """Report a blocker's message, once."""
        if blocker.message is None:
            return blocker
        self._emit(
            "execution_error",
            **self._where(node_id, node_id),
            exception_message=f"Execution Blocked: {blocker.message}",
            exception_type="ExecutionBlocked",
            traceback=[],
            current_inputs=[],
            current_outputs=[],
        )
        return self._host.silence(blocker)

    def _where(self, node_id: str, class_of: str) -> dict[str, Any]:
        return {
            "node_id": node_id,
            "node_type": self.graph.get_node(class_of)["class_type"],
            "executed": list(self.executed),
        }

    def _stopped(self, node_id: str) -> bool:
        real_id = self.graph.get_real_node_id(node_id)
        self._emit("execution_interrupted", **self._where(real_id, real_id))
        self.interrupted = True
        return False

    def _failed(self, node_id: str, error: Exception, kind: str | None = None) -> bool:
        real_id = self.graph.get_real_node_id(node_id)
        columns = self._columns[node_id].columns if node_id in self._columns else {}
        self.error = error
        self.failure = {
            **self._where(real_id, real_id),
            "exception_message": f"{error}\n{self._host.advice(error)}",
            "exception_type": kind or type_name(error),
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": {name: [_readable(one) for one in column] for name, column in columns.items()},
            "current_outputs": list(self.graph.original_prompt),
        }
        logger.debug("node %s failed", node_id, exc_info=error)
        self._emit("execution_error", **self.failure)
        return False

    def _found_cycle(self) -> bool:
        """Static cycles never get here, so it is an expansion's: blame the node it shows under."""
        pending = self._schedule.pending()
        displays = [(node_id, self.graph.get_display_node_id(node_id)) for node_id in pending]
        blamed = next((shown for node_id, shown in displays if shown != node_id), pending[0])
        cycle = self._schedule.cycle()
        error = RuntimeError("Dependency cycle detected: " + " -> ".join([*cycle, cycle[0]]))
        return self._failed(blamed, error, "graph.DependencyCycleError")

    async def _cancel_tasks(self) -> None:
        tasks = [one for results in self._tasks.values() for one in results if isinstance(one, asyncio.Task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _readable(value: Any) -> Any:
    return value if value is None or isinstance(value, (int, float, bool, str)) else str(value)


@contextlib.contextmanager
def _inference_mode() -> Iterator[Callable[[], None]]:
    """Gives a function that enters torch's inference mode once torch is loaded, until the block ends."""
    with contextlib.ExitStack() as stack:
        entered = False

        def enter() -> None:
            nonlocal entered
            torch = sys.modules.get("torch")
            if not entered and torch is not None and hasattr(torch, "inference_mode"):
                stack.enter_context(torch.inference_mode())
                entered = True

        yield enter
