"""`sweep`: one workflow over many values, and on from where it was."""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..executor.context import using
from ..executor.errors import WorkflowError
from ..executor.executor import Executor
from ..prompts.messages import shown
from ..prompts.overrides import find_node, set_inputs
from ..sweeps.cells import Cells
from ..sweeps.check import check_cells
from ..sweeps.folder import SweepFolder
from ..sweeps.grids import Layout, read_layout, write_grids
from ..sweeps.pool import Options
from ..sweeps.resume import count_done
from ..sweeps.sweep import Cell, Sweep, read_axes, settled, source_hash
from ..sweeps.worker import NodeSet
from .node_set import load_node_set
from .options import add_node_options, new_parser
from .output import error_line
from .sources import named, open_source
from .stopping import Stopped, gently

MANY = 1000
"""Cells from which on `--yes` is asked for."""


def add_parser(commands: Any) -> None:
    """Add this command to the command line."""
    over = 'comfyui-ddim sweep w.json --over "KSampler.seed=1..8"'
    parser = new_parser(
        commands,
        "sweep",
        command,
        "Run a workflow for every combination of values; started again, it continues where it stopped",
        [
            (f"{over} --output seeds", "eight cells, in the folder seeds"),
            (f'{over} --over "KSampler.cfg=4, 7" --output o --grid', "8 x 2 cells, and a grid of them"),
            (f"{over} --output seeds --dry-run", "check all cells, run none"),
            (f"{over} --output seeds --ray --workers 2", "on two workers"),
        ],
    )
    parser.add_argument("file", metavar="FILE", help="a workflow in any form that run takes")
    parser.add_argument(
        "--over", metavar="NODE.INPUT=VALUES", action="append", default=[], help="an axis; may be repeated"
    )
    parser.add_argument(
        "--rows",
        metavar="CSV",
        type=Path,
        action="append",
        default=[],
        help="an axis from a table whose columns are NODE.INPUT",
    )
    parser.add_argument(
        "--set", metavar="NODE.INPUT=VALUE", action="append", default=[], help="change an input in all cells"
    )
    parser.add_argument("--only", metavar="NODE", action="append", help="run only this output node; may be repeated")
    add_node_options(parser)
    parser.add_argument("--grid", action="store_true", help="arrange the images in a grid with labelled axes")
    parser.add_argument(
        "--grid-of",
        metavar="LAYOUT",
        action="append",
        default=[],
        help='a grid with this layout, such as "columns=seed, rows=cfg"',
    )
    parser.add_argument("--dry-run", action="store_true", help="check all cells and run none")
    parser.add_argument("--yes", action="store_true", help=f"allow more than {MANY} cells")
    parser.add_argument("--retry-failed", action="store_true", help="run failed cells again")
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first cell that fails")
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        nargs="?",
        const="local",
        help="run on Ray, on this machine or on the cluster at ADDRESS",
    )
    parser.add_argument(
        "--workers", metavar="N", type=int, help="number of Ray workers (default: one per GPU, or per 4 cores)"
    )
    parser.add_argument(
        "--gpus-per-worker", metavar="G", type=float, help="GPUs per worker, may be a fraction (default: 1)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def command(arguments: argparse.Namespace) -> int:
    """Check all cells, then run those that aren't done."""
    _check_options(arguments)
    source = open_source(arguments.file)
    loaded = load_node_set(arguments)
    node_set = NodeSet(loaded.classes, loaded.context, loaded.display_names)
    prompt = source.prompt(loaded.object_info)
    with using(loaded.context), named(source.name):
        changes = set_inputs(prompt.nodes, arguments.set, loaded.object_info)
        prompt = source.prompt(loaded.object_info, changes)
        read_from = source_hash(source.documents, changes)
        nodes = settled(prompt.nodes, read_from, arguments.output)
        targets = None if arguments.only is None else tuple(find_node(nodes, name) for name in arguments.only)
        axes = read_axes(nodes, arguments.over, loaded.object_info, node_set, arguments.output, arguments.rows)
        cells = Cells(nodes, axes)
        layouts = [read_layout(text, axes) for text in arguments.grid_of or [None] * arguments.grid]
        check_cells(cells, Executor(loaded.classes), targets, loaded.object_info)
    if arguments.dry_run:
        return _tell(cells, arguments)
    if len(cells) > MANY and not arguments.yes:
        raise WorkflowError(f"{len(cells)} cells: more than {MANY} are run only with --yes")
    running = Sweep(
        cells,
        node_set,
        arguments.output,
        functools.partial(load_nodes, _portable(arguments)),
        targets,
        prompt.workflow,
        source.documents,
        changes,
        _options(arguments),
        {
            "name": Path(source.name).stem,
            "command": _remake(arguments, source.name),
            "source": read_from,
            "options": _made_with(arguments),
        },
    )
    return _run(running, layouts, arguments)


def _made_with(arguments: argparse.Namespace) -> dict[str, str]:
    """The options that results may depend on, beside the workflow."""
    comfyui = _portable(arguments).comfyui
    options = {"device": arguments.device, "dtype": arguments.dtype, "engine": arguments.engine}
    return {**options, "comfyui": "" if comfyui is None else str(comfyui)}


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        arguments.retry_failed, arguments.fail_fast, arguments.ray, arguments.workers, arguments.gpus_per_worker
    )


