"""Texts of files and people made fit to print: a line stays a line, and nothing in it steers a terminal."""

from __future__ import annotations

import re

__all__ = ["escape", "one_line"]

# Control characters (a terminal obeys them), line separators, marks that turn the way text runs, lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape(text: str) -> str:
    """The text with a visible escape (`\\n`, `\\x1b`, `\\u2028`) for what would break a line or steer a terminal."""
    return _UNPRINTABLE.sub(lambda match: _SHORT.get(match[0]) or _code(match[0]), text)


def one_line(text: object) -> str:
    """A message in one line: line ends become spaces, the rest is escaped."""
    return escape(" ".join(str(text).split()))


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
