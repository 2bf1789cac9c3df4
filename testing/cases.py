"""`NAME.test.toml`: the cases of a workflow file, read and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..executor.errors import WorkflowError
from ..prompts.overrides import title_of
from .references import slug

REFERENCES = "references"
"""The check of references that belong to no case is called so, and no case may be."""

HOSTS = {"light": "light", "standalone": "light", "comfyui": "comfyui"}


@dataclass(frozen=True)
class Color:
    """The mean of 3 x 3 pixels around `at` (x, y) of picture `index` is `rgb` (0 to 255), `within` so many."""

    at: tuple[int, int]
    rgb: tuple[int, int, int]
    within: float = 40
    index: int = 0


@dataclass(frozen=True)
class Expectation:
    """What a node must give; None for what isn't asked."""

    node: str
    output: str | None = None
    count: int | None = None
    size: list[int] | None = None
    shape: list[int] | None = None
    range: list[float] | None = None
    color: tuple[Color, ...] = ()
    equals: Any = None
    within: float = 0
    text: str | None = None
    blank: bool = False
    psnr: float | None = None
    largest: float | None = None
    share: float | None = None
    tolerance: float | None = None

    @property
    def limits(self) -> dict[str, float]:
        """The limits of the comparison with a reference that aren't the usual ones."""
        asked = {name: getattr(self, name) for name in ("psnr", "largest", "share", "tolerance")}
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True)
class Case:
    """One way to run a workflow file, and what is expected of it."""

    name: str
    set: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    only: list[str] | None = None
    host: str | None = None
    marks: list[str] = field(default_factory=list)
    reference: bool = True
    seconds: float | None = None
    megabytes: float | None = None
    refused: str | None = None
    fails: str | None = None
    ran: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    record: list[str] = field(default_factory=list)
    expect: tuple[Expectation, ...] = ()

    def about(self, node_id: str, node: Mapping[str, Any]) -> list[Expectation]:
        """What is expected of a node, by its id, title or class."""
        names = (node_id, title_of(node), node.get("class_type"))
        return [one for one in self.expect if one.node in names]


@dataclass(frozen=True)
class CaseFile:
    """The cases of a workflow file; `fake` are loader classes that give the shipped model."""

    cases: tuple[Case, ...]
    fake: Mapping[str, str] = field(default_factory=dict)
    is_written: bool = True


