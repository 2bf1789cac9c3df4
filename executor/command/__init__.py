"""The command line: `comfyui-ddim run FILE`, and what goes with it.

Results go to standard output (`arguments.out`), everything else to standard error, what nodes print included. Exit
codes: 0 done; 1 a node broke; 2 the user can mend it (a bad file, option or value); 130 stopped by Ctrl-C. Node
classes are brought in late, after the files have been read, for they take seconds to load.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import traceback
from typing import NoReturn

from ..errors import WorkflowError
from . import check, convert, nodes, run, show

COMMANDS = (run, check, show, convert, nodes)


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (the process's own if None); returns the exit code."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.DEBUG if arguments.debug else logging.WARNING, format="%(message)s")
    arguments.out = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            code = arguments.command(arguments)
        arguments.out.flush()
        return code
    except WorkflowError as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"comfyui-ddim: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("comfyui-ddim: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has gone: say nothing more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as for all user errors."""
        self.exit(2, f"comfyui-ddim: {message} ({self.prog} --help shows what there is)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="comfyui-ddim", description="Run ComfyUI workflow files without ComfyUI's server or browser."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_parser(commands)
    return parser


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
