"""`nodes` and `object-info`: which node classes there are, and what they take and give."""

from __future__ import annotations

import argparse
import difflib
import json
from typing import Any

from ..executor.context import using
from ..executor.errors import WorkflowError
from .definition_texts import node_lines
from .node_set import load_node_set
from .options import add_node_options, new_parser


def add_parser(commands: Any) -> None:
    """Add these two commands to the command line."""
    parser = new_parser(
        commands,
        "nodes",
        nodes_command,
        "List the node classes, or describe one",
        [("comfyui-ddim nodes", "list them all"), ("comfyui-ddim nodes DDIMSampler", "its inputs, ranges and help")],
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="a node class")
    add_node_options(parser)
    parser = new_parser(
        commands,
        "object-info",
        object_info_command,
        "Print the JSON that ComfyUI's /object_info gives",
        [("comfyui-ddim object-info > info.json", "node definitions for other tools, or for convert --object-info")],
    )
    add_node_options(parser)


def nodes_command(arguments: argparse.Namespace) -> int:
    """Print a line per class, or all about one."""
    node_set = load_node_set(arguments)
    with using(node_set.context):
        info = node_set.object_info
    name = arguments.name
    if name is None:
        width = max(map(len, info), default=0)
        for entry in sorted(info.values(), key=lambda entry: (entry["category"], entry["name"])):
            line = f"{entry['name'].ljust(width)}  {entry['display_name']}  [{entry['category']}]"
            arguments.out.line(line)
        return 0
    if name not in info:
        near = difflib.get_close_matches(name, info, 3)
        raise WorkflowError(f"no node class {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    for line in node_lines(info[name]):
        arguments.out.line(line)
    return 0


def object_info_command(arguments: argparse.Namespace) -> int:
    """Print the definitions of all classes."""
    node_set = load_node_set(arguments)
    with using(node_set.context):
        arguments.out.line(json.dumps(node_set.object_info, default=str))
    return 0
