"""A sweep from its first cell to its last, and on from where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..executor.errors import WorkflowError
from ..executor.executor import Executor
from ..executor.object_info import object_info
from ..executor.reading import Changes, Documents, prompt_of, read_documents
from .axes import Axis, AxisReader, Prompt
from .cells import Cells
from .check import check_cells, needed_nodes
from .description import changes_since, describe, drawn_steps, hash_files
from .folder import SweepFolder, stage
from .ledger import Entry, Ledger
from .order import running_order
from .page import Page
from .pool import LocalPool, Options, Pool
from .resume import Stock, take_stock
from .worker import CellWorker, Job, LoadNodes, Made, NodeSet, load_own_nodes

__all__ = ["Cell", "Sweep", "sweep"]


@dataclass(frozen=True)
class Cell:
    """A cell that is done or has failed.

    `at` is its position along each axis, `values` what varies by name, `files` are its results; `fault` says why it
    failed; `ran` nodes were run for it, and `shared` results were there already. `is_new` if this call made it.
    """

    index: int
    at: tuple[int, ...]
    key: str
    values: dict[str, Any]
    state: str
    fault: str
    files: tuple[Path, ...]
    seconds: float
    node: str
    ran: int
    shared: int
    is_new: bool


@dataclass
class Sweep:
    """A sweep whose cells are known to be good: iterate over it once to run it.

    `notes` are lines that say what has changed since an earlier call, and what was found; they are there once the
    iteration has begun. `interrupt` may be called from a signal handler or another thread.
    """

    cells: Cells
    node_set: NodeSet
    path: Path
    load: LoadNodes
    targets: tuple[str, ...] | None = None
    workflow: dict[str, Any] | None = None
    documents: Documents | None = None
    changes: Changes = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    extra: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    ran: int = 0
    shared: int = 0

    def __post_init__(self) -> None:
        self.folder = SweepFolder(self.path)
        self.done = self.failed = 0
        self._pool: Pool | None = None

    def interrupt(self) -> None:
        """Stop: running cells end at their next step, and are not made."""
        self.interrupted = True
        if self._pool is not None:
            self._pool.interrupt()

    def __iter__(self) -> Iterator[Cell]:
        with self.folder.taken():
            old = self.folder.old_description()
            files = hash_files(self.cells.base, self.cells.axes, self.node_set.context, old)
            self.cells = Cells(
                self.cells.base, self.cells.axes, {name: facts["sha256"] for name, facts in files.items()}
            )
            self.notes += changes_since(old, self.cells.base, self.cells.axes, self.extra)
            self.folder.describe(describe(self.cells.base, self.cells.axes, files, self.extra))
            stock = take_stock(self.cells, self.folder)
            self._note(stock)
            yield from self._go_on(stock)

    def _note(self, stock: Stock) -> None:
        if stock.done:
            self.notes.append(f"{len(stock.done)} of {len(self.cells)} cells are done already")
        if stock.put_aside:
            self.notes.append(
                f"{stock.put_aside} cells that are no longer in the sweep were moved to {self.folder.earlier}"
            )
        if stock.failed and not self.options.retry_failed:
            self.notes.append(f"{len(stock.failed)} failed earlier; --retry-failed runs them again")

    def _go_on(self, stock: Stock) -> Iterator[Cell]:
        if self.options.retry_failed:
            stock.failed.clear()
        page = Page(self.folder, self.cells, self.extra)
        ledger = Ledger(self.folder.ledger)
        try:
            for index, entry in stock.unrecorded.items():
                ledger.add(entry, self._paths(index, entry))
            for index, entry in sorted({**stock.done, **stock.failed}.items()):
                page.add(index, entry)
                yield self._told(index, entry, is_new=False)
            page.write()
            if len(stock.done) + len(stock.failed) < len(self.cells):
                yield from self._make(stock, ledger, page)
        finally:
            try:
                ledger.close()
            finally:
                page.write()

    def _make(self, stock: Stock, ledger: Ledger, page: Page) -> Iterator[Cell]:
        needed = needed_nodes(self.cells.nodes(0), self.node_set.classes, self.targets)
        known = {*stock.done, *stock.failed}
        todo = (index for index in running_order(self.cells, needed) if index not in known)
        self._pool = self._new_pool()
        try:
            if self.interrupted:
                self._pool.interrupt()
            for made in self._pool.make(todo):
                entry = made.entry
                self._take_in(made)
                ledger.add(entry, self._paths(made.index, entry))
                page.add(made.index, entry)
                self.ran, self.shared = self.ran + entry.ran, self.shared + entry.shared
                page.write_now_and_then()
                yield self._told(made.index, entry, is_new=True)
                if entry.state == "failed" and self.options.fail_fast:
                    return
        finally:
            self._pool.close()

    def _new_pool(self) -> Pool:
        job = Job(self.cells, self.targets, self.workflow, self._derived_from(), self.changes)
        if self.options.ray is not None:
            from .cluster import RayPool

            return RayPool(job, self.load, self.folder, self.options)
        return LocalPool(CellWorker(job, self.node_set, self.folder, self.folder.staging()))

    def _derived_from(self) -> Documents | None:
        """The file, if a cell read from it is another than the base with the cell's values put in."""
        if self.documents is None:
            return None
        info = object_info(self.node_set.classes, self.node_set.display_names)
        job = Job(self.cells, documents=self.documents, changes=self.changes)
        last = tuple(size - 1 for size in self.cells.shape)
        same = all(job.nodes(index, info) == self.cells.nodes(index) for index in (0, self.cells.index(last)))
        return None if same else self.documents

    def _take_in(self, made: Made) -> None:
        """Write the files of a worker that doesn't see the folder."""
        if made.content is None:
            return
        staging = self.folder.staging()
        for name, data in made.content.items():
            stage(staging / "output" / name, data)
        if made.thumb is not None:
            self.folder.put_thumb(made.entry.cell, made.thumb, staging)
        self.folder.put(staging / "output", self.cells.name(made.index, made.entry.cell))

    def _paths(self, index: int, entry: Entry) -> list[Path]:
        if entry.state != "done":
            return []
        folder = self.folder.cells / self.cells.name(index, entry.cell)
        return [*(folder / name for name, _ in entry.files), folder / "workflow.json", folder, self.folder.cells]

    def _told(self, index: int, entry: Entry, is_new: bool) -> Cell:
        if entry.state == "done":
            self.done += 1
        else:
            self.failed += 1
        folder = self.folder.cells / self.cells.name(index, entry.cell)
        return Cell(
            index,
            self.cells.at(index),
            entry.cell,
            self.cells.values(index),
            entry.state,
            entry.fault,
            tuple(folder / name for name, _ in entry.files),
            entry.seconds,
            entry.node,
            entry.ran,
            entry.shared,
            is_new,
        )


