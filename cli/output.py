"""Standard output and standard error: every line stays a line, whatever names it holds and whatever the encoding.

Neither stream ever costs the work: what can't be written (a full disk, a reader that has gone) is noted, and told at
the end where it can be.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from ..prompts.escape import escape, one_line

__all__ = ["GuardedStream", "Results", "error_line", "guarded_streams", "to_json"]

_UNPRINTABLE_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def error_line(text: object) -> None:
    """A message of the command's own, on standard error."""
    print(f"comfyui-ddim: {one_line(text)}", file=sys.stderr)


def to_json(data: Any, encoding: str | None = "utf-8") -> str:
    """Indented JSON that `encoding` can hold, and that keeps a terminal and a reader's line count as they are."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    text = _UNPRINTABLE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    try:
        text.encode(encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(data, indent=2)
    return text + "\n"


def _encodable(text: str, stream: Any) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


class Results:
    """Standard output, for results only. Nothing here raises; `fault` is why something could not be written."""

    def __init__(self, stream: TextIO | None):
        self._stream = stream
        self.fault: OSError | None = None

    @property
    def encoding(self) -> str:
        """What the stream can hold."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def line(self, text: object) -> None:
        """One line, escaped."""
        self.write(escape(str(text)) + "\n")

    def write(self, text: str) -> None:
        """A text as it is, at once, with escapes only for what the encoding can't hold."""
        if self._stream is None or self.fault is not None:
            return
        try:
            self._stream.write(_encodable(text, self._stream))
            self._stream.flush()
        except OSError as error:
            self.fault = error
            self._drop()
        except ValueError:  # closed meanwhile, by a node perhaps
            self._stream = None

    def _drop(self) -> None:
        """Keep Python from trying once more, as it ends, to write what is left."""
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # type: ignore[union-attr]


class GuardedStream:
    """A text stream that takes any character and never fails; otherwise the stream it stands for."""

    def __init__(self, stream: TextIO | None):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(_encodable(text, self._stream))
        return len(text)

    def flush(self) -> None:
        """Write what is left."""
        with contextlib.suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False


@contextlib.contextmanager
def guarded_streams() -> Iterator[Results]:
    """Standard output is what this gives; what anybody else prints goes to standard error, guarded."""
    results, errors = Results(sys.stdout), GuardedStream(sys.stderr)
    with contextlib.redirect_stdout(errors), contextlib.redirect_stderr(errors):  # type: ignore[type-var]
        yield results
