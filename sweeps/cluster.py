"""Cells on Ray: actors that hold models make cells, on this machine or on a cluster.

Ray restarts an actor whose process or machine died; its cell, and the cells set aside for it, go to whichever worker is
free next, so that nothing waits for a machine that doesn't come back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import platform
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from ..executor.errors import WorkflowError
from .folder import SweepFolder
from .ledger import Entry
from .pool import Options
from .worker import CellWorker, Job, LoadNodes, Made

__all__ = ["RayPool"]

DEATHS = 3
"""Workers that a cell may cost before it counts as failed."""
STARTS, LONGEST_PAUSE = 5, 30.0
"""How often every worker may fail to start before the sweep gives up, and seconds between two tries at most."""
POLL = 0.2
"""Seconds after which it is seen whether a stop was asked for."""
CORES = 4
"""Processor cores for each worker where there are no GPUs."""
CHUNK = 32
"""Cells at most that are set aside for a worker, so that it makes those that have much in common."""


class RayWorker:
    """A `CellWorker` in a process of Ray's."""

    def start(
        self, job: Job, load: LoadNodes, folder: str, token: str, directory: str, threads: int | None
    ) -> None:
        """Load the nodes, and see whether the sweep's folder is to be seen from here: it is where `token` is.

        `threads` are the driver's, where torch is used: the last bit of a result depends on their number, and Ray would
        give each worker as many as it has cores for itself.
        """
        with contextlib.suppress(OSError):
            os.chdir(directory)
        if threads is not None:
            importlib.import_module("torch").set_num_threads(threads)
        sees_folder = Path(token).exists()
        place = SweepFolder(Path(folder)) if sees_folder else None
        scratch = place.staging() if place is not None else Path(tempfile.mkdtemp(prefix="sweep-"))
        name = f"{platform.node()}/{os.getpid()}"
        self._worker = CellWorker(job, load(), place, scratch, name)

    def make(self, index: int) -> Made:
        """Make a cell."""
        return self._worker.make(index)


@dataclasses.dataclass
class _Seat:
    """A worker's place: its actor, and the cells set aside for it.

    `false_starts` counts how often in turn it couldn't be started; it isn't tried again before `rests_until`.
    """

    actor: Any
    cells: deque[int] = dataclasses.field(default_factory=deque)
    false_starts: int = 0
    rests_until: float = 0.0


