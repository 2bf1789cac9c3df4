"""`check`: all faults of workflow files, without running them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from ..executor.context import using
from ..executor.errors import UnknownClassError, WorkflowError
from ..executor.executor import Executor
from ..prompts.escape import one_line
from ..prompts.messages import COMFYUI_HELPS, fault_lines, has_unknown_class
from .node_set import NodeSet, comfyui_helps, load_node_set
from .options import add_file_option, add_node_options, new_parser
from .output import error_line
from .sources import named, open_source


def add_parser(commands: Any) -> None:
    """Add this command to the command line."""
    parser = new_parser(
        commands,
        "check",
        command,
        "Check workflow files and print all their faults",
        [("comfyui-ddim check *.json", "exit code 0 if all of them can run, 2 if not")],
    )
    add_file_option(parser)
    add_node_options(parser)


def command(arguments: argparse.Namespace) -> int:
    """Print a line per fault; 0 if there is none, else 2."""
    node_set = load_node_set(arguments)
    faults: list[WorkflowError] = []
    with using(node_set.context):
        executor = Executor(node_set.classes)
        for name in arguments.files:
            for fault in _faults(name, node_set, executor):
                arguments.out.line(one_line(fault))
                faults.append(fault)
    if any(comfyui_helps(fault, arguments) for fault in faults):
        error_line(COMFYUI_HELPS)
    return 2 if faults else 0


def _faults(name: str, node_set: NodeSet, executor: Executor) -> Iterator[WorkflowError]:
    try:
        source = open_source(name)
        with named(source.name):
            nodes = source.prompt(node_set.object_info).nodes
            verdict = executor.check(nodes)
            kind = UnknownClassError if has_unknown_class(nodes, executor.node_classes) else WorkflowError
            for line in fault_lines(nodes, verdict, executor.node_classes):
                yield kind(f"{source.name}: {line}")
    except WorkflowError as error:
        yield error
