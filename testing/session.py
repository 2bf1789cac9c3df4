"""Running prompts on the nodes of a test session."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ..executor.context import using
from ..executor.errors import WorkflowError
from ..executor.executor import Executor, RunResult
from ..executor.reading import read_workflow
from ..executor.validation import Verdict
from ..prompts.failures import failure_line
from ..prompts.messages import fault_lines
from ..prompts.overrides import find_node, set_inputs, set_seed
from .keys import COMFY
from .memory import Peak
from .packs import load_nodes
from .results import Outcome
from .settings import Settings, read_settings
from .taps import PREFIX, Link, Prompt, Taps, linked_inputs, outputs_of, surely_run


class WorkflowRefused(AssertionError):
    """A prompt that validation refuses; the text is its faults, a line each."""


class WorkflowFailed(AssertionError):
    """A run in which a node failed; the text is a line."""


class Items(list):
    """A list whose items are handed to a node one by one."""


@dataclass(frozen=True)
class Job:
    """A prompt ready to run: its targets (None: every output node), and classes that stand for others."""

    prompt: Prompt
    workflow: dict[str, Any] | None = None
    targets: list[str] | None = None
    classes: Mapping[str, type] = field(default_factory=dict)


class Comfy:
    """The nodes of this session: this package's own, or a ComfyUI's; and the packs under test."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.base = Path(tempfile.mkdtemp(prefix="comfy-tests-"))
        self._node_set, self.pack_classes = load_nodes(settings, self.base / "output")
        self.context = replace(self._node_set.context, temp_dir=self.base / "temp")
        with using(self.context):
            self.object_info: dict[str, Any] = self._node_set.object_info
        self.display_names = {name: info.get("display_name", name) for name, info in self.object_info.items()}
        self.on_outcome: Callable[[Outcome], None] = lambda outcome: None

    def close(self) -> None:
        """Remove what runs have written."""
        shutil.rmtree(self.base, ignore_errors=True)

    @property
    def host(self) -> str:
        """`light` (this package's own nodes) or `comfyui`."""
        return self.settings.host

    @property
    def classes(self) -> Mapping[str, type]:
        """All node classes by name."""
        return self._node_set.classes

    def read(
        self,
        file: str | Path,
        set: Mapping[str, Any] | None = None,
        seed: int | None = None,
        only: Sequence[str] | None = None,
    ) -> Job:
        """A workflow file, changed as asked; raises WorkflowError."""
        with using(self.context):
            found = read_workflow(Path(file), self.object_info)
        return self.change(Job(found.nodes, found.workflow), set, seed, only)

    def change(self, job: Job, set: Mapping[str, Any] | None, seed: int | None, only: Sequence[str] | None) -> Job:
        """The job with other values and targets; raises WorkflowError."""
        try:
            settings = [f"{name}={_text(value)}" for name, value in (set or {}).items()]
            set_inputs(job.prompt, settings, self.object_info)
        except WorkflowError as error:
            raise WorkflowError(str(error).replace("--set ", "set ", 1)) from None
        if seed is not None:
            set_seed(job.prompt, seed, self.object_info)
        if only is None:
            return job
        return replace(job, targets=[find_node(job.prompt, name) for name in only])

    def run(self, job: Job, keep: Iterable[str] | None = None) -> Outcome:
        """Run it once; `keep` are the nodes whose outputs are wanted (default: all that are sure to run)."""
        return Runner(self, job, keep).run()

    def run_well(self, job: Job, keep: Iterable[str] | None = None) -> Outcome:
        """The same; raises WorkflowRefused or WorkflowFailed."""
        outcome = self.run(job, keep)
        if outcome.refused is not None:
            raise WorkflowRefused(outcome.refused)
        if outcome.failed is not None:
            raise WorkflowFailed(outcome.failed)
        return outcome


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, (list, dict)) else str(value)


