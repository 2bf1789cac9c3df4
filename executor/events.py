"""What a run says while it goes on: ComfyUI's messages, by its names, to one callback.

========================  ==============================================================================
execution_start
execution_cached          nodes
executing                 node, display_node
progress                  node, display_node, value, max, preview (PIL image or what the node gave; or None)
executed                  node, display_node, output (what the node shows, as `{"images": [...]}`; or None)
execution_error           node_id, node_type, executed, exception_message, exception_type, traceback,
                          current_inputs, current_outputs
execution_interrupted     node_id, node_type, executed
execution_success
========================  ==============================================================================

Every message also carries prompt_id and timestamp (milliseconds since 1970).
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from .errors import ListenerError
from .graph import Graph
from .runtime import Runtime
from .validation_errors import type_name

OnEvent = Callable[[str, dict[str, Any]], None]
"""`on_event(name, data)`."""


class Emit(Protocol):
    """Sends an event with these data."""

    def __call__(self, name: str, /, **data: Any) -> None:
        """Send it."""


def emitter(on_event: OnEvent | None, prompt_id: str) -> Emit:
    """The function by which a run sends its events to `on_event`, if there is one."""

    def emit(name: str, /, **data: Any) -> None:
        if on_event is None:
            return
        try:
            on_event(name, {**data, "prompt_id": prompt_id, "timestamp": int(time.time() * 1000)})
        except Exception as error:
            raise ListenerError from error

    return emit


logger = logging.getLogger(__name__)

Ui = dict[str, list[Any]]


class RunRecord:
    """The record of one run; every method that adds to it also sends the event that says so."""

    def __init__(self, prompt_id: str, graph: Graph, runtime: Runtime, emit: Emit):
        self.prompt_id = prompt_id
        self._graph = graph
        self._runtime = runtime
        self._emit = emit
        self.ran: list[str] = []
        self.cached: list[str] = []
        self.uis: dict[str, Ui] = {}
        self.failure: dict[str, Any] | None = None
        self.exception: BaseException | None = None
        self.interrupted = False
        self._executed: dict[str, None] = {}

    def started(self) -> None:
        """The run begins."""
        self._emit("execution_start")

    def found_cached(self, node_ids: list[str]) -> None:
        """These nodes of the prompt have a result already."""
        self.cached = node_ids
        self._emit("execution_cached", nodes=node_ids)

    def executing(self, node_id: str) -> None:
        """A node is about to be called."""
        self.ran.append(node_id)
        self._emit("executing", node=node_id, display_node=self._graph.get_display_node_id(node_id))

    def progressed(self, node_id: str, value: float, total: float, preview: Any) -> None:
        """A node has done `value` of `total` steps."""
        display = self._graph.get_display_node_id(node_id)
        self._emit("progress", node=node_id, display_node=display, value=value, max=total, preview=preview)

    def showed(self, node_id: str, ui: Ui) -> None:
        """A node gave something to show."""
        self.uis[node_id] = ui
        self.answered(node_id, ui)

    def answered(self, node_id: str, ui: Ui | None) -> None:
        """A node has its result, from the cache or with something to show."""
        self._emit("executed", node=node_id, display_node=self._graph.get_display_node_id(node_id), output=ui)

    def executed(self, node_id: str) -> None:
        """A node has run to its end."""
        self._executed[node_id] = None

    def has_executed(self, node_id: str) -> bool:
        """Whether it has in this run."""
        return node_id in self._executed

    def blocked(self, node_id: str, blocker: Any) -> Any:
        """A call was blocked; a message is told once, and the blocker goes on without it."""
        if blocker.message is None:
            return blocker
        self._emit(
            "execution_error",
            **self._where(node_id),
            exception_message=f"Execution Blocked: {blocker.message}",
            exception_type="ExecutionBlocked",
            traceback=[],
            current_inputs=[],
            current_outputs=[],
        )
        return self._runtime.silence(blocker)

    def stopped(self, node_id: str) -> None:
        """The run was interrupted in this node."""
        self.interrupted = True
        self._emit("execution_interrupted", **self._where(self._graph.get_real_node_id(node_id)))

    def failed(
        self,
        node_id: str,
        error: Exception,
        inputs: Mapping[str, Sequence[Any]],
        kind: str | None = None,
    ) -> None:
        """A node failed, and with it the run; it is blamed on the node of the prompt that brought it in."""
        logger.debug("node %s failed", node_id, exc_info=error)
        self.exception = error
        self.failure = {
            "prompt_id": self.prompt_id,
            **self._where(self._graph.get_real_node_id(node_id)),
            "exception_message": f"{error}\n{self._runtime.advice(error)}",
            "exception_type": kind or type_name(error),
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": {name: [_readable(one) for one in column] for name, column in inputs.items()},
            "current_outputs": list(self._graph.original_prompt),
        }
        self._emit("execution_error", **self.failure)

    def succeeded(self) -> None:
        """Everything asked for has run."""
        self._emit("execution_success")

    def _where(self, node_id: str) -> dict[str, Any]:
        node_type = self._graph.get_node(node_id)["class_type"]
        return {"node_id": node_id, "node_type": node_type, "executed": list(self._executed)}


def _readable(value: Any) -> Any:
    return value if value is None or isinstance(value, (int, float, bool, str)) else str(value)
