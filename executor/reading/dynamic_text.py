"""What the browser does to texts as it queues them: choices in prompts, and names and dates in file names."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from ..errors import WorkflowError

PREFIXED = frozenset(
    "SaveImage SaveLatent SaveAudio SaveAnimatedPNG SaveAnimatedWEBP SaveWEBM SaveGLB CLIPSave VAESave ModelSave "
    "LoraSave".split()
)
"""The classes in whose `filename_prefix` the browser fills in names and dates."""

MAX_PREFIX = 4096
"""Characters of a file name that are filled in, and of one value put there; no file system takes more."""

_COMMENT = re.compile(r"/\*|//[^\n\r\u2028\u2029]*")
_ESCAPED = re.compile(r"\\([{}|])")
_TOKEN = re.compile(r"%([^%]+)%")
_DATE = re.compile("dd?|MM?|hh?|mm?|ss?|yyy?y?")
_UNFIT = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def choose(text: str, rng: random.Random) -> str:
    """A prompt with its comments gone and one alternative of each {a|b} taken; a brace after a backslash is a brace."""
    text = _without_comments(text)
    # Per brace that is open: its alternatives so far, each a list of pieces. The first is the text outside them all.
    open_braces: list[list[list[str]]] = [[[]]]

    def close() -> None:
        alternatives = open_braces.pop()
        open_braces[-1][-1].append("".join(rng.choice(alternatives)))

    at = 0
    while at < len(text):
        piece = text[at : at + 2] if text[at] == "\\" else text[at]
        at += len(piece)
        inside = len(open_braces) > 1
        if piece == "{":
            open_braces.append([[]])
        elif piece == "|" and inside:
            open_braces[-1].append([])
        elif piece == "}" and inside:
            close()
        else:
            open_braces[-1][-1].append(piece)
    while len(open_braces) > 1:
        close()
    return _ESCAPED.sub(r"\1", "".join(open_braces[0][0]))


def _without_comments(text: str) -> str:
    """Without /* ... */ that end, and without // to the end of the line."""
    kept, at, last_end = [], 0, text.rfind("*/")
    match = _COMMENT.search(text)
    while match is not None:
        start, end = match.span()
        closed = start + 2 <= last_end
        if match[0] == "/*":
            end = text.index("*/", start + 2) + 2 if closed else start + 1
        if match[0] != "/*" or closed:
            kept.append(text[at:start])
            at = end
        match = _COMMENT.search(text, end)
    return "".join((*kept, text[at:]))


def fill_in(text: str, widget: Callable[[str, str], Any], now: datetime) -> str:
    """A file name with %date:yyyy-MM-dd% and %Node.widget% filled in, and what it can't fill in left as it is.

    `widget` gives the value of a node's widget by their names; KeyError where there is none. Raises WorkflowError for
    a name or value too long for a file's name.
    """
    if len(text) > MAX_PREFIX:
        raise WorkflowError(f"a file name of {len(text)} characters; expected at most {MAX_PREFIX}")

    def replace(match: re.Match[str]) -> str:
        token = match[1]
        node, dot, name = token.partition(".")
        if not dot or "." in name:
            return format_date(token[5:], now) if token.startswith("date:") else match[0]
        try:
            value = widget(node, name)
        except KeyError:
            return match[0]
        if len(filled := as_text(value)) > MAX_PREFIX:
            raise WorkflowError(f"{match[0]} in a file name becomes {len(filled)} characters; at most {MAX_PREFIX}")
        return _UNFIT.sub("_", filled)

    return _TOKEN.sub(replace, text)


def format_date(pattern: str, now: datetime) -> str:
    """Day, month, year, hour, minute and second for d, M, y, h, m and s, once or twice for their least length."""
    parts = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def replace(match: re.Match[str]) -> str:
        key = match[0]
        if key[0] in parts:
            return str(parts[key[0]]).zfill(len(key))
        return {"yy": f"{now.year % 100:02}", "yyyy": str(now.year)}.get(key, key)

    return _DATE.sub(replace, pattern)


def as_text(value: Any) -> str:
    """A value as the browser shows it: nothing as no text, true and false in small letters, 1.0 as 1."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value)