class Runner:
    """One job on an executor of its own, which may run it again."""

    def __init__(self, comfy: Comfy, job: Job, keep: Iterable[str] | None = None, taps: Taps | None = None):
        self._comfy, self._job, self._taps = comfy, job, taps or Taps()
        self.classes = ChainMap(dict(job.classes), self._taps.classes, dict(comfy.classes))
        self._executor = Executor(self.classes, context=comfy.context)
        self.targets = self._find_targets()
        self._keep = surely_run(job.prompt, comfy.object_info, self.targets) if keep is None else list(keep)

    def _find_targets(self) -> list[str]:
        if self._job.targets is not None:
            return self._job.targets
        return [
            node_id
            for node_id, node in self._job.prompt.items()
            if isinstance(node, dict)
            and getattr(self.classes.get(node.get("class_type")), "OUTPUT_NODE", False) is True
        ]

    def run(self, measure_memory: bool = False) -> Outcome:
        """Check it, then run it."""
        job, comfy = self._job, self._comfy
        if self.targets or not self._keep:
            lines = fault_lines(job.prompt, self._executor.check(job.prompt, job.targets), self.classes)
            if lines:
                return self._told(Outcome(job.prompt, targets=self.targets, refused="\n".join(lines)))
        wanted = {node_id: self._wanted(node_id) for node_id in dict.fromkeys([*self._keep, *self.targets])}
        prompt = dict(job.prompt)
        added = self._taps.keep(prompt, [link for entries in wanted.values() for _, link in entries])
        extra_data = {"extra_pnginfo": {"workflow": job.workflow}} if job.workflow is not None else {}
        peak: Any = Peak() if measure_memory else contextlib.nullcontext()
        began = time.perf_counter()
        with peak:
            result = self._executor.run(prompt, [*self.targets, *added], extra_data)
        if result.error is not None or result.node_errors:
            verdict = Verdict([], result.error, result.node_errors)
            lines = [line for line in fault_lines(prompt, verdict, self.classes) if PREFIX not in line]
            return self._told(Outcome(job.prompt, targets=self.targets, refused="\n".join(lines)))
        return self._told(
            Outcome(
                job.prompt,
                result,
                dict(self._taps.kept),
                wanted,
                self.targets,
                failed=self._failed(result),
                display_names=comfy.display_names,
                seconds=time.perf_counter() - began,
                megabytes=peak.megabytes if measure_memory else None,
                files=list(self._files(result, comfy)),
            )
        )

    def _told(self, outcome: Outcome) -> Outcome:
        self._comfy.on_outcome(outcome)
        return outcome

    def _wanted(self, node_id: str) -> list[tuple[str, Link]]:
        """A node's outputs and, of a target, what goes into it."""
        prompt, info = self._job.prompt, self._comfy.object_info
        entries = outputs_of(prompt, info, node_id)
        if not entries or node_id in self.targets:
            entries = entries + linked_inputs(prompt, info, node_id)
        return entries

    def _failed(self, result: RunResult) -> str | None:
        if result.succeeded:
            return None
        if result.failure is not None:
            line, _ = failure_line(self._job.prompt, result)
            kind = f"[{type(result.exception).__name__}]"
            return line if line.endswith(kind) else f"{line} {kind}"
        return "interrupted" if result.interrupted else f"not accepted: {result.error}"

    @staticmethod
    def _files(result: RunResult, comfy: Comfy) -> Iterable[Path]:
        folders = {"output": comfy.context.output_dir, "temp": comfy.context.temp_dir}
        for shown in result.outputs.values():
            for item in (item for items in shown.values() if isinstance(items, (list, tuple)) for item in items):
                if isinstance(item, dict) and "filename" in item and item.get("type") in folders:
                    yield folders[item["type"]] / item.get("subfolder", "") / item["filename"]


def session_of(config: pytest.Config) -> Comfy:
    """The nodes of this pytest run, loaded at first use; what went wrong then goes wrong again at each use."""
    comfy = config.stash.get(COMFY, None)
    if comfy is None:
        try:
            comfy = Comfy(read_settings(config))
        except WorkflowError as error:
            comfy = error
        config.stash[COMFY] = comfy
    if isinstance(comfy, WorkflowError):
        raise comfy
    return comfy
