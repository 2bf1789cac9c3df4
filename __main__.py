"""`python -m comfyui_ddim`: the command line.

Nothing of the package is imported before a process of its own listens to Ctrl-C and SIGTERM.
"""

import os
import signal
import sys

__all__ = ["main", "run_process"]


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (the process's own if None); returns the exit code."""
    from .cli import main as run

    return run(argv)


def run_process() -> int:
    """The same as a process of its own: signals are its own from here on, to the end."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _end)
    _fill_closed_descriptors()
    code = main()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # the exit code is known: nothing is left to stop
    return code


def _end(signum: int, frame: object) -> None:
    """End at once, with a line: an exception might be swallowed by whatever is being imported."""
    try:
        os.write(2, b"comfyui-ddim: stopped\n")
    finally:
        os._exit(128 + signum)


def _fill_closed_descriptors() -> None:
    """Open the null device in place of standard streams that the caller closed.

    The next files opened would take their numbers, and what a library writes to "standard output" would end in them.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


if __name__ == "__main__":
    sys.exit(run_process())
