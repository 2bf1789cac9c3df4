"""torch's inference mode around a run, without importing torch for nodes that don't."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


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
