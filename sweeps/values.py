"""The values of an axis, as `--over` writes them: lists, ranges, random numbers, texts, files, choices."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..executor.errors import WorkflowError
from ..prompts.messages import shown
from .pieces import Item, split

__all__ = ["MOST_VALUES", "Kind", "Source", "distinct", "draws", "parse_steps", "parse_value"]

MOST_VALUES = 10_000_000
"""Values in one axis."""
TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\s*\.\.\.?\s*({NUMBER})(?:\s+by\s+({NUMBER}))?")
RANDOM = re.compile(r"random\s*\*\s*(\d+)")


@dataclass(frozen=True)
class Kind:
    """What an input takes: "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", or "*" where nothing is known."""

    name: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = None

    @classmethod
    def of(cls, declared: Sequence[Any] | None) -> Kind:
        """The kind of an input as /object_info declares it."""
        if not declared:
            return cls("*")
        kind = declared[0]
        options: Mapping[str, Any] = declared[1] if len(declared) > 1 and isinstance(declared[1], Mapping) else {}
        if isinstance(kind, (list, tuple)):
            return cls("COMBO", tuple(kind))
        if kind == "COMBO":
            return cls("COMBO", tuple(options.get("options") or ()))
        if kind in ("INT", "FLOAT"):
            return cls(kind, (), options.get("min"), options.get("max"), options.get("step"))
        return cls(kind if kind in ("STRING", "BOOLEAN") else "*")


@dataclass(frozen=True)
class Source:
    """Where values that aren't written out come from: the input folder, and a source of random numbers."""

    input_dir: Path
    random: random.Random


def parse_steps(text: str, kinds: Sequence[Kind], source: Source) -> list[tuple[Any, ...]]:
    """The steps of an axis over inputs of these kinds: a tuple with a value for each. Raises WorkflowError."""
    items = split(text)
    if len(kinds) == 1:
        steps = [(value,) for value in _expand(items, kinds[0], source)]
    else:
        steps = [_together(item, kinds) for item in items]
    return distinct(steps)


def draws(text: str, kinds: Sequence[Kind]) -> bool:
    """Whether an axis has random numbers in it."""
    is_number = len(kinds) == 1 and kinds[0].name in ("INT", "FLOAT")
    return is_number and any(not item.quoted and RANDOM.fullmatch(item.text) for item in split(text))


