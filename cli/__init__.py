"""The command line: `comfyui-ddim run FILE`, and what goes with it.

Results go to standard output (`arguments.out`), everything else to standard error, what nodes print included. Exit
codes: 0 done; 1 a node broke; 2 the user can mend it (a bad file, option or value); 130 stopped by Ctrl-C, 143 by
SIGTERM. Node classes are brought in late, after the files have been read, for they take seconds to load; and so is
everything else here, for Ctrl-C counts from the start.
"""

from __future__ import annotations

from . import stopping

__all__ = ["main", "run_process"]


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (the process's own if None); returns the exit code."""
    from .command_line import run_command_line

    return run_command_line(argv)


def run_process() -> int:
    """The same as a process of its own: signals are its own from here on, to the end."""
    stopping.end_at_once()
    from .output import fill_closed_descriptors

    fill_closed_descriptors()
    code = main()
    stopping.ignore()
    return code