class RayPool:
    """Workers on Ray; see `Options`."""

    def __init__(self, job: Job, load: LoadNodes, folder: SweepFolder, options: Options):
        self._ray = _import_ray(options.ray or "local")
        self._job = job
        self._stop = False
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            _start(self._ray, options.ray or "local")
        count, resources = _shares(self._ray, options)
        actor_class = self._ray.remote(RayWorker).options(max_restarts=-1, max_task_retries=0, **resources)
        shared = self._ray.put(job)
        token = str(folder.token().absolute())
        threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
        self._arguments = (shared, load, str(folder.path.absolute()), token, str(Path.cwd()), threads)
        self._seats = [_Seat(actor_class.remote()) for _ in range(count)]
        self._returned: deque[int] = deque()
        self._deaths: Counter[int] = Counter()
        self._left = len(job.cells)  # of which nobody has been told yet

    def make(self, indexes: Iterator[int]) -> Iterator[Made]:
        """The cells of these indexes, as workers make them."""
        # Calls that run, each with its worker and the cell that it makes; None: the worker starts.
        calls: dict[Any, tuple[_Seat, int | None]] = {}
        absent, idle = list(self._seats), []
        while (calls or absent) and not self._stop:
            for seat in [seat for seat in absent if seat.rests_until <= time.monotonic()]:
                absent.remove(seat)
                calls[seat.actor.start.remote(*self._arguments)] = (seat, None)
            for reference in self._finished(list(calls)):
                seat, index = calls.pop(reference)
                made, is_alive = self._result(reference, seat, index)
                if made is not None:
                    yield made
                (idle if is_alive else absent).append(seat)
            while idle and (task := self._next(idle[-1], indexes)) is not None:
                seat = idle.pop()
                calls[seat.actor.make.remote(task)] = (seat, task)
            if idle and all(index is None for _, index in calls.values()):
                return  # a worker is free and there is nothing to make; others that start needn't be waited for

    def _finished(self, calls: list[Any]) -> list[Any]:
        """Those of the calls that have ended, after a moment."""
        if not calls:
            time.sleep(POLL)
            return []
        return self._ray.wait(calls, num_returns=1, timeout=POLL)[0]

    def _result(self, reference: Any, seat: _Seat, index: int | None) -> tuple[Made | None, bool]:
        """What a call brought, and whether its worker is alive."""
        errors = self._ray.exceptions
        try:
            made = self._ray.get(reference)
        except (errors.RayActorError, errors.ObjectLostError, errors.OutOfMemoryError) as error:
            # Its process or its machine is gone, or was before the result had come from there.
            self._returned.extend(seat.cells)
            seat.cells.clear()
            if index is None:
                self._note_false_start(seat, error)
                return None, False
            self._deaths[index] += 1
            if self._deaths[index] >= DEATHS:
                return self._died(index), False
            self._returned.appendleft(index)
            return None, False
        except errors.RayTaskError as error:
            raise getattr(error, "cause", None) or error from None
        seat.false_starts = 0
        return made, True

    def _died(self, index: int) -> Made:
        ended = datetime.now(UTC).isoformat(timespec="milliseconds")
        key, at = self._job.cells.key(index), self._job.cells.at(index)
        return Made(index, Entry(key, at, "failed", ended, 0.0, "", fault=f"its worker died {DEATHS} times"))

    def _note_false_start(self, seat: _Seat, error: Exception) -> None:
        """Give up if no worker comes to life; raises WorkflowError.

        As long as one works, the others may take their time: Ray needs a while to see that a machine is gone.
        """
        seat.false_starts += 1
        seat.rests_until = time.monotonic() + min(LONGEST_PAUSE, 2.0 ** (seat.false_starts - 1))
        if all(each.false_starts >= STARTS for each in self._seats):
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise WorkflowError(f"--ray: a worker can't start: {lines[-1] if lines else 'it died'}")

    def _next(self, seat: _Seat, indexes: Iterator[int]) -> int | None:
        """The cell that a worker makes next: one that came back, else one set aside for it, else new ones."""
        if self._returned:
            return self._returned.popleft()
        if not seat.cells:
            size = max(1, min(CHUNK, self._left // (4 * len(self._seats))))
            for index in indexes:
                seat.cells.append(index)
                self._left -= 1
                if len(seat.cells) >= size:
                    break
        if not seat.cells:
            longest = max(self._seats, key=lambda other: len(other.cells))
            return longest.cells.pop() if longest.cells else None
        return seat.cells.popleft()

    def interrupt(self) -> None:
        """At once: cells that are being made are not."""
        self._stop = True

    def close(self) -> None:
        """End the workers, and Ray if it was started here."""
        for seat in self._seats:
            self._ray.kill(seat.actor, no_restart=True)
        if self._is_ours:
            self._ray.shutdown()


def _import_ray(address: str) -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    if address == "local":  # the variable by which Ray is for one machine, and hears 127.0.0.1 alone
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise WorkflowError('--ray: needs the package ray: pip install "comfyui-ddim[ray]"') from None


def _start(ray: ModuleType, address: str) -> None:
    """Start Ray on this machine, heard on 127.0.0.1 alone, or join a cluster; raises WorkflowError."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        options["include_dashboard"] = False
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise WorkflowError(f"--ray {address}: {str(error).strip().splitlines()[0]}") from None


def _shares(ray: ModuleType, options: Options) -> tuple[int, dict[str, float]]:
    """How many workers, and what each has of a machine."""
    total = ray.cluster_resources()
    cores, gpus = total.get("CPU", 1.0), total.get("GPU", 0.0)
    share = options.gpus_per_worker if options.gpus_per_worker is not None else float(gpus > 0)
    if share:
        if share > gpus:
            raise WorkflowError(f"--gpus-per-worker {share:g}: expected at most the {gpus:g} GPUs that Ray has")
        return options.workers or max(1, int(gpus / share)), {"num_gpus": share, "num_cpus": 1}
    count = options.workers or max(1, int(cores // CORES))
    least = min(node["Resources"].get("CPU", 1.0) for node in ray.nodes() if node["Alive"]) or 1.0
    cpus = min(cores / count, least)
    return count, {"num_cpus": float(int(cpus)) if cpus >= 1 else round(cpus, 3)}
