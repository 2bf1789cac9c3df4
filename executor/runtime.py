"""What the executor needs of the world around the nodes, when that world is only this package.

`comfy_runtime.ComfyRuntime` is the other one: ComfyUI's modules loaded in this process.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .errors import Interrupted

Report = Callable[[str, float, float, Any], None]
"""`report(node id, value, total, preview)`: where progress of a node goes."""


class ExecutionBlocker:
    """Returned by a node in place of an output: whoever uses it isn't run.

    With a message, the first one blocked is reported as an error; the run goes on.
    """

    def __init__(self, message: str | None = None):
        self.message = message


class Runtime:
    """Nodes that need nothing but Python."""

    blockers: tuple[type, ...] = (ExecutionBlocker,)
    interruptions: tuple[type[BaseException], ...] = (Interrupted,)

    def submitted(self, prompt: dict[str, Any], extra_data: Mapping[str, Any]) -> tuple[dict, Mapping[str, Any]]:
        """What becomes of a prompt before it is checked; the one handed in may be changed."""
        return prompt, extra_data

    def run_started(self, run_id: str, graph: Any, report: Report, extra_data: Mapping[str, Any]) -> None:
        """A run begins; progress of nodes that use ComfyUI's own ways of reporting goes to `report`."""

    def store(self, graph: Any, fingerprints: Mapping[str, Any]) -> Any:
        """Where results are also kept and looked for outside this process (see `outside_store`), if anywhere."""
        return None

    def run_ended(self) -> None:
        """The run is over, well or not."""

    def interrupt(self) -> None:
        """A stop was asked for."""

    def before_call(self, node_id: str, index: int) -> None:
        """A node's method is about to be called for list item `index`."""

    def calling(self, run_id: str, node_id: str, index: int | None) -> contextlib.AbstractContextManager[Any]:
        """Around each call of a node's method."""
        return contextlib.nullcontext()

    def call_ended(self) -> None:
        """A node's method has been called, for all of its list items."""

    def advice(self, error: BaseException) -> str:
        """Clean up after a node's failure, and say what might help."""
        return ""

    def silence(self, blocker: Any) -> Any:
        """A blocker without a message, for the message has been reported."""
        return type(blocker)(None)

    # The v3 form of node class (`io.ComfyNode`) exists only where ComfyUI does.

    def is_v3_class(self, node_class: type) -> bool:
        """Whether the class is of the v3 form."""
        return False

    def v3_inputs(
        self, node_class: type, inputs: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, str], Any]:
        """`(declared inputs, hidden inputs, data for bind)` of a v3 class for given input values."""
        raise NotImplementedError

    def v3_override(self, node_class: type, name: str) -> Callable[..., Any] | None:
        """The class's own version of an optional method, None if it has only the inherited placeholder."""
        raise NotImplementedError

    def bind(
        self, target: Any, method: str, data: Any, hidden: Mapping[str, Any], arguments: dict[str, Any]
    ) -> tuple[Callable[..., Any], dict[str, Any]]:
        """The callable and its arguments for one call of a v3 class's method."""
        raise NotImplementedError

    def is_v3_result(self, result: object) -> bool:
        """Whether a node returned a v3 result (`io.NodeOutput`)."""
        return False


@contextlib.contextmanager
def inference_mode() -> Iterator[Callable[[], None]]:
    """Gives a function to be called now and then: it enters the mode once torch is loaded, until the block ends."""
    with contextlib.ExitStack() as stack:
        entered = False

        def enter() -> None:
            nonlocal entered
            torch = sys.modules.get("torch")
            if not entered and hasattr(torch, "inference_mode"):
                stack.enter_context(torch.inference_mode())
                entered = True

        yield enter
