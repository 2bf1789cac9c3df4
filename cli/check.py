"""`check`: all faults of workflow files, without running them."""

from __future__ import annotations

import argparse
from typing import Any

from ..executor.context import using
from ..executor.errors import WorkflowError
from ..executor.executor import Executor
from .messages import fault_lines
from .node_set import NodeSet, load_node_set
from .options import add_file_option, add_node_options, new_parser
from .output import one_line
from .sources import named, open_source


def add_parser(commands: Any) -> None:
    """Add this command to the command line."""
    parser = new_parser(
        commands,
        "check",
        command,
        "Check workflow files and print all their faults",
        [("comfyui-ddim check *.json", "exit code 0 if all can be run, 2 if not")],
    )
    add_file_option(parser)
    add_node_options(parser)


def command(arguments: argparse.Namespace) -> int:
    """Print a line per fault; 0 if there is none, else 2."""
    node_set = load_node_set(arguments)
    found = 0
    with using(node_set.context):
        executor = Executor(node_set.classes)
        for name in arguments.files:
            for line in _faults(name, node_set, executor):
                arguments.out.line(one_line(line))
                found += 1
    return 2 if found else 0


def _faults(name: str, node_set: NodeSet, executor: Executor) -> list[str]:
    try:
        source = open_source(name)
        nodes = source.prompt(node_set.object_info).nodes
        with named(source.name):
            lines = fault_lines(nodes, executor.check(nodes), executor.node_classes)
    except WorkflowError as error:
        return [str(error)]
    return [f"{source.name}: {line}" for line in lines]
