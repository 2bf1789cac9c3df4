"""`convert`: what the browser saved becomes what ComfyUI's API takes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..atomic import write_whole
from ..executor.context import using
from ..executor.errors import WorkflowError
from .node_set import load_node_set
from .options import add_node_options, new_parser
from .output import to_json
from .sources import open_source
from .stopping import gently


def add_parser(commands: Any) -> None:
    """Add this command to the command line."""
    parser = new_parser(
        commands,
        "convert",
        command,
        "Convert a workflow file to the API form",
        [
            ("comfyui-ddim convert workflow.json", "print it"),
            ("comfyui-ddim convert image.png -o prompt.json", "write it to a file"),
            (
                "comfyui-ddim convert workflow.json --object-info info.json",
                "with the nodes of a server: curl HOST:8188/object_info > info.json",
            ),
        ],
    )
    parser.add_argument("file", metavar="FILE", help="a workflow file, or an image with a workflow in it; - for stdin")
    parser.add_argument("-o", dest="to", metavar="FILE", type=Path, help="write here instead of standard output")
    parser.add_argument(
        "--object-info", metavar="FILE", type=Path, help="node definitions as ComfyUI's /object_info gives them"
    )
    add_node_options(parser)


def command(arguments: argparse.Namespace) -> int:
    """Convert one file."""
    source = open_source(arguments.file)
    nodes = source.prompt(_object_info(arguments)).nodes
    if arguments.to is None:
        arguments.out.write(to_json(nodes, arguments.out.encoding))
        return 0
    try:
        with gently(lambda: None):
            write_whole(arguments.to, to_json(nodes).encode())
    except OSError as error:
        raise WorkflowError(f"{arguments.to}: can't be written: {error.strerror}") from None
    return 0


def _object_info(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.object_info is None:
        node_set = load_node_set(arguments)
        with using(node_set.context):
            return node_set.object_info
    try:
        info = json.loads(arguments.object_info.read_bytes())
    except OSError as error:
        raise WorkflowError(f"{arguments.object_info}: can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise WorkflowError(f"{arguments.object_info}: can't be read as JSON: {error}") from None
    if not isinstance(info, dict) or not all(isinstance(entry, dict) and "input" in entry for entry in info.values()):
        raise WorkflowError(f"{arguments.object_info}: not what ComfyUI's /object_info gives")
    return info
