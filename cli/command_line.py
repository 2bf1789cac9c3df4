"""The parser of the command line, and what becomes of every error."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from ..executor.errors import WorkflowError
from ..prompts.escape import escape
from ..prompts.messages import COMFYUI_HELPS
from . import check, convert, examples, nodes, run, show, sweep
from .node_set import comfyui_helps
from .output import Results, error_line, guarded_streams
from .stopping import Stopped

COMMANDS = (run, sweep, check, show, convert, nodes, examples)


def run_command_line(argv: list[str] | None) -> int:
    """Parse and run `argv`; the exit code."""
    with guarded_streams() as results:
        try:
            arguments = _parser(results).parse_args(argv)
        except SystemExit as exit_:  # --help, or an error that has been told
            raise SystemExit(_with_output(results, int(exit_.code or 0))) from None
        _log(arguments.debug)
        arguments.out = results
        return _with_output(results, _guarded(arguments.command, arguments))


def _guarded(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    try:
        return command(arguments)
    except KeyboardInterrupt as error:
        print("comfyui-ddim: stopped", file=sys.stderr)
        return error.exit_code if isinstance(error, Stopped) else 130
    except (WorkflowError, OSError, MemoryError) as error:
        if arguments.debug:
            traceback.print_exc()
        text = str(error) if isinstance(error, WorkflowError) else _system_error(error)
        error_line(f"{text}; {COMFYUI_HELPS}" if comfyui_helps(error, arguments) else text)
        return 2
    except Exception as error:
        if arguments.debug:
            traceback.print_exc()
        hint = "" if arguments.debug else " (--debug shows the traceback)"
        error_line(f"a defect in the command itself: {type(error).__name__}: {error}{hint}")
        return 1


def _system_error(error: OSError | MemoryError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error) or "there is not enough memory"


def _with_output(results: Results, code: int) -> int:
    """The exit code, given whether the results could be written: whoever has closed a pipe wants to hear no more."""
    if results.fault is None:
        return code
    if isinstance(results.fault, BrokenPipeError):
        return code or 1
    error_line(f"the output can't be written: {results.fault.strerror}")
    return code or 2


def _log(debug: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])


class _OneLine(logging.Formatter):
    """Messages of one line; a traceback below them keeps its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message, escaped."""
        return escape(super().formatMessage(record))


class _Parser(argparse.ArgumentParser):
    results: Results

    def error(self, message: str) -> NoReturn:
        """One line, as for all user errors."""
        error_line(f"{message} ({self.prog} --help lists the options)")
        self.exit(2)

    def print_help(self, file: object = None) -> None:
        """The help, as a result."""
        self.results.write(self.format_help())


def _parser(results: Results) -> argparse.ArgumentParser:
    _Parser.results = results
    parser = _Parser(
        prog="comfyui-ddim",
        description="Run ComfyUI workflow files without ComfyUI's server or browser.",
        epilog="examples:\n"
        "  comfyui-ddim show image.png                  the workflow that made an image\n"
        "  comfyui-ddim run image.png --seed 7          another image from it, into ./output\n"
        "  comfyui-ddim COMMAND --help                  help on a command",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_parser(commands)
    return parser
