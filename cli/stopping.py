"""Ctrl-C (SIGINT) and SIGTERM: at any moment one line, and exit code 130 or 143.

A process of the command's own ends at once (see `__main__`), and elsewhere Python's KeyboardInterrupt comes. While a
workflow runs or a file is written, `gently` gives it time to come to a good end.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

__all__ = ["Stopped", "gently"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal asked for an end."""

    def __init__(self, signum: int):
        super().__init__()
        self.exit_code = 128 + signum


@contextlib.contextmanager
def gently(stop: Callable[[], None]) -> Iterator[None]:
    """The first signal calls `stop`, a second one raises `Stopped` where it hits, a third does what it did before.

    Raises `Stopped` at the end of the block if there was a signal: what is left out by then must not go on. Outside
    the main thread signals are somebody else's.
    """
    came: list[int] = []

    def on_signal(signum: int, frame: object) -> None:
        came.append(signum)
        if len(came) > 1:
            restore()
            raise Stopped(signum)
        stop()

    before: dict[int, object] = {}

    def restore() -> None:
        for signum, handler in before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]

    try:
        for signum in SIGNALS:
            before[signum] = signal.signal(signum, on_signal) or signal.SIG_DFL
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        restore()
    if came:
        raise Stopped(came[0])
