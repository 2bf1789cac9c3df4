"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..executor.context import Context
from ..executor.errors import WorkflowError
from .node_set import uses_comfyui


def new_parser(
    commands: Any, name: str, command: Any, summary: str, examples: list[tuple[str, str]]
) -> argparse.ArgumentParser:
    """A command's parser, with `--debug` and examples (`(line, what it does)`) below its help."""
    width = max(len(line) for line, _ in examples)
    shown = "\n".join(f"  {line.ljust(width)}  {what}" for line, what in examples)
    parser = commands.add_parser(
        name,
        help=summary[0].lower() + summary[1:],
        description=summary + ".",
        epilog=f"examples:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    parser.add_argument("--debug", action="store_true", help="show tracebacks and log messages")
    return parser


def add_file_option(parser: argparse.ArgumentParser) -> None:
    """One or more workflow files."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a workflow as the browser saves it, an API export, or an image with either in it; - for stdin",
    )


def add_format_options(parser: argparse.ArgumentParser) -> None:
    """What SaveImage writes."""
    parser.add_argument(
        "--format", choices=("png", "webp", "jpeg"), default="png", help="what SaveImage writes (default: png)"
    )
    parser.add_argument(
        "--quality",
        metavar="1-100",
        type=_quality,
        help=f"for webp and jpeg: a higher number loses less and makes larger files (default: {Context().quality})",
    )


def check_format(arguments: argparse.Namespace) -> None:
    """See that format and quality go together, and settle the quality; raises WorkflowError."""
    if arguments.quality is not None and arguments.format == "png":
        raise WorkflowError(
            f"--quality {arguments.quality}: png has no quality setting; expected --format webp or jpeg with it"
        )
    if arguments.format != "png" and uses_comfyui(arguments):
        raise WorkflowError(f"--format {arguments.format}: ComfyUI's own nodes, loaded by --comfyui, write only png")


def _quality(text: str) -> int:
    if text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= 100:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 to 100")


def add_node_options(parser: argparse.ArgumentParser) -> None:
    """Where node classes, and the files they choose from, come from."""
    parser.add_argument(
        "--nodes",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="also load this node pack; may be repeated",
    )
    parser.add_argument(
        "--comfyui", metavar="DIR", type=Path, help="use the nodes of this ComfyUI checkout (default: $COMFYUI_DIR)"
    )
    parser.add_argument("--models", metavar="DIR", type=Path, help="where model files are (default: ./models)")
    parser.add_argument("--input", metavar="DIR", type=Path, help="where LoadImage looks (default: ./input)")
    parser.add_argument("--output", metavar="DIR", type=Path, help="where files are written (default: ./output)")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, cuda:1, mps ...")
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="the dtype of the models (default: float32 for small ones, otherwise one that suits the device)",
    )
    parser.add_argument(
        "--engine",
        choices=("torch", "openvino"),
        default="torch",
        help="what computes UNet and autoencoder; openvino is faster on a CPU, and compiles once for each size",
    )