def distinct(steps: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The steps of an axis, if there are any and none comes twice; raises WorkflowError."""
    if not steps:
        raise WorkflowError("has no values")
    seen: set[Any] = set()
    for step in steps:
        known = step if all(value.__hash__ for value in step) else json.dumps(step, sort_keys=True)
        if known in seen:
            raise WorkflowError(f"{shown(step[0])} comes twice" if len(step) == 1 else f"{shown(step)} comes twice")
        seen.add(known)
    return steps


def parse_value(text: str, kind: Kind) -> Any:
    """One value written out; what the input doesn't allow is left to validation. Raises WorkflowError."""
    if kind.name == "COMBO":
        return next((choice for choice in kind.choices if str(choice) == text), text)
    if kind.name == "STRING":
        return text
    if kind.name == "BOOLEAN":
        if text.lower() not in TRUTHS:
            raise WorkflowError(f"{text!r} is neither true nor false")
        return TRUTHS[text.lower()]
    if kind.name in ("INT", "FLOAT"):
        if not re.fullmatch(NUMBER, text):
            raise WorkflowError(f"{text!r} is not {'an INT' if kind.name == 'INT' else 'a FLOAT'}")
        return _number(Decimal(text), kind)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _together(item: Item, kinds: Sequence[Kind]) -> tuple[Any, ...]:
    expected = f"expected {len(kinds)} values in brackets, such as ({', '.join('abcdefgh'[: len(kinds)])})"
    if item.quoted or not (item.text.startswith("(") and item.text.endswith(")")):
        raise WorkflowError(f"{item.text!r}: {expected}")
    parts = split(item.text[1:-1])
    if len(parts) != len(kinds):
        raise WorkflowError(f"{item.text!r} has {len(parts)}: {expected}")
    return tuple(parse_value(part.text, kind) for part, kind in zip(parts, kinds, strict=True))


# --- what a piece stands for


def _expand(items: list[Item], kind: Kind, source: Source) -> list[Any]:
    values: list[Any] = []
    for position, item in enumerate(items):
        if not item.quoted and item.text in ("..", "...") and kind.name in ("INT", "FLOAT"):
            values.extend(_continued(items, position, kind))
        elif item.quoted:
            values.append(parse_value(item.text, kind))
        else:
            values.extend(_values(item.text, kind, source))
        if len(values) > MOST_VALUES:
            raise WorkflowError(f"more than {MOST_VALUES} values, at most that many are taken")
    return values


def _values(text: str, kind: Kind, source: Source) -> Iterator[Any] | list[Any]:
    if kind.name in ("INT", "FLOAT"):
        if match := RANGE.fullmatch(text):
            first, last = Decimal(match[1]), Decimal(match[2])
            return _range(first, last, Decimal(match[3]) if match[3] else None, kind)
        if match := RANDOM.fullmatch(text):
            return _random(int(match[1]), kind, source.random)
    if text == "*" and kind.name == "BOOLEAN":
        return [False, True]
    if text == "*" and kind.name == "COMBO":
        if not kind.choices:
            raise WorkflowError("'*': there is nothing to choose from")
        return list(kind.choices)
    if text.startswith("@"):
        return _files(text[1:].strip(), kind, source)
    return [parse_value(text, kind)]


def _number(value: Decimal, kind: Kind) -> int | float:
    if kind.name == "FLOAT":
        return float(value)
    if value != value.to_integral_value():
        raise WorkflowError(f"'{value}' is not an INT")
    return int(value)


def _range(first: Decimal, last: Decimal, by: Decimal | None, kind: Kind) -> Iterator[Any]:
    """From `first` to `last`, which is hit or not passed; decimal, so that 0.1 is 0.1 at each step."""
    by = Decimal(1) if by is None else by
    if by == 0:
        raise WorkflowError(f"{first}..{last} by 0 never ends")
    by = abs(by) if last >= first else -abs(by)
    count = int((last - first) / by) + 1
    if count > MOST_VALUES:
        raise WorkflowError(f"{first}..{last} by {abs(by)} is {count} values, at most {MOST_VALUES} are taken")
    if all(part == part.to_integral_value() for part in (first, by)):
        start, stride = int(first), int(by)
        convert = float if kind.name == "FLOAT" else int
        return (convert(start + i * stride) for i in range(count))
    return (_number(first + i * by, kind) for i in range(count))


def _continued(items: list[Item], position: int, kind: Kind) -> list[Any]:
    """What stands for the dots in `1, 2, .., 10`, without the 10, which comes by itself."""
    around = [items[at].text for at in (position - 2, position - 1, position + 1) if 0 <= at < len(items)]
    if position < 2 or len(around) < 3 or not all(re.fullmatch(NUMBER, text) for text in around):
        raise WorkflowError("'..' between commas: expected two numbers before and one after it, as in 1, 2, .., 10")
    one, two, last = map(Decimal, around)
    by = two - one
    if by == 0 or (last - two) / by <= 0 or (last - two) % by != 0:
        raise WorkflowError(f"{one}, {two}, .., {last}: steps of {by} from {two} never reach {last}")
    return list(_range(two, last, by, kind))[1:-1]


def _random(count: int, kind: Kind, draw: random.Random) -> list[Any]:
    if kind.name == "INT":
        low = 0 if kind.low is None else max(0, int(kind.low))
        high = 2**32 - 1 if kind.high is None else min(2**32 - 1, int(kind.high))
        if high < low:
            low, high = int(kind.low or 0), int(kind.high or 0)
        if high - low + 1 < count:
            raise WorkflowError(f"random*{count}: there are only {high - low + 1} numbers from {low} to {high}")
        return draw.sample(range(low, high + 1), count)
    if kind.low is None or kind.high is None:
        raise WorkflowError(f"random*{count}: the input has no minimum and maximum to draw between")
    if count > MOST_VALUES:
        raise WorkflowError(f"random*{count}: at most {MOST_VALUES} are taken")
    return [round(draw.uniform(kind.low, kind.high), 6) for _ in range(count)]


def _files(pattern: str, kind: Kind, source: Source) -> list[Any]:
    if not pattern:
        raise WorkflowError("'@': expected a pattern such as @*.png, or a text file such as @prompts.txt")
    if pattern.lower().endswith(".txt") and not set(pattern) & set("*?["):
        return [parse_value(line, kind) for line in _lines(Path(pattern))]
    found = [choice for choice in kind.choices if fnmatchcase(str(choice), pattern)]
    if not found:
        try:
            paths = [path for path in source.input_dir.glob(pattern) if path.is_file()]
        except (NotImplementedError, ValueError, OSError):
            paths = []
        found = [path.relative_to(source.input_dir).as_posix() for path in paths]
    if not found:
        what = "no choice of the input and no file" if kind.choices else "no file"
        raise WorkflowError(f"@{pattern}: {what} in the input folder ({source.input_dir}) matches")
    return sorted(found, key=_natural)


def _natural(name: Any) -> list[tuple[int, int, str]]:
    """Sorts a10 behind a9."""
    parts = re.split(r"(\d+)", str(name))
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.casefold()) for part in parts]


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise WorkflowError(f"@{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    found = [line for line in lines if line]
    if not found:
        raise WorkflowError(f"@{path}: has no lines")
    return found
