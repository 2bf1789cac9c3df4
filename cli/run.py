"""`run`: workflow files become pictures."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import Any

from ..executor.context import Context, using
from ..executor.errors import WorkflowError
from ..executor.executor import Executor, RunResult
from ..executor.reading import Prompt
from .carry import carry_over
from .display import Display
from .messages import failure_line, fault_lines, name_node
from .node_set import NodeSet, load_node_set
from .options import add_file_option, add_node_options, new_parser
from .overrides import find_node, set_inputs, set_seed
from .sources import Source, open_sources

USER_ERRORS = (ValueError, OSError)
"""What a node raises for what the user can mend: a bad value, a missing or broken file."""


def add_parser(commands: Any) -> None:
    """Add this command to the command line."""
    parser = new_parser(
        commands,
        "run",
        command,
        "Run workflow files and print the paths of the files they write",
        [
            ("comfyui-ddim run workflow.json", "write its pictures to ./output"),
            ("comfyui-ddim run picture.png --seed 7", "the workflow inside a picture, with another seed"),
            ('comfyui-ddim run workflow.json --set 6.text="a red cube"', "change an input, by node id"),
            ("comfyui-ddim run workflow.json --set KSampler.steps=50", "... or by node title"),
            ("comfyui-ddim run a.json b.json --output out", "several; models stay loaded in between"),
            ("curl -s $URL | comfyui-ddim run - --json", "from standard input, events as JSON lines"),
        ],
    )
    add_file_option(parser)
    parser.add_argument(
        "--set", metavar="NODE.INPUT=VALUE", action="append", default=[], help="change an input; may be repeated"
    )
    parser.add_argument("--seed", metavar="N", type=int, help="set the seed of every node that has one")
    parser.add_argument(
        "--only", metavar="NODE", action="append", help="run only this output node; may be repeated"
    )
    add_node_options(parser)
    parser.add_argument("--cache", choices=("classic", "lru", "none"), default="classic", help="which results to keep")
    parser.add_argument("--json", action="store_true", help="print events as JSON lines instead of paths")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def command(arguments: argparse.Namespace) -> int:
    """Check all files, then run one after the other; the first that fails ends it."""
    sources = open_sources(arguments.files)
    node_set = load_node_set(arguments)
    with using(node_set.context):
        executor = Executor(node_set.classes, cache=arguments.cache, cache_size=100)
        jobs = [_Job(source, arguments, node_set) for source in sources]
        for job in jobs:
            job.check(executor)
        for job in jobs:
            code = job.run(executor, node_set.context)
            if code:
                return code
    return 0


class _Job:
    """One file, read and changed as the options say."""

    def __init__(self, source: Source, arguments: argparse.Namespace, node_set: NodeSet):
        self._name = source.name
        self._arguments = arguments
        prompt: Prompt = source.read(node_set.object_info)
        self._nodes = prompt.nodes
        try:
            changes = set_inputs(self._nodes, arguments.set, node_set.object_info)
            if arguments.seed is not None:
                changes += set_seed(self._nodes, arguments.seed, node_set.object_info)
            only = arguments.only
            self._targets = None if only is None else [self._target(node_set, name) for name in only]
        except WorkflowError as error:
            raise WorkflowError(f"{self._name}: {error}") from None
        self._workflow = prompt.workflow
        if self._workflow is not None:
            self._workflow = carry_over(self._workflow, self._nodes, changes, node_set.object_info)

    def _target(self, node_set: NodeSet, name: str) -> str:
        node_id = find_node(self._nodes, name)
        node_class = node_set.classes.get(self._nodes[node_id].get("class_type"))
        if node_class is not None and getattr(node_class, "OUTPUT_NODE", False) is not True:
            raise WorkflowError(f"--only {name}: {name_node(self._nodes, node_id)} is not an output node")
        return node_id

    def check(self, executor: Executor) -> None:
        """Raises WorkflowError for the first fault."""
        lines = fault_lines(self._nodes, executor.check(self._nodes, self._targets), executor.node_classes)
        if lines:
            more = f" (and {len(lines) - 1} more: comfyui-ddim check lists all)" if len(lines) > 1 else ""
            raise WorkflowError(f"{self._name}: {lines[0]}{more}")

    def run(self, executor: Executor, context: Context) -> int:
        """Run it; returns the exit code."""
        display = Display(self._nodes, context, self._arguments)
        extra_data = {"extra_pnginfo": {"workflow": self._workflow}} if self._workflow is not None else {}
        try:
            with _ctrl_c_stops(executor):
                result = executor.run(self._nodes, self._targets, extra_data, display.on_event)
        finally:
            display.close_bars()
        if result.interrupted:
            where = f" at {name_node(self._nodes, display.stopped_at)}" if display.stopped_at else ""
            print(f"comfyui-ddim: {self._name}: stopped{where}", file=sys.stderr)
            return 130
        return self._failed(result) if result.failure is not None else 0

    def _failed(self, result: RunResult) -> int:
        line = f"comfyui-ddim: {self._name}: {failure_line(self._nodes, result.failure or {})}"
        if self._arguments.debug:
            print("".join((result.failure or {})["traceback"]), file=sys.stderr)
        if isinstance(result.exception, USER_ERRORS):
            print(line, file=sys.stderr)
            return 2
        hint = "" if self._arguments.debug else " (--debug shows the traceback)"
        print(f"{line} [{type(result.exception).__name__}]{hint}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def _ctrl_c_stops(executor: Executor) -> Iterator[None]:
    """The first Ctrl-C stops the run at the next step, a second one at once."""

    def stop(signum: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        executor.interrupt()

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # not in the main thread: Ctrl-C isn't ours
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
