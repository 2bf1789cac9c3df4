"""One case from file to verdict."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..executor.errors import WorkflowError
from ..prompts.overrides import title_of
from .cases import Case, CaseFile
from .comparison import References, Shot
from .expectations import check_again, check_finite, check_node, check_run, nodes_called
from .references import slug
from .replacements import Recordings, fake_classes
from .results import Outcome
from .session import Comfy, Job, Runner


class Skip(Exception):
    """The case can't be run here; the text says why."""


class CaseFailed(AssertionError):
    """A case that isn't as expected; the text is its faults, a line each."""


@dataclass
class Verdict:
    """How a case went: faults (none: it passed), what was compared, and what stood in for heavy parts."""

    faults: list[str] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)
    fakes: list[str] = field(default_factory=list)
    played_back: list[str] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


class Casework:
    """Runs one case of a workflow file."""

    def __init__(self, comfy: Comfy, file: Path, written: CaseFile, case: Case):
        self._comfy, self._file, self._written, self._case = comfy, file, written, case
        self._references = References(file, comfy.settings.is_updating)
        self._recordings = Recordings(self._references.folder / "recorded", comfy.settings.is_updating)
        self.verdict = Verdict()

    def run(self) -> Verdict:
        """Run and judge it; raises Skip."""
        case, verdict = self._case, self.verdict
        try:
            verdict.faults += self._judge()
        except WorkflowError as error:
            fault = str(error)
            if case.refused is None:
                verdict.faults.append(fault)
            elif case.refused not in fault:
                verdict.faults.append(f"refused, but without {case.refused!r} in the message: {fault}")
        self._keep_failures()
        return verdict

    def _judge(self) -> Iterator[str]:
        case, comfy = self._case, self._comfy
        job = self._replaced(comfy.read(self._file, case.set, case.seed, case.only))
        _skip_without_gpu(job)
        wanted = [node for one in case.expect for node in nodes_called(Outcome(job.prompt), one.node)]
        runner = Runner(comfy, job, [*wanted, *self._recordings.to_record])
        outcome = runner.run(measure_memory=case.megabytes is not None)
        self.verdict.seconds = outcome.seconds
        faults = list(check_run(case, outcome))
        yield from faults
        if faults or outcome.refused is not None or outcome.failed is not None:
            return
        if case.megabytes is not None and outcome.megabytes is None:
            self.verdict.notes.append("memory can't be measured on this system: the limit was not checked")
        self._record(outcome)
        yield from self._check_values(outcome)
        if case.cached:
            yield from check_again(case, runner.run())

    def _check_values(self, outcome: Outcome) -> Iterator[str]:
        not_finite = list(check_finite(outcome, self._case))
        yield from not_finite
        for one in self._case.expect:
            for node_id in nodes_called(outcome, one.node):
                yield from check_node(one, outcome.columns_of(node_id))
        if self._case.reference and self._written.is_written and not not_finite:
            self.verdict.shots = list(self._references.compare(self._case, outcome))
            yield from (shot.fault for shot in self.verdict.shots if shot.fault)
        elif self._comfy.settings.report is not None or not_finite:
            self.verdict.shots = list(self._references.show(self._case, outcome))

    def _replaced(self, job: Job) -> Job:
        fakes = fake_classes(self._comfy, job.prompt, self._written.fake)
        self.verdict.fakes = list(fakes)
        job = Job(job.prompt, job.workflow, job.targets, fakes)
        names = [node for name in self._case.record for node in nodes_called(Outcome(job.prompt), name)]
        if names:
            job = self._recordings.apply(self._comfy, job, names)
            self.verdict.played_back = self._recordings.played_back
        return job

    def _record(self, outcome: Outcome) -> None:
        for node_id in self._recordings.to_record:
            title = title_of(outcome.prompt[node_id])
            self._recordings.record(node_id, [items for _, items in outcome.columns_of(node_id)], title)
            self.verdict.notes.append(f"recorded: {title}")

    def _keep_failures(self) -> None:
        """Pictures of what failed, into the folder of failures; those of an earlier run go."""
        settings = self._comfy.settings
        inside = self._file.is_relative_to(settings.root)
        path = self._file.relative_to(settings.root).with_suffix("") if inside else Path(self._file.stem)
        folder = settings.failures / slug("_".join(path.parts)) / slug(self._case.name)
        shutil.rmtree(folder, ignore_errors=True)
        for parent in folder.parents[:2]:
            with contextlib.suppress(OSError):
                parent.rmdir()
        failing = [shot for shot in self.verdict.shots if shot.fault and shot.pictures]
        for shot in failing:
            shot.write(folder)
        if failing:
            self.verdict.notes.append(f"images: {folder}")


def _skip_without_gpu(job: Job) -> None:
    asked: list[Any] = [node for node in job.prompt.values() if node.get("class_type") == "TestDefinition"]
    if any(node.get("inputs", {}).get("requiresGPU") is True for node in asked):
        import torch

        if not torch.cuda.is_available():
            raise Skip("its Test Definition asks for a GPU, and torch finds none")
