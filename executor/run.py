"""One run of one prompt: asks for the outputs, calls node after node, keeps what they give."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .cache import Result
from .caller import Arguments, Caller, FindOutputs, HiddenValues, Method, gather, results_of
from .errors import NodeInputError, NodeNotFoundError
from .events import RunRecord
from .execution_list import Consumers, ExecutionList
from .graph import Wiring, is_link
from .memory import Memory
from .node_class import NodeClass
from .outside_store import OutsideStore
from .results import Returns, read_returns, resolve, to_columns
from .rules import Rules
from .runtime import Runtime, inference_mode
from .signature import Signatures


class Run:
    """The state of a run: which nodes are waiting for what. What is told of it goes to `record`."""

    def __init__(
        self,
        wiring: Wiring,
        runtime: Runtime,
        caller: Caller,
        memory: Memory,
        hidden_values: HiddenValues,
        record: RunRecord,
        rules: Rules,
    ):
        self._wiring = wiring
        self._graph = wiring.graph
        self._runtime = runtime
        self._caller = caller
        self._cache = memory.cache
        self._instances = memory.instances
        self._signatures = Signatures(
            memory.table, self._graph, wiring.classes, caller, memory.rerun_outputs
        )
        self._hidden_values = hidden_values
        self._record = record
        self._rules = rules
        self._requested: dict[str, set[str]] = {}  # lazy node -> the sources it has asked for
        self._store: OutsideStore | None = None
        self._execution_list = ExecutionList(
            wiring.needed_sources, self._has_result, wiring.is_urgent, wiring.is_output
        )
        self._consumers = Consumers(wiring.all_sources, self._execution_list.__contains__)
        self._tasks: dict[str, list[Any]] = {}  # node -> its results, some of them running tasks
        self._expanded: dict[str, Returns] = {}  # node -> what it returned together with new nodes
        self._arguments: dict[str, Arguments] = {}  # of the node last called, for the report of its failure

    async def work(self, outputs: list[str], is_stopping: Callable[[], bool]) -> None:
        """Run the outputs and what they need; failure and interruption are in the record, not raised."""
        self._record.started()
        prompt = self._graph.original_prompt
        if self._cache.signs:
            await self._signatures.add(prompt)
            self._store = self._runtime.store(self._graph, self._signatures.fingerprints)
        self._cache.begin(self._graph, self._signatures)
        if self._store is not None:
            self._store.begin(self._record.prompt_id)
        try:
            self._record.found_cached([node_id for node_id in prompt if await self._find(node_id) is not None])
            with inference_mode() as enter_inference_mode:
                if self._ask_for(outputs) and await self._work_off(is_stopping, enter_inference_mode):
                    self._show_again()
                    self._record.succeeded()
        finally:
            await self._cancel_tasks()
            if self._store is not None:
                await self._store.end(self._record.prompt_id)

    def _ask_for(self, outputs: list[str]) -> bool:
        for output in outputs:
            try:
                self._execution_list.want(output)
                self._consumers.add([output])
            except Exception as error:  # of nodes that validation doesn't see: those behind undeclared links
                return self._failed(output, error)
        return True

    async def _work_off(self, is_stopping: Callable[[], bool], enter_inference_mode: Callable[[], None]) -> bool:
        while self._execution_list:
            node_id = self._execution_list.pick()
            if node_id is None:
                if not self._execution_list.is_waiting_outside:
                    return self._found_cycle()
                await self._execution_list.outside_event(0.1)
                if is_stopping():
                    return self._stopped(next(iter(self._tasks)))
                continue
            enter_inference_mode()
            try:
                is_done = await self._step(node_id)
            except self._runtime.interruptions:
                return self._stopped(node_id)
            except Exception as error:
                return self._failed(node_id, error)
            if is_done:
                self._execution_list.done(node_id)
                for unused in self._consumers.done(node_id):
                    self._cache.drop(unused)
                self._cache.make_room()
            else:
                self._execution_list.not_done(node_id)
        return True

    # --- one node

    async def _step(self, node_id: str) -> bool:
        """Take a node one step on; True when it has its result, False when it has to be picked again."""
        cached = await self._find(node_id)
        if cached is not None:
            self._record.answered(node_id, cached.ui or None)
            return True
        node_class = self._wiring.class_of(node_id)
        if node_id in self._tasks:
            return await self._finish(node_id, node_class, await results_of(self._tasks.pop(node_id)))
        if node_id in self._expanded:
            await self._keep(node_id, node_class, resolve(self._expanded.pop(node_id), self._outputs_of))
            return True
        return await self._call(node_id, node_class)

    async def _call(self, node_id: str, node_class: NodeClass) -> bool:
        inputs = self._graph.get_node(node_id)["inputs"]
        arguments = gather(node_class, node_id, inputs, self._visible_outputs(node_id), self._hidden_values)
        self._arguments = {node_id: arguments}
        self._record.executing(node_id)
        instance = self._instances.get(node_id, self._graph.get_real_node_id(node_id), node_class)
        if await self._needs_more_inputs(node_id, node_class, instance, arguments):
            return False
        method = Method(node_class, instance, node_id, node_class.function)
        try:
            results = await self._caller.call(
                method, arguments, on_block=lambda blocker: self._record.blocked(node_id, blocker)
            )
        finally:
            self._runtime.call_ended()
        tasks = [result for result in results if isinstance(result, asyncio.Task)]
        if all(task.done() for task in tasks):
            return await self._finish(node_id, node_class, await results_of(results))
        self._tasks[node_id] = results
        ended = self._execution_list.wait_outside(node_id)
        asyncio.gather(*tasks, return_exceptions=True).add_done_callback(lambda _: ended())
        return False

    def _visible_outputs(self, node_id: str) -> FindOutputs:
        """Where a node's links are looked up: a lazy one may have to ask for what is there already."""
        if not (self._rules.lazy_values_on_request and self._wiring.class_of(node_id).lazy_inputs):
            return self._outputs_of
        visible = {*self._wiring.needed_sources(node_id), *self._requested.get(node_id, ())}
        return lambda source: self._outputs_of(source) if source in visible else None

    async def _needs_more_inputs(
        self, node_id: str, node_class: NodeClass, instance: Any, arguments: Arguments
    ) -> bool:
        """Ask a lazy node which inputs it wants now, and ask for those that aren't there."""
        hook = node_class.hook("check_lazy_status", "check_lazy_status")
        if hook is None:
            return False
        answers = await self._caller.ask(Method(node_class, instance, node_id, hook[0]), arguments)
        names = {name for answer in answers if isinstance(answer, list) for name in answer if isinstance(name, str)}
        missing = [name for name in sorted(names) if name not in arguments.columns or name in arguments.missing]
        inputs = self._graph.get_node(node_id)["inputs"]
        for name in missing:
            if not is_link(inputs.get(name)):
                state = "that value is a constant" if name in inputs else "it has no such input"
                raise NodeInputError(f"Node {node_id} says it needs input {name}, but {state}")
            self._requested.setdefault(node_id, set()).add(inputs[name][0])
            self._execution_list.add_dependency(inputs[name][0], node_id)
        return bool(missing)

    async def _finish(self, node_id: str, node_class: NodeClass, results: list[Any]) -> bool:
        returns = read_returns(results, node_class)
        if returns.ui:
            self._record.showed(node_id, returns.ui)
        if returns.expands:
            await self._expand(node_id, returns)
            return False
        await self._keep(node_id, node_class, [call.values for call in returns.calls])
        return True

    async def _keep(self, node_id: str, node_class: NodeClass, values: list[Any]) -> None:
        result = Result(to_columns(values, node_class), self._record.uis.get(node_id, {}))
        self._cache.put(node_id, result)
        if self._store is not None:
            await self._store.keep(node_id, result)
        self._record.executed(node_id)

    async def _find(self, node_id: str) -> Result | None:
        """The node's result out of the cache, or out of a store outside this process."""
        result = self._cache.get(node_id)
        if result is None and self._store is not None and node_id not in self._tasks and node_id not in self._expanded:
            result = await self._store.find(node_id)
            if result is not None:
                self._cache.put(node_id, result)
        return result

    def _show_again(self) -> None:
        """Announce what nodes show that nothing asked for in this run, where their class wants that."""
        for node_id in (*self._graph.original_prompt, *self._graph.ephemeral_prompt):
            if self._wiring.class_of(node_id).shows_again and not self._record.has_executed(node_id):
                result = self._cache.get(node_id)
                if result is not None:
                    self._record.answered(node_id, result.ui or None)

    async def _expand(self, node_id: str, returns: Returns) -> None:
        """Take in the new nodes, run the outputs among them, and have the node wait for those it links to."""
        children = []
        for call in returns.calls:
            for child_id, child in (call.expansion or {}).items():
                if child["class_type"] not in self._wiring.classes:
                    raise NodeNotFoundError(f"expands into unknown node class {child['class_type']!r}")
                display_id = child.get("override_display_id", node_id)
                self._graph.add_ephemeral_node(child_id, child, node_id, display_id)
                children.append(child_id)
        if self._cache.signs:
            self._signatures.forget(children)
            await self._signatures.add(children)
        self._cache.expand(node_id, children)
        outputs = [child_id for child_id in children if self._wiring.is_output(child_id)]
        sources = returns.expansion_sources()
        self._consumers.add([*outputs, *sources])
        for output in outputs:
            self._execution_list.want(output)
        for source in sources:
            self._consumers.add_use(source, node_id)
            self._execution_list.add_dependency(source, node_id)
        self._expanded[node_id] = returns

    def _has_result(self, node_id: str) -> bool:
        return self._outputs_of(node_id) is not None

    def _outputs_of(self, node_id: str) -> list[Any] | None:
        result = self._cache.get(node_id) if self._graph.has_node(node_id) else None
        return result.outputs if result is not None else None

    # --- the end

    def uis(self) -> dict[str, dict[str, list[Any]]]:
        """What every node shows, those answered from the cache included."""
        node_ids = (*self._graph.original_prompt, *self._graph.ephemeral_prompt)
        results = {node_id: self._cache.get(node_id) for node_id in node_ids}
        cached = {node_id: result.ui for node_id, result in results.items() if result is not None and result.ui}
        return {**cached, **self._record.uis}

    def _stopped(self, node_id: str) -> bool:
        self._record.stopped(node_id)
        return False

    def _failed(self, node_id: str, error: Exception, kind: str | None = None) -> bool:
        columns = self._arguments[node_id].columns if node_id in self._arguments else {}
        self._record.failed(node_id, error, columns, kind)
        return False

    def _found_cycle(self) -> bool:
        """Static cycles never get here, so it is an expansion's: blame the node it shows under."""
        pending = self._execution_list.pending()
        shown = [(node_id, self._graph.get_display_node_id(node_id)) for node_id in pending]
        blamed = next((display for node_id, display in shown if display != node_id), pending[0])
        cycle = self._execution_list.cycle()
        error = RuntimeError("Dependency cycle detected: " + " -> ".join([*cycle, cycle[0]]))
        return self._failed(blamed, error, "graph.DependencyCycleError")

    async def _cancel_tasks(self) -> None:
        tasks = [one for results in self._tasks.values() for one in results if isinstance(one, asyncio.Task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
