"""Workflow files as pytest's collectors, their cases as its items."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..cli.sources import open_sources
from ..executor.errors import WorkflowError
from .cases import REFERENCES, UNWRITTEN, Case, CaseFile, read_cases
from .settings import read_settings

_MODEL = re.compile(r'"([^"\\]+\.(?:safetensors|ckpt|pt|pth|gguf|sft))"')


class FaultyCases(pytest.Collector.CollectError):
    """A .test.toml, or a workflow, that can't be read."""


def reads_as_workflow(path: Path) -> bool:
    """Whether there is a workflow in a file."""
    try:
        open_sources([str(path)])
    except WorkflowError:
        return False
    return True


class WorkflowFile(pytest.File):
    """A workflow file, and the .test.toml beside it if there is one."""

    def collect(self) -> Iterator[pytest.Item]:
        """An item per case, and one for references that belong to none."""
        toml = self.path.with_name(f"{self.path.name.partition('.')[0]}.test.toml")
        try:
            open_sources([str(self.path)])
            written = read_cases(toml) if toml.is_file() else UNWRITTEN
        except WorkflowError as error:
            raise FaultyCases(str(error)) from None
        group = self._models()
        for case in written.cases:
            item = WorkflowItem.from_parent(self, name=case.name)
            item.written, item.case = written, case
            for mark in case.marks:
                item.add_marker(mark)
            if group:
                item.add_marker(pytest.mark.xdist_group(group))
            yield item
        if self.path.with_name(f"{self.path.name.partition('.')[0]}.references").is_dir():
            item = ReferencesItem.from_parent(self, name=REFERENCES)
            item.written = written
            yield item

    def _models(self) -> str | None:
        """The names of model files in it, where they say which worker gets it."""
        if not self.config.pluginmanager.hasplugin("xdist") or self.path.suffix != ".json":
            return None
        return ",".join(sorted(set(_MODEL.findall(self.path.read_text(errors="replace"))))) or None


class WorkflowItem(pytest.Item):
    """A case."""

    written: CaseFile
    case: Case
    result: dict[str, Any] | None = None

    def runtest(self) -> None:
        """Run the case; raises CaseFailed."""
        from .casework import CaseFailed, Casework, Skip
        from .report import told
        from .session import session_of

        here = read_settings(self.config).host
        if self.case.host not in (None, here):
            pytest.skip(f"is for the host {self.case.host}, and this session runs on {here}")
        comfy = session_of(self.config)
        work = Casework(comfy, self.path, self.written, self.case)
        try:
            verdict = work.run()
        except Skip as skip:
            pytest.skip(str(skip))
        self.result = told(verdict, self.nodeid, comfy.settings.report)
        for note in verdict.notes:
            self.add_report_section("call", "comfy", note)
        if verdict.faults:
            raise CaseFailed("\n".join(verdict.faults))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """The faults, a line each; of anything else, pytest's own words."""
        if isinstance(excinfo.value, (AssertionError, WorkflowError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """What the failure's heading says."""
        return self.path, None, f"{self.path.name}: {self.name}"


class ReferencesItem(pytest.Item):
    """That every reference belongs to a case."""

    written: CaseFile

    def runtest(self) -> None:
        """Look for references that belong to none; raises AssertionError."""
        from .comparison import References

        orphans = References(self.path, self.config.option.comfy_update).orphans(self.written.cases)
        faults = [shot.fault for shot in orphans]
        if faults:
            raise AssertionError("\n".join(map(str, faults)))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """The faults, a line each."""
        return str(excinfo.value) if isinstance(excinfo.value, AssertionError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """What the failure's heading says."""
        return self.path, None, f"{self.path.name}: references"


def files_outside(args: Iterable[str], files: Iterable[Path], invocation: Path) -> list[str]:
    """Those of the files that don't lie in (and aren't) one of the named folders."""
    named = [(invocation / arg.partition("::")[0]).resolve() for arg in args]
    return [str(file) for file in files if not any(file.resolve().is_relative_to(place) for place in named)]
