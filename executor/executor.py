"""The executor: checks prompts and runs them, and keeps results between runs."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import functools
import threading
import uuid
from collections.abc import Container, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from .caller import Caller, HiddenValues
from .comfy_runtime import runtime_of_this_process
from .context import Context, current, using
from .errors import Interrupted, ListenerError, WorkflowError
from .events import OnEvent, RunRecord, emitter
from .graph import Graph, Wiring
from .memory import Memory
from .node_class import NodeClasses
from .rules import RulesName, rules_named
from .run import Run
from .runtime import Runtime
from .validation import Prompt, Verdict, validate
from .validation_errors import Fault


@dataclass(frozen=True)
class RunResult:
    """How a run went.

    `error` and `node_errors` are validation's, in ComfyUI's shapes; a prompt of which some outputs are valid is
    accepted, and those are run. `ran` are the ids announced as executing, in order (a lazy node is announced
    each time it is asked); `cached` those that had a result at the start; `outputs` what nodes show, by id;
    `failure` the `execution_error` that ended the run, and `exception` what the node raised.
    """

    prompt_id: str
    accepted: bool
    error: Fault | None = None
    node_errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    outputs: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    failure: dict[str, Any] | None = None
    exception: BaseException | None = None
    interrupted: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether everything asked for was run."""
        return self.accepted and self.failure is None and not self.interrupted


