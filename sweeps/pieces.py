"""Taking apart what `--over` writes: pieces between commas, with quotes and brackets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..executor.errors import WorkflowError

__all__ = ["Item", "split", "split_items"]

PAIRS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Item:
    """A piece between two commas; what was in quotes is taken as it is."""

    text: str
    quoted: bool


def split(text: str) -> list[Item]:
    """The pieces between commas that are neither in quotes nor in brackets."""
    items, at = [], 0
    while True:
        item, at = _item(text, at)
        items.append(item)
        if at >= len(text):
            return items
        at += 1  # the comma


def split_items(text: str) -> list[str]:
    """The texts between commas that are neither in quotes nor in brackets; raises WorkflowError."""
    return [item.text for item in split(text)]


def _item(text: str, start: int) -> tuple[Item, int]:
    while start < len(text) and text[start].isspace():
        start += 1
    if start < len(text) and text[start] in "\"'":
        quoted = _quoted(text, start)
        if quoted is not None:
            return quoted
    end = _end(text, start)
    item = text[start:end].strip()
    if not item:
        raise WorkflowError('a value is missing; an empty text is written ""')
    return Item(item, False), end


def _quoted(text: str, start: int) -> tuple[Item, int] | None:
    """A text in quotes and where it ends; None if more than a comma follows, which makes the quotes part of it."""
    match = re.compile(r"(['\"])((?:\\.|(?!\1)[^\\])*)\1\s*(?=,|$)", re.DOTALL).match(text, start)
    if match is None:
        return None
    plain = re.sub(r"\\(.)", lambda each: {"n": "\n", "t": "\t"}.get(each[1], each[1]), match[2], flags=re.DOTALL)
    return Item(plain, True), match.end()


def _end(text: str, start: int) -> int:
    """Where a piece that begins at `start` ends: at a comma outside all brackets, or at the text's end."""
    open_: list[str] = []
    for at in range(start, len(text)):
        character = text[at]
        if character == "," and not open_:
            return at
        if character in PAIRS:
            open_.append(PAIRS[character])
        elif open_ and character == open_[-1]:
            open_.pop()
    if open_:
        shown = text[start:].strip()
        raise WorkflowError(f"a {open_[-1]!r} is missing in {shown!r}; put a text with single brackets in quotes")
    return len(text)
