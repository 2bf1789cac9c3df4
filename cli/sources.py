"""The workflow files named on the command line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..executor.errors import WorkflowError
from ..executor.reading import Changes, Documents, Prompt, prompt_of, read_documents
from ..prompts.escape import escape
from .examples import PREFIX, example_path

MAX_STREAM = 256 * 2**20
"""Bytes read of standard input or a pipe; a picture with a workflow in it is smaller."""


@dataclass(frozen=True)
class Source:
    """A file that has been read; `name` is what messages call it."""

    name: str
    documents: Documents

    def prompt(self, object_info: Mapping[str, Any], changes: Changes | None = None) -> Prompt:
        """The prompt in it, with these changes; raises WorkflowError."""
        with named(self.name):
            return prompt_of(self.documents, object_info, changes)


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """A WorkflowError that leaves the block says that it is about this source."""
    try:
        yield
    except WorkflowError as error:
        error.source = error.source or name
        raise


def open_sources(names: list[str]) -> list[Source]:
    """Read the files of these names; raises WorkflowError for the first that holds no workflow."""
    return [open_source(name) for name in names]


def open_source(name: str) -> Source:
    """Read one file: a path, "-" for standard input, or "example:NAME"; raises WorkflowError."""
    shown = "standard input" if name == "-" else escape(name)
    with named(shown):
        return Source(shown, read_documents(_content(name)))


def _content(name: str) -> Path | bytes:
    if name == "-":
        return b"" if sys.stdin is None else _limited(sys.stdin.buffer)
    path = Path(name)
    try:
        exists, is_pipe = path.exists(), path.exists() and not path.is_file() and not path.is_dir()
    except (OSError, ValueError):  # a name too long: told where the file is opened
        return path
    if name.startswith(PREFIX) and not exists:
        return example_path(name.removeprefix(PREFIX))
    if is_pipe:  # which can be read once only
        with path.open("rb") as file:
            return _limited(file)
    return path


def _limited(file: BinaryIO) -> bytes:
    try:
        data = file.read(MAX_STREAM + 1)
    except OSError as error:
        raise WorkflowError(f"can't be read: {error.strerror}") from None
    if len(data) > MAX_STREAM:
        raise WorkflowError(f"more than {MAX_STREAM} bytes; at most that many are read")
    return data
