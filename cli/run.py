"""`run`: workflow files become pictures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from ..executor.context import Context, using
from ..executor.errors import UnknownClassError, WorkflowError
from ..executor.executor import Executor, RunResult
from ..prompts.carry import carry_over
from ..prompts.failures import failure_line
from ..prompts.messages import fault_lines, has_unknown_class, name_node
from ..prompts.overrides import RANDOM, Changes, class_of, find_node, parse_seed, set_inputs, set_seed
from .cache_options import add_cache_options, chosen_cache
from .display import Display
from .node_set import NodeSet, check_output, load_node_set
from .options import add_file_option, add_format_options, add_node_options, check_format, new_parser
from .output import error_line
from .sources import Source, named, open_sources
from .stopping import Stopped, gently


def add_parser(commands: Any) -> None:
    """Add this command to the command line."""
    parser = new_parser(
        commands,
        "run",
        command,
        "Run workflow files and print the paths of the files they write",
        [
            ("comfyui-ddim run workflow.json", "write its images to ./output"),
            ("comfyui-ddim run image.png --seed 7", "the workflow inside an image, with another seed"),
            ("comfyui-ddim run example:text_to_image", "a bundled one: comfyui-ddim examples lists them"),
            ('comfyui-ddim run workflow.json --set 6.text="a red cube"', "change an input, by node id"),
            ("comfyui-ddim run workflow.json --set KSampler.steps=50", "... or by node title"),
            ("comfyui-ddim run a.json b.json --output out", "several files; models stay loaded in between"),
            ("curl -s $URL | comfyui-ddim run - --json", "from standard input, events as JSON lines"),
        ],
    )
    add_file_option(parser)
    parser.add_argument(
        "--set", metavar="NODE.INPUT=VALUE", action="append", default=[], help="change an input; may be repeated"
    )
    parser.add_argument(
        "--seed", metavar="N", type=parse_seed, help="set the seed of every node that has one; random draws one"
    )
    parser.add_argument("--only", metavar="NODE", action="append", help="run only this output node; may be repeated")
    add_node_options(parser)
    add_format_options(parser)
    add_cache_options(parser)
    parser.add_argument("--json", action="store_true", help="print events as JSON lines instead of paths")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def command(arguments: argparse.Namespace) -> int:
    """Check all files, then run one after the other; the first that fails ends it."""
    check_format(arguments)
    cache, cache_size = chosen_cache(arguments)
    check_output(arguments.output or Context().output_dir)
    sources = open_sources(arguments.files)
    node_set = load_node_set(arguments)
    with using(node_set.context):
        executor = Executor(node_set.classes, cache=cache, cache_size=cache_size)
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
        self._nodes = source.prompt(node_set.object_info).nodes
        with named(self._name):
            changes = self._changes(node_set.object_info)
            only = arguments.only
            self._targets = None if only is None else [self._target(node_set, name) for name in only]
        prompt = source.prompt(node_set.object_info, changes)  # again: what is derived from values follows the changes
        self._nodes, self._workflow = prompt.nodes, prompt.workflow
        if self._workflow is not None:
            self._workflow = carry_over(self._workflow, self._nodes, changes, node_set.object_info)

    def _changes(self, object_info: Mapping[str, Any]) -> Changes:
        """What --set and --seed change; the seed comes last, as ever."""
        changes = set_inputs(self._nodes, self._arguments.set, object_info)
        if self._arguments.seed is None:
            return changes
        seeds = set_seed(self._nodes, self._arguments.seed, object_info)
        if self._arguments.seed == RANDOM and not self._arguments.quiet:
            drawn = next(iter(next(iter(seeds.values())).values()))
            error_line(f"{self._name}: seed {drawn}")
        return {key: {**changes.get(key, {}), **seeds.get(key, {})} for key in {**changes, **seeds}}

    def _target(self, node_set: NodeSet, name: str) -> str:
        node_id = find_node(self._nodes, name)
        node_class = node_set.classes.get(class_of(self._nodes[node_id]))
        if node_class is not None and getattr(node_class, "OUTPUT_NODE", False) is not True:
            raise WorkflowError(f"--only {name}: {name_node(self._nodes, node_id)} is not an output node")
        return node_id

    def check(self, executor: Executor) -> None:
        """Raises WorkflowError for the first fault."""
        with named(self._name):
            verdict = executor.check(self._nodes, self._targets)
            lines = fault_lines(self._nodes, verdict, executor.node_classes)
            if lines:
                unknown = has_unknown_class(self._nodes, executor.node_classes)
                kind = UnknownClassError if unknown else WorkflowError
                more = f" (and {len(lines) - 1} more: comfyui-ddim check lists all)" if len(lines) > 1 else ""
                raise kind(f"{lines[0]}{more}")

    def run(self, executor: Executor, context: Context) -> int:
        """Run it; returns the exit code."""
        display = Display(self._nodes, context, self._arguments)
        extra_data = {"extra_pnginfo": {"workflow": self._workflow}} if self._workflow is not None else {}
        try:
            with gently(executor.interrupt):
                result = executor.run(self._nodes, self._targets, extra_data, display.on_event)
        except Stopped as stop:
            return self._stopped(display, stop.exit_code)
        finally:
            display.close_bars()
        if result.interrupted:
            return self._stopped(display, 130)
        if result.failure is not None:
            return self._failed(result)
        if note := display.close():
            error_line(f"{self._name}: {note}")
        return 0

    def _stopped(self, display: Display, code: int) -> int:
        display.close_bars()
        where = f" at {name_node(self._nodes, display.stopped_at)}" if display.stopped_at else ""
        error_line(f"{self._name}: stopped{where}")
        return code

    def _failed(self, result: RunResult) -> int:
        line, code = failure_line(self._nodes, result)
        if self._arguments.debug:
            print("".join((result.failure or {})["traceback"]), file=sys.stderr)
        elif code == 1:
            line += " (--debug shows the traceback)"
        error_line(f"{self._name}: {line}")
        return code