def load_nodes(arguments: argparse.Namespace) -> NodeSet:
    """The node set that the options ask for, in whatever process this is called."""
    loaded = load_node_set(arguments)
    return NodeSet(loaded.classes, loaded.context, loaded.display_names)


def _check_options(arguments: argparse.Namespace) -> None:
    if arguments.output is None and not arguments.dry_run:
        raise WorkflowError("--output is missing: expected a folder for the sweep")
    if arguments.ray is None and (arguments.workers is not None or arguments.gpus_per_worker is not None):
        raise WorkflowError("--workers and --gpus-per-worker need --ray")
    if arguments.workers is not None and arguments.workers < 1:
        raise WorkflowError(f"--workers {arguments.workers}: expected 1 or more")
    if arguments.gpus_per_worker is not None and arguments.gpus_per_worker < 0:
        raise WorkflowError(f"--gpus-per-worker {arguments.gpus_per_worker}: expected 0 or more")


def _portable(arguments: argparse.Namespace) -> argparse.Namespace:
    """What load_node_set needs of the options, with paths that mean the same in another process."""
    comfyui = arguments.comfyui or os.environ.get("COMFYUI_DIR")
    paths = {"models": arguments.models, "input": arguments.input, "output": arguments.output}
    return argparse.Namespace(
        **{name: path and path.absolute() for name, path in paths.items()},
        comfyui=Path(comfyui).absolute() if comfyui else None,
        nodes=[path.absolute() for path in arguments.nodes],
        device=arguments.device,
        dtype=arguments.dtype,
        engine=arguments.engine,
    )


def _tell(cells: Cells, arguments: argparse.Namespace) -> int:
    """What would be run."""
    for axis in cells.axes:
        arguments.out.line(f"{axis.name}: {_several(len(axis), 'value')}")
    done = 0 if arguments.output is None else count_done(cells, SweepFolder(arguments.output))
    arguments.out.line(_several(len(cells), "cell") + (f", {done} of them done" if done else ""))
    return 0


def _remake(arguments: argparse.Namespace, name: str) -> str:
    """The command that makes one cell again, but for its values."""
    words = ["comfyui-ddim", "run", name]
    for option in ("comfyui", "models", "input"):
        if (path := getattr(arguments, option)) is not None:
            words += [f"--{option}", str(path)]
    for folder in arguments.nodes:
        words += ["--nodes", str(folder)]
    for option, usual in (("device", "auto"), ("dtype", "auto"), ("engine", "torch")):
        if getattr(arguments, option) != usual:
            words += [f"--{option}", getattr(arguments, option)]
    words += [word for setting in arguments.set for word in ("--set", setting)]
    words += [word for node in arguments.only or () for word in ("--only", node)]
    return shlex.join(words)


def _run(running: Sweep, layouts: list[Layout], arguments: argparse.Namespace) -> int:
    made: dict[int, Cell] = {}
    try:
        with gently(running.interrupt):
            for cell in _with_bar(running, arguments):
                if layouts:
                    made[cell.index] = cell
                if cell.is_new:
                    for path in cell.files:
                        arguments.out.line(path)
    except Stopped as stop:
        error_line(f"stopped; {running.done} of {_several(len(running.cells), 'cell')} done")
        return stop.exit_code
    for path in write_grids(running.cells, layouts, made, running.path):
        arguments.out.line(path)
    ran = f"; {_several(running.ran, 'node run')}, {_several(running.shared, 'result')} shared" if running.ran else ""
    print(f"{running.done} of {_several(len(running.cells), 'cell')} done{ran}", file=sys.stderr)
    if running.failed:
        error_line(f"{_several(running.failed, 'cell')} failed; {running.folder.page} shows which")
        return 1
    return 0


def _with_bar(running: Sweep, arguments: argparse.Namespace) -> Iterable[Cell]:
    """The cells, with what is to be told of them on standard error."""
    from tqdm import tqdm

    total = len(running.cells)
    with tqdm(total=total, unit="cell", file=sys.stderr, disable=arguments.quiet, leave=False, delay=0.5) as bar:
        for cell in running:
            while running.notes:
                bar.write(running.notes.pop(0), file=sys.stderr)
            if cell.is_new:
                bar.update()
            else:
                bar.initial = bar.n = bar.n + 1
            if cell.state == "failed":
                values = ", ".join(f"{name}={shown(value)}" for name, value in cell.values.items())
                bar.clear()
                error_line(f"failed: {values}: {cell.fault}")
            yield cell
    while running.notes:
        print(running.notes.pop(0), file=sys.stderr)


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
