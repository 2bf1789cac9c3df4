"""Making one cell after the other, in one process: models and common results stay in its executor."""

from __future__ import annotations

import dataclasses
import errno
import json
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..executor.context import Context
from ..executor.executor import Executor, RunResult
from ..executor.object_info import object_info
from ..executor.reading import Changes, Documents, prompt_of
from ..prompts.carry import carry_over
from ..prompts.failures import failure_line
from ..prompts.messages import fault_lines
from .axes import Prompt
from .cells import Cells
from .check import needed_nodes
from .folder import PICTURES, SweepFolder, files_of, stage
from .ledger import Entry
from .order import results_to_keep
from .thumbs import save_thumb

__all__ = ["CellWorker", "Interrupted", "Job", "Made", "NodeSet"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""What ends a sweep rather than a cell: the next one could not be written either."""


@dataclass(frozen=True)
class NodeSet:
    """The node classes that cells are made of, and what they work with."""

    classes: Mapping[str, type]
    context: Context = field(default_factory=Context)
    display_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What every worker needs to know.

    cells, and which of their outputs to run (None: all)
    workflow: as the browser saved it, to be carried by pictures
    documents: the file that the workflow was read from, where inputs are derived from values that vary (a file name
    that holds the seed); changes: what --set changes in it
    """

    cells: Cells
    targets: tuple[str, ...] | None = None
    workflow: dict[str, Any] | None = None
    documents: Documents | None = None
    changes: Changes = field(default_factory=dict)

    def nodes(self, index: int, info: Mapping[str, Any]) -> Prompt:
        """A cell's prompt."""
        if self.documents is None:
            return self.cells.nodes(index)
        return prompt_of(self.documents, info, merged(self.changes, self.cells.changes(index))).nodes


@dataclass(frozen=True)
class Made:
    """A cell as a worker leaves it; `content` are its files where the sweep's folder isn't to be seen from there."""

    index: int
    entry: Entry
    content: dict[str, bytes] | None = None
    thumb: bytes | None = None


class Interrupted(Exception):
    """A stop was asked for while a cell was made."""


class CellWorker:
    """Makes cells of a job.

    `folder` is the sweep's, or None where it isn't to be seen: then `scratch` is written in, and a cell's files are
    part of what `make` returns.
    """

    def __init__(self, job: Job, node_set: NodeSet, folder: SweepFolder | None, scratch: Path, name: str = ""):
        self._job = job
        self._folder = folder
        self._output, self._temp = scratch / "output", scratch / "temp"
        self._name = name or platform.node()
        self._classes = node_set.classes
        context = dataclasses.replace(node_set.context, output_dir=self._output, temp_dir=self._temp)
        _tell_comfyui(context)
        self._executor = _executor(job, node_set.classes, context)
        needs_info = job.workflow is not None or job.documents is not None
        self._object_info = object_info(node_set.classes, node_set.display_names) if needs_info else {}

    def interrupt(self) -> None:
        """Stop the cell that is being made, at its next step; `make` raises Interrupted."""
        self._executor.interrupt()

    def make(self, index: int) -> Made:
        """Make a cell. A node's failure is in what is returned; raises Interrupted, and OSError for a full disk."""
        began = time.perf_counter()
        cells = self._job.cells
        nodes = self._job.nodes(index, self._object_info)
        for folder in (self._output, self._temp):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        result = self._executor.run(nodes, self._job.targets, self._extra_data(nodes, index))
        if result.interrupted:
            raise Interrupted
        key = cells.key(index)
        entry = Entry(
            key,
            cells.at(index),
            "done",
            datetime.now(UTC).isoformat(timespec="milliseconds"),
            0.0,
            self._name,
            len(result.ran),
            len(result.cached),
            fault=self._fault(nodes, result),
        )
        if entry.fault:
            _raise_if_full(result.exception)
            entry = dataclasses.replace(entry, state="failed", seconds=_since(began))
            return Made(index, entry)
        return self._hand_over(index, entry, nodes, result, began)

    def _extra_data(self, nodes: dict[str, Any], index: int) -> dict[str, Any]:
        if self._job.workflow is None:
            return {}
        changes = merged(self._job.changes, self._job.cells.changes(index))
        workflow = carry_over(self._job.workflow, nodes, changes, self._object_info)
        return {} if workflow is None else {"extra_pnginfo": {"workflow": workflow}}

    def _fault(self, nodes: dict[str, Any], result: RunResult) -> str:
        if result.failure is not None:
            return failure_line(nodes, result)[0]
        if result.error is not None or result.node_errors:  # files that were there at the check are gone, perhaps
            return next(iter(fault_lines(nodes, self._executor.check(nodes, self._job.targets), self._classes)), "")
        return ""

    def _hand_over(
        self, index: int, entry: Entry, nodes: dict[str, Any], result: RunResult, began: float
    ) -> Made:
        if not any(self._output.iterdir()):
            _keep_what_was_shown(result, self._temp, self._output)
        files = files_of(self._output)
        listed = tuple((path.relative_to(self._output).as_posix(), path.stat().st_size) for path in files)
        stage(self._output / "workflow.json", _json(nodes))
        picture = first_picture(files)
        thumb = None if picture is None else save_thumb(picture)
        entry = dataclasses.replace(entry, files=listed, seconds=_since(began))
        if self._folder is None:
            content = {path.relative_to(self._output).as_posix(): path.read_bytes() for path in _all(self._output)}
            return Made(index, entry, content, thumb)
        if thumb is not None:
            self._folder.put_thumb(entry.cell, thumb, self._temp)
        self._folder.put(self._output, self._job.cells.name(index, entry.cell))
        return Made(index, entry)


def _executor(job: Job, classes: Mapping[str, type], context: Context) -> Executor:
    needed = needed_nodes(job.cells.nodes(0), classes, job.targets)
    kept, count = results_to_keep(job.cells, needed, classes)
    cache = "lru" if kept else "classic"
    return Executor(classes, cache, count, context, rerun_outputs=True, keep=kept or None)


def merged(first: Changes, then: Changes) -> Changes:
    """Both changes, the second where they meet."""
    return {key: {**first.get(key, {}), **then.get(key, {})} for key in {**first, **then}}


def first_picture(files: Sequence[Path]) -> Path | None:
    """The picture that stands for a cell."""
    return next((path for path in files if path.suffix.lower() in PICTURES), None)


def load_own_nodes() -> NodeSet:
    """This package's nodes, and its own of ComfyUI's."""
    from .. import nodes

    return NodeSet(
        {**nodes.STAND_IN_CLASS_MAPPINGS, **nodes.NODE_CLASS_MAPPINGS},
        display_names=nodes.NODE_DISPLAY_NAME_MAPPINGS,
    )


LoadNodes = Callable[[], NodeSet]


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 4)


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _raise_if_full(error: BaseException | None) -> None:
    if isinstance(error, OSError) and error.errno in FULL:
        raise error


def _tell_comfyui(context: Context) -> None:
    """ComfyUI's nodes ask its own module for their folders."""
    folders = sys.modules.get("folder_paths")
    if hasattr(folders, "set_output_directory"):
        folders.set_output_directory(str(context.output_dir.resolve()))
        folders.set_temp_directory(str(context.temp_dir.resolve()))


def _keep_what_was_shown(result: RunResult, temp: Path, output: Path) -> None:
    """A workflow that saves nothing has what it shows as its results: the previews, else whatever else there is."""
    if any(temp.iterdir()):
        output.rmdir()
        temp.rename(output)
        temp.mkdir()
    elif result.outputs:
        stage(output / "shown.json", _json(result.outputs))


def _json(data: Any) -> bytes:
    return json.dumps(data, indent=1, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