class Executor:
    """Runs API-form prompts made of the given node classes.

    `cache` is "classic" (keep what the latest prompt has), "lru" (keep up to `cache_size` results of earlier ones
    too), "ram" (keep all of them, until less than `cache_size` GiB of memory are free; 0: a tenth of it, but 2 to 10)
    or "none" (drop each result when its last consumer has run). `rules` are those by which a prompt is checked:
    "current" as in ComfyUI 0.33, "0.3.64" or "0.8.0" as in that version. Raises ValueError for another cache or
    other rules.
    With `rerun_outputs` output nodes run in each run, also where nothing that they depend on has changed. With `keep`
    the cache "lru" keeps results of earlier prompts only of the nodes of these ids.

    One run at a time; `interrupt` may be called from any thread or signal handler.
    """

    def __init__(
        self,
        node_classes: Mapping[str, type],
        cache: str = "classic",
        cache_size: int = 0,
        context: Context | None = None,
        rules: RulesName = "current",
        rerun_outputs: bool = False,
        keep: Container[str] | None = None,
    ):
        self.node_classes = node_classes
        self._memory = Memory(cache, cache_size, rerun_outputs, keep)
        self._context = context
        self._rules = rules_named(rules)
        self._stop = threading.Event()
        self._runtime: Runtime = Runtime()

    def check(self, prompt: Prompt, targets: Iterable[str] | None = None) -> Verdict:
        """Validate a prompt without running it; `prompt` itself is not changed."""
        self._runtime = runtime_of_this_process()
        prompt, _ = self._runtime.submitted(_copy(prompt), {})
        return _in_event_loop(self._check(prompt, targets))

    def run(
        self,
        prompt: Prompt,
        targets: Iterable[str] | None = None,
        extra_data: Mapping[str, Any] | None = None,
        on_event: OnEvent | None = None,
        prompt_id: str | None = None,
    ) -> RunResult:
        """Validate a prompt, run its output nodes (only those in `targets`, if given) and what they need.

        `extra_data["extra_pnginfo"]` reaches nodes by their hidden input EXTRA_PNGINFO. `on_event(name, data)`
        is called as the run goes on (see `events`). Failures of nodes are in the result, not raised; what
        `on_event` raises ends the run and is raised.
        """
        return _in_event_loop(self.run_async(prompt, targets, extra_data, on_event, prompt_id))

    def interrupt(self) -> None:
        """Stop the run in progress: at the next progress report of a node, or before the next node."""
        self._stop.set()
        self._runtime.interrupt()

    async def run_async(
        self,
        prompt: Prompt,
        targets: Iterable[str] | None = None,
        extra_data: Mapping[str, Any] | None = None,
        on_event: OnEvent | None = None,
        prompt_id: str | None = None,
    ) -> RunResult:
        """`run`, for callers with an event loop of their own."""
        prompt_id = prompt_id or str(uuid.uuid4())
        self._stop.clear()
        self._runtime = runtime_of_this_process()
        prompt, extra_data = self._runtime.submitted(_copy(prompt), extra_data or {})
        verdict = await self._check(prompt, targets)
        if not verdict.accepted:
            return RunResult(prompt_id, False, verdict.error, verdict.node_errors)
        record, run = self._new_run(prompt_id, prompt, extra_data, on_event)
        with using(self._context or current()):
            try:
                await run.work(verdict.outputs, self._stop.is_set)
            except ListenerError as error:
                raise error.__cause__ from None
            finally:
                self._runtime.run_ended()
        return RunResult(
            prompt_id,
            True,
            None,
            verdict.node_errors,
            record.ran,
            record.cached,
            run.uis(),
            record.failure,
            record.exception,
            record.interrupted,
        )

    async def _check(self, prompt: Prompt, targets: Iterable[str] | None) -> Verdict:
        caller = Caller(lambda node_id, index: self._runtime.calling("", node_id, index), lambda *_: None)
        classes = NodeClasses(self.node_classes, self._runtime)
        with using(self._context or current()):
            return await validate(prompt, targets, classes, caller, self._rules)

    def _new_run(
        self, prompt_id: str, prompt: Prompt, extra_data: Mapping[str, Any], on_event: OnEvent | None
    ) -> tuple[RunRecord, Run]:
        runtime, graph = self._runtime, Graph(prompt, self._rules.unique_expansion_ids)
        record = RunRecord(prompt_id, graph, runtime, emitter(on_event, prompt_id))

        def report(node_id: str, value: float, total: float, preview: Any) -> None:
            self._raise_if_stopping()
            record.progressed(node_id, value, total, preview)

        def before_call(node_id: str, index: int) -> None:
            self._raise_if_stopping()
            runtime.before_call(node_id, index)

        @contextlib.contextmanager
        def calling(node_id: str, index: int | None) -> Iterator[None]:
            node_context = dataclasses.replace(current(), report=functools.partial(report, node_id))
            with runtime.calling(prompt_id, node_id, index), using(node_context):
                yield

        self._memory.begin_run(prompt)
        runtime.run_started(prompt_id, graph, report, extra_data)
        wiring = Wiring(graph, NodeClasses(self.node_classes, runtime))
        hidden_values = HiddenValues(graph, extra_data)
        caller = Caller(calling, before_call)
        return record, Run(wiring, runtime, caller, self._memory, hidden_values, record, self._rules)

    def _raise_if_stopping(self) -> None:
        if self._stop.is_set():
            raise Interrupted


def _copy(prompt: Prompt) -> Prompt:
    """A copy whose nodes and inputs may be changed; whatever is malformed stays as it is, for validation."""
    if not isinstance(prompt, dict):
        raise WorkflowError(f"a prompt is a dict of nodes by id, not {type(prompt).__name__}")
    copy: Prompt = {}
    for node_id, node in prompt.items():
        if isinstance(node, dict):
            node = dict(node)
            if isinstance(node.get("inputs"), dict):
                node["inputs"] = dict(node["inputs"])
        copy[node_id] = node
    return copy


def _in_event_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, in another thread if this one has a running event loop (a notebook's).

    Not `asyncio.run`: that one takes Ctrl-C for itself, and would not pass it on to a node that is computing.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        is_inside_loop = False
    else:
        is_inside_loop = True
    if not is_inside_loop:
        return _in_new_loop(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(contextvars.copy_context().run, _in_new_loop, coroutine).result()


def _in_new_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                loop.run_until_complete(task)
        loop.close()
