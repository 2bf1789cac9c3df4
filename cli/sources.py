"""The workflow files named on the command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..executor.errors import WorkflowError
from ..executor.reading import Prompt, read_workflow
from ..executor.reading.files import read_documents


@dataclass(frozen=True)
class Source:
    """A file to read; `name` is what messages call it."""

    name: str
    content: Path | bytes

    def read(self, object_info: dict[str, Any]) -> Prompt:
        """The prompt in it; raises WorkflowError."""
        try:
            return read_workflow(self.content, object_info)
        except WorkflowError as error:
            raise self._named(error) from None

    def glance(self) -> None:
        """See that there is a workflow in it, before node classes are loaded; raises WorkflowError."""
        try:
            read_documents(self.content)
        except WorkflowError as error:
            raise self._named(error) from None

    def _named(self, error: WorkflowError) -> WorkflowError:
        text = str(error)
        known = "workflow" if isinstance(self.content, bytes) else str(self.content)
        return WorkflowError(f"{self.name}: {text.removeprefix(f'{known}: ')}")


def name_sources(names: list[str]) -> list[Source]:
    """The files of these names ("-": standard input)."""
    return [
        Source("standard input", sys.stdin.buffer.read() if sys.stdin is not None else b"")
        if name == "-"
        else Source(name, Path(name))
        for name in names
    ]


def open_sources(names: list[str]) -> list[Source]:
    """The same, each glanced at."""
    sources = name_sources(names)
    for source in sources:
        source.glance()
    return sources
