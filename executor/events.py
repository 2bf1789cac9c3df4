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

import time
from collections.abc import Callable
from typing import Any, Protocol

OnEvent = Callable[[str, dict[str, Any]], None]
"""`on_event(name, data)`."""


class Emit(Protocol):
    """Sends an event with these data."""

    def __call__(self, name: str, /, **data: Any) -> None:
        """Send it."""


class ListenerError(BaseException):
    """`on_event` raised (its cause). No `Exception`, so that no node takes it for a failure of its own."""


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
