"""The command line: `comfyui-ddim run FILE`, and what goes with it.

Results go to standard output (`arguments.out`), everything else to standard error, what nodes print included. Exit
codes: 0 done; 1 a node broke; 2 the user can mend it (a bad file, option or value); 130 stopped by Ctrl-C. Node
classes are brought in late, after the files have been read, for they take seconds to load.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from ..executor.errors import WorkflowError
from . import check, convert, nodes, run, show

COMMANDS = (run, check, show, convert, nodes)


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (the process's own if None); returns the exit code."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.DEBUG if arguments.debug else logging.WARNING, format="%(message)s")
    try:
        with contextlib.ExitStack() as stack:
            # Where the caller has closed standard output, results go nowhere.
            arguments.out = sys.stdout or stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
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
        _drop_output()
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        print(f"comfyui-ddim: the output can't be written: {error.strerror}", file=sys.stderr)
        _drop_output()
        return 2


def _drop_output() -> None:
    """Keep Python from trying once more, as it ends, to write what is left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as for all user errors."""
        self.exit(2, f"comfyui-ddim: {message} ({self.prog} --help shows what there is)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="comfyui-ddim",
        description="Run ComfyUI workflow files without ComfyUI's server or browser.",
        epilog="examples:\n"
        "  comfyui-ddim show picture.png                the workflow that made a picture\n"
        "  comfyui-ddim run picture.png --seed 7        another one like it, into ./output\n"
        "  comfyui-ddim COMMAND --help                  all about a command",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_parser(commands)
    return parser


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
