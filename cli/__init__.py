"""The command line: `comfyui-ddim run FILE`, and what goes with it.

Results go to standard output (`arguments.out`), everything else to standard error, what nodes print included. Exit
codes: 0 done; 1 a node broke; 2 the user can mend it (a bad file, option or value); 130 stopped by Ctrl-C, 143 by
SIGTERM. Node classes are brought in late, after the files have been read, for they take seconds to load; and so are the
commands, for what they run uses this folder's words for nodes and faults.
"""

from __future__ import annotations

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (the process's own if None); returns the exit code."""
    from .command_line import run_command_line

    return run_command_line(argv)
