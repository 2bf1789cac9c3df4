"""A case's results beside its references."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..prompts.overrides import title_of
from .cases import Case
from .measures import LIMITS, beyond, compare_pictures, compare_tensors, difference_picture, is_latent, is_pictures
from .references import read_picture, read_tensor, slug, stored_form, write_picture, write_stored
from .results import Outcome

UPDATE = "pytest --comfy-update writes it"


@dataclass
class Shot:
    """One compared thing: its name, what was measured, the fault if any, and pictures by their part in it."""

    name: str
    measured: dict[str, float] = field(default_factory=dict)
    fault: str | None = None
    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    def write(self, folder: Path, prefix: str = "") -> dict[str, str]:
        """Write the pictures into a folder; their file names by their part."""
        folder.mkdir(parents=True, exist_ok=True)
        names, stem = {}, prefix + slug(self.name.replace(", ", " "))
        for part, picture in self.pictures.items():
            names[part] = f"{stem}.{part}.png"
            write_picture(folder / names[part], picture)
        return names


@dataclass(frozen=True)
class Subject:
    """Values to compare: of which node, called what, in files that begin how."""

    name: str
    stem: str
    values: Sequence[Any]
    limits: dict[str, float]


def subjects(case: Case, outcome: Outcome) -> Iterator[Subject]:
    """What reaches the output nodes, and what the nodes named in `expect` give."""
    labels = {node_id: label_of(node, outcome.display_names) for node_id, node in outcome.prompt.items()}
    for node_id in outcome.wanted:
        expected = case.about(node_id, outcome.prompt[node_id])
        if node_id not in outcome.targets and not expected:
            continue
        label = labels[node_id]
        label = label if list(labels.values()).count(label) == 1 else f"{label} {node_id}"
        columns = _compared(outcome, node_id)
        for place, (name, values) in enumerate(columns):
            limits = {key: value for one in expected if one.output in (None, name) for key, value in one.limits.items()}
            stem = ".".join([slug(case.name), slug(label), *([slug(name)] if place else [])])
            yield Subject(f"{label}, {name}", stem, values, limits)


def _compared(outcome: Outcome, node_id: str) -> list[tuple[str, Sequence[Any]]]:
    """The outputs of a node, or what goes into an output node: pictures and tensors, else texts and numbers."""
    columns = outcome.reaching(node_id) if node_id in outcome.targets else outcome.columns_of(node_id)
    kept = [column for column in columns if stored_form(column[1])]
    seen = [column for column in kept if any(is_pictures(value) or is_latent(value) for value in column[1])]
    return seen or kept


def label_of(node: Mapping[str, Any], display_names: Mapping[str, str]) -> str:
    """A node's name in references: its title if it has one of its own, else its class, which hosts agree about."""
    title, kind = title_of(node), str(node.get("class_type"))
    return kind if title == display_names.get(kind) else title


class References:
    """The references of one workflow file, in `NAME.references` beside it."""

    def __init__(self, file: Path, is_updating: bool):
        self.folder = file.with_name(f"{file.name.partition('.')[0]}.references")
        self._is_updating = is_updating

    def compare(self, case: Case, outcome: Outcome) -> Iterator[Shot]:
        """A shot of everything compared, and one for each reference that the case has too many."""
        used = set()
        for subject in subjects(case, outcome):
            for suffix, content in stored_form(subject.values) or ():
                path = self.folder / f"{subject.stem}{suffix}"
                used.add(path.name)
                index = re.search(r"\.(\d+)\.", suffix)
                name = f"{subject.name} {index[1]}" if index else subject.name
                yield self._shot(name, path, content, subject.limits)
        for path in self.files(slug(case.name)):
            if path.name not in used:
                yield from self._stale(path, f"reference {path.name} is no longer compared with anything")

    def show(self, case: Case, outcome: Outcome) -> Iterator[Shot]:
        """Shots without references, to be looked at."""
        for subject in subjects(case, outcome):
            for suffix, content in stored_form(subject.values) or ():
                if suffix.endswith(".png"):
                    index = re.search(r"\.(\d+)\.", suffix)
                    name = f"{subject.name} {index[1]}" if index else subject.name
                    yield Shot(name, pictures={"result": content})

    def files(self, case: str | None = None) -> list[Path]:
        """The references there are; those of one case."""
        if not self.folder.is_dir():
            return []
        paths = sorted(path for path in self.folder.iterdir() if path.is_file() and not path.name.startswith("."))
        return [path for path in paths if case is None or path.name.partition(".")[0] == case]

    def orphans(self, cases: Sequence[Case]) -> Iterator[Shot]:
        """A shot for each reference that belongs to no case."""
        known = {slug(case.name) for case in cases if case.reference and case.refused is None and case.fails is None}
        for path in self.files():
            if path.name.partition(".")[0] not in known:
                yield from self._stale(path, f"reference {path.name} belongs to no case that is compared")

    def _stale(self, path: Path, fault: str) -> Iterator[Shot]:
        if self._is_updating:
            path.unlink()
        else:
            yield Shot(path.name, fault=f"{fault}; pytest --comfy-update removes it")

    def _shot(self, name: str, path: Path, content: Any, limits: dict[str, float]) -> Shot:
        shot = compare_with(name, path, content, limits)
        if shot.fault and self._is_updating:
            write_stored(path, content)
            return compare_with(name, path, content, limits)
        return shot


def compare_with(name: str, path: Path, content: Any, limits: dict[str, float]) -> Shot:
    """One result beside its reference file."""
    shot = Shot(name)
    if path.suffix == ".png":
        shot.pictures["result"] = content
    if not path.is_file():
        shot.fault = f"{name}: no reference {os.path.relpath(path)}; {UPDATE}"
    elif path.suffix == ".json":
        wanted = json.loads(path.read_text(encoding="utf-8"))
        if not _equal(content, wanted):
            shot.fault = f"{name}: {_short(content)}, reference {_short(wanted)}"
    else:
        _compare_arrays(shot, path, content, limits)
    return shot


def _compare_arrays(shot: Shot, path: Path, content: np.ndarray, limits: dict[str, float]) -> None:
    is_picture = path.suffix == ".png"
    reference = read_picture(path) if is_picture else read_tensor(path)
    if is_picture:
        shot.pictures["reference"] = reference
        shot.pictures["difference"] = difference_picture(content, reference)
    if content.shape != reference.shape:
        shapes = (" x ".join(map(str, one.shape)) for one in (content, reference))
        shot.fault = f"{shot.name}: shape {next(shapes)}, reference {next(shapes)}"
        return
    shot.measured = (compare_pictures if is_picture else compare_tensors)(content, reference)
    excess = beyond(shot.measured, limits)
    if excess:
        shot.fault = f"{shot.name}: {'; '.join(map(str, excess))}"


def check_limits(limits: dict[str, float]) -> dict[str, float]:
    """The limits, if they are such; raises TypeError."""
    for name in limits:
        if name not in LIMITS:
            raise TypeError(f"unknown limit {name!r}; there are {', '.join(LIMITS)}")
    return limits


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-8)
    return one == other


def _short(values: list[Any]) -> str:
    text = repr(values[0] if len(values) == 1 else values)
    return text if len(text) <= 100 else f"{text[:97]}..."