def sweep(
    prompt: Prompt | Path | str,
    axes: Mapping[str, Iterable[Any]] | Iterable[str],
    output: Path | str,
    *,
    nodes: LoadNodes | None = None,
    targets: Iterable[str] | None = None,
    retry_failed: bool = False,
    fail_fast: bool = False,
    ray: str | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
) -> Iterator[Cell]:
    """Run a workflow over all combinations of `axes`; yields each cell as it finishes, those done before first.

    `prompt` is a workflow file, or a prompt in API form; `axes` is `{"NODE.INPUT": values}` (several inputs that move
    together: `{"A.x, B.y": tuples}`), or texts as `--over` takes them. Results go to `output`, where the same call goes
    on after any end. `nodes` returns the node classes, and is called once in each process (default: this package's);
    for `ray`, `workers` and `gpus_per_worker` see `Options`. All cells are checked before this returns: raises
    WorkflowError for the first fault. A cell that fails is yielded like the others.
    """
    load = nodes or load_own_nodes
    node_set = load()
    info = object_info(node_set.classes, node_set.display_names)
    workflow = documents = None
    if isinstance(prompt, (str, Path)):
        documents = read_documents(Path(prompt))
        read = prompt_of(documents, info)
        workflow = read.workflow
        prompt = settled(read.nodes, source_hash(documents, {}), Path(output))
    found = read_axes(prompt, axes, info, node_set, Path(output))
    only = None if targets is None else tuple(targets)
    cells = Cells(prompt, found)
    check_cells(cells, Executor(node_set.classes, context=node_set.context), only, info)
    options = Options(retry_failed, fail_fast, ray, workers, gpus_per_worker)
    extra = {} if documents is None else {"source": source_hash(documents, {})}
    return iter(Sweep(cells, node_set, Path(output), load, only, workflow, documents, {}, options, extra))


def source_hash(documents: Documents | None, changes: Changes) -> str:
    """What a workflow was read from, in a word."""
    parts = None if documents is None else [documents.prompt, documents.workflow]
    return hashlib.sha256(json.dumps([parts, changes], sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def settled(nodes: Prompt, source: str, output: Path | None) -> Prompt:
    """The nodes that an earlier call in `output` read from the same source, else these.

    Reading may give others each time: the browser puts the time into file names that ask for it.
    """
    old = None if output is None else SweepFolder(output).old_description()
    return old["workflow"] if old is not None and old.get("source") == source else nodes


def read_axes(
    prompt: Prompt,
    axes: Mapping[str, Iterable[Any]] | Iterable[str],
    info: Mapping[str, Any],
    node_set: NodeSet,
    output: Path | None,
    tables: Iterable[Path] = (),
) -> list[Axis]:
    """The axes of a mapping or of texts; random values that stand in `output` already are taken from there."""
    old = None if output is None else SweepFolder(output).old_description()
    reader = AxisReader(prompt, info, node_set.context.input_dir, drawn_steps(old))
    if isinstance(axes, Mapping):
        return reader.mapping(axes)
    if isinstance(axes, str):
        raise WorkflowError(f"axes is {axes!r}, expected a list of such texts, or a dict")
    return reader.read(axes, tables)
