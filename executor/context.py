"""What a running node may ask of whoever runs it: folders, device, and a way to report progress.

The executor sets a `Context` for the duration of a run; a node calls `current()`. Outside any run `current()` is
a default, so that the same node also works when it is called by hand.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Interrupted

__all__ = ["Context", "Interrupted", "current", "progress", "using"]


@dataclass(frozen=True)
class Context:
    """Folders and device of a run, and where progress goes.

    `dtype` is the dtype that models are computed in, or "auto" for what suits device and model; `engine` is what
    computes them, "torch" or, on the CPU, "openvino".
    `picture_format` ("png", "webp", "jpeg") is that of pictures that are saved, `quality` (1 to 100) of the latter two.
    `report(value, total, preview)` is the executor's; it raises `Interrupted` when the run is to stop.
    """

    input_dir: Path = Path("input")
    output_dir: Path = Path("output")
    temp_dir: Path = Path("temp")
    models_dir: Path = Path("models")
    device: str = "auto"
    report: Callable[[float, float, Any], None] | None = None
    dtype: str = "auto"
    engine: str = "torch"
    picture_format: str = "png"
    quality: int = 90

    def progress(self, value: float, total: float, preview: Any = None) -> None:
        """Report that the running node has done `value` of `total` steps; raises `Interrupted` to stop it.

        `preview`, if given, is a PIL image or whatever else the consumer of events understands.
        """
        if self.report is not None:
            self.report(value, total, preview)


_current: contextvars.ContextVar[Context] = contextvars.ContextVar("comfyui_ddim_context", default=Context())  # noqa: B039 (frozen)


def current() -> Context:
    """The context of the run this is called in, or the default one."""
    return _current.get()


def progress(value: float, total: float, preview: Any = None) -> None:
    """`current().progress(...)`: for the loops of nodes."""
    current().progress(value, total, preview)


@contextlib.contextmanager
def using(context: Context) -> Iterator[Context]:
    """Make `context` the current one inside the `with` block."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
