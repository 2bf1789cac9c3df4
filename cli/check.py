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
from .sources import Source, name_sources


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
    sources = name_sources(arguments.files)
    node_set = load_node_set(arguments)
    with using(node_set.context):
        executor = Executor(node_set.classes)
        lines = [line for source in sources for line in _faults(source, node_set, executor)]
    for line in lines:
        print(line, file=arguments.out)
    return 2 if lines else 0


def _faults(source: Source, node_set: NodeSet, executor: Executor) -> list[str]:
    try:
        nodes = source.read(node_set.object_info).nodes
    except WorkflowError as error:
        return [str(error)]
    return [f"{source.name}: {line}" for line in fault_lines(nodes, executor.check(nodes), executor.node_classes)]