UNWRITTEN = CaseFile((Case("runs", reference=False),), is_written=False)
"""What stands for a file that isn't there."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list_of(check: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value)) and (length is None or len(value) == length)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


Checks = dict[str, tuple[Callable[[Any], bool], str]]

_TEXT, _TEXTS = (_is_text, "a text"), (_list_of(_is_text), "a list of texts")
_NUMBER, _TRUTH = (_is_number, "a number"), (lambda value: isinstance(value, bool), "true or false")
_SHARED: Checks = {
    "host": (lambda value: value in HOSTS, '"light" or "comfyui"'),
    "marks": _TEXTS,
    "reference": _TRUTH,
    "seconds": _NUMBER,
    "megabytes": _NUMBER,
    "record": _TEXTS,
}
_CASE: Checks = {
    **_SHARED,
    "name": _TEXT,
    "set": (lambda value: isinstance(value, dict), 'a table such as { "KSampler.steps" = 4 }'),
    "seed": (_is_whole, "a whole number"),
    "only": _TEXTS,
    "refused": _TEXT,
    "fails": _TEXT,
    "ran": _TEXTS,
    "cached": _TEXTS,
    "expect": (lambda value: isinstance(value, dict), 'tables such as [case.expect."Save Image"]'),
}
_EXPECT: Checks = {
    "output": _TEXT,
    "count": (_is_whole, "a whole number"),
    "size": (_list_of(_is_whole, 2), "[width, height]"),
    "shape": (_list_of(_is_whole), "a list of whole numbers, -1 for any"),
    "range": (_list_of(_is_number, 2), "[lowest, highest]"),
    "color": (lambda value: isinstance(value, (dict, list)), 'a table such as { at = [8, 8], is = "#ff0000" }'),
    "equals": (lambda value: isinstance(value, (str, int, float, bool)), "a number, text or truth value"),
    "within": _NUMBER,
    "text": _TEXT,
    "blank": _TRUTH,
    **dict.fromkeys(("psnr", "largest", "share", "tolerance"), _NUMBER),
}
_COLOR: Checks = {
    "at": (_list_of(_is_whole, 2), "[x, y]"),
    "is": (lambda value: _rgb(value) is not None, '"#rrggbb"'),
    "within": _NUMBER,
    "index": (_is_whole, "a whole number"),
}
_TOP: Checks = {
    **_SHARED,
    "fake": (lambda value: isinstance(value, dict), 'a table such as CheckpointLoaderSimple = "shipped"'),
    "case": (lambda value: isinstance(value, list), "[[case]] tables"),
}


def _checked(table: Any, checks: Checks, where: str, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise WorkflowError(f"{where}: {table!r}, expected a table")
    for name, value in table.items():
        if name not in checks:
            raise WorkflowError(f"{where}: unknown key {name!r}; there are {', '.join(checks)}")
        fits, wanted = checks[name]
        if not fits(value):
            raise WorkflowError(f"{where}: {name} = {value!r}, expected {wanted}")
    for name in needed:
        if name not in table:
            raise WorkflowError(f"{where}: {name} is missing")
    return table


def _rgb(text: Any) -> tuple[int, int, int] | None:
    digits = text.removeprefix("#") if isinstance(text, str) else ""
    try:
        return None if len(digits) != 6 else tuple(bytes.fromhex(digits))  # type: ignore[return-value]
    except ValueError:
        return None


def read_cases(path: Path) -> CaseFile:
    """The cases in a .test.toml; raises WorkflowError, a line that names file and fault."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return _case_file(document)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WorkflowError(f"{path.name}: can't be read: {error}") from None
    except WorkflowError as error:
        raise WorkflowError(f"{path.name}: {error}") from None


def _case_file(document: dict[str, Any]) -> CaseFile:
    _checked(document, _TOP, "at the top")
    shared = {name: value for name, value in document.items() if name in _SHARED}
    tables = document.get("case", [{"name": "runs"}])
    cases = tuple(_case(table, shared, number) for number, table in enumerate(tables, 1))
    if not cases:
        raise WorkflowError("no [[case]] in it")
    taken = {REFERENCES: REFERENCES}
    for case in cases:
        other = taken.get(slug(case.name))
        if other is not None:
            raise WorkflowError(f"two cases are called {case.name!r}" + f" and {other!r}" * (other != case.name))
        taken[slug(case.name)] = case.name
    for kind, fake in document.get("fake", {}).items():
        if fake != "shipped":
            raise WorkflowError(f'[fake] {kind} = {fake!r}, expected "shipped"')
    return CaseFile(cases, document.get("fake", {}))


def _case(table: Any, shared: Mapping[str, Any], number: int) -> Case:
    name = table.get("name") if isinstance(table, dict) else None
    where = f"case {name!r}" if name else f"case {number}"
    _checked(table, _CASE, where, ("name",))
    given = {**shared, **table}
    given["expect"] = tuple(
        _expectation(node, one, f"{where}, expect {node!r}")
        for node, entries in table.get("expect", {}).items()
        for one in (entries if isinstance(entries, list) else [entries])
    )
    if "host" in given:
        given["host"] = HOSTS[given["host"]]
    if "refused" in given and "fails" in given:
        raise WorkflowError(f"{where}: has both refused and fails, expected one of them")
    return Case(**{one.name: given[one.name] for one in fields(Case) if one.name in given})


def _expectation(node: str, table: Any, where: str) -> Expectation:
    given = dict(_checked(table, _EXPECT, where))
    colors = given.get("color", [])
    given["color"] = tuple(_color(one, where) for one in (colors if isinstance(colors, list) else [colors]))
    return Expectation(node, **given)


def _color(table: Any, where: str) -> Color:
    given = dict(_checked(table, _COLOR, f"{where}, color", ("at", "is")))
    rgb = _rgb(given.pop("is"))
    assert rgb is not None
    return Color(rgb=rgb, **{**given, "at": tuple(given["at"])})
