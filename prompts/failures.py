"""What a run died of, in a line, and whose fault it is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ..executor.executor import RunResult
from .messages import name_node

USER_ERRORS = (ValueError, OSError)
"""What a node raises for what the user can mend: a bad value, a missing or broken file."""

_NO_MEMORY = re.compile("not enough memory|can't allocate memory|out of memory|calculation overflowed")
_BYTES = re.compile(r"tried to allocate (\d+) bytes")


def failure_line(prompt: dict[str, Any], result: RunResult) -> tuple[str, int]:
    """The line about a run's failure, and the exit code: 2 where the user can mend it, else 1."""
    failure, error = result.failure or {}, result.exception
    where = name_node(prompt, failure["node_id"])
    if asked := _memory_asked(error):
        return f"{where}: {asked}; a smaller image or batch may fit", 2
    message = " ".join(str(failure["exception_message"]).split())
    if isinstance(error, OSError) and error.strerror:
        message = _about_file(error)
    if isinstance(error, USER_ERRORS):
        return f"{where}: {message or failure['exception_type']}", 2
    return f"{where}: {message or 'it failed'} [{type(error).__name__}]", 1


def _about_file(error: OSError) -> str:
    """Without Python's number; the place where a part is being written is its folder."""
    path = Path(os.fsdecode(error.filename2 or error.filename or ""))
    place = path.parent if path.suffix == ".part" else path
    return f"{place}: {error.strerror}" if place.name else str(error.strerror)


def _memory_asked(error: BaseException | None) -> str:
    """That memory ran out, where it did: Python, numpy and torch say so each in a way of its own."""
    text = str(error)
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and _NO_MEMORY.search(text)):
        return ""
    wanted = _BYTES.search(text)
    return "there is not enough memory" + (f" for {int(wanted[1]) / 2**30:,.1f} GiB at once" if wanted else "")
