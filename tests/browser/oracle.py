"""Our conversion beside the page's, for every class and any files of the ComfyUI that one has, as a table.

    python tests/browser/oracle.py http://127.0.0.1:8188 [FILE OR FOLDER ...] [--ways defaults random ...] [--keep DIR]

A ComfyUI runs at the address; node, with playwright-core on its NODE_PATH, and CHROMIUM (default: `chromium` on the
PATH) are needed besides. Every class of /object_info is made in the page, set, saved, opened again and exported, in
each way of oracle.js (`defaults`, `random`, `joined`, `converted`, `promoted`, `bypassed`, `muted`); every file is
opened and exported. What the page does that nobody means (PAGES_OWN) is counted apart. With --keep, what was recorded
is kept in that folder and taken from there the next time.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shutil
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comfyui_ddim.executor.errors import WorkflowError
from comfyui_ddim.executor.reading import convert_workflow
from comfyui_ddim.executor.reading.definition import parse_declaration
from comfyui_ddim.executor.reading.widget_types import WIDGET_TYPES

from prompts import differences, essence

HERE = Path(__file__).parent
WAYS = ("defaults", "random", "joined", "converted", "promoted", "bypassed", "muted")
AT_ONCE = 20

PAGES_OWN = {
    r"LoadImageOutput\.image: .*Loading\.\.\.": "the page sends 'Loading...' until its list of files has come",
    r"WebcamCapture\.image: ": "a picture that the page takes as it exports",
    r"ShuffleImageTextDataset\.seed: .* for '(randomize|fixed|increment|decrement)'": "values laid one place too far",
    r"SaveAudioAdvanced\.format\.quality: ": "a part of a dynamic combo is lost as the page opens the file again",
    r"(ByteDanceSeedreamNodeV3\.model\.max_images|GrokVideoReferenceNode\.model\.duration|NormalizeImages\.std|"
    r"Rodin3D_Gen25_Text\.mode\.mesh_faces): ": "a primitive's value is rounded to a step of the widget it feeds",
    r"(SaveVideo\.codec|ReadingDynamicCombo\.(after|mode\.kind\.\w+)): .* at \d+:\d+": (
        "a host's value for a part two levels deep is lost as the page opens the file"
    ),
    r"GeminiNanoBanana2V2\.model\.aspect_ratio: .* for 'gemini": "another node's value is sent",
    r".*: .* for None at \d+:\d+$": "a null that an earlier editor saved on a host is sent, which the server refuses",
}
"""Differences of which the page itself is the cause, by what their lines begin with, and the cause."""


class Page:
    """The front end at an address, in a browser that answers line by line."""

    def __init__(self, url: str):
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        command = ["node", str(HERE / "oracle.mjs"), url, str(chromium)]
        self._node = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        about = self._answer()
        self.version, self.widgets = about["version"], set(about["widgets"])

    def ask(self, **question: Any) -> dict[str, Any]:
        """What the page says to one line."""
        self._node.stdin.write(json.dumps(question).encode() + b"\n")
        self._node.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._node.stdout.readline()
        if not line:
            raise SystemExit("the page didn't open")
        return json.loads(line)

    def close(self) -> None:
        """Close the browser."""
        self._node.stdin.close()
        self._node.wait(60)


def records_of_classes(page: Page, names: list[str], way: str, seed: int) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """(classes, what the page made of nodes of them); classes that it can't export alone have an `error`."""
    pending = [names[i : i + AT_ONCE] for i in range(0, len(names), AT_ONCE)]
    while pending:
        batch = pending.pop(0)
        told = page.ask(names=batch, way=way, seed=seed + names.index(batch[0]))
        if "error" in told and len(batch) > 1:
            half = len(batch) // 2
            pending[:0] = [batch[:half], batch[half:]]
        else:
            yield batch, told


def records_of_files(page: Page, paths: list[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, what the page made of the file)."""
    for path in paths:
        yield path.name, page.ask(workflow=json.loads(path.read_text()))


def faults(record: dict[str, Any], object_info: dict[str, Any], version: str) -> list[str]:
    """The differences between the page's prompt and ours for the same save."""
    workflow = record["saved"]
    if not isinstance(workflow.get("extra"), dict):
        workflow["extra"] = {}
    workflow["extra"].setdefault("frontendVersion", version)
    try:
        converted = json.loads(json.dumps(convert_workflow(workflow, object_info)))
    except WorkflowError as error:
        return [f"refused: {error}"]
    return list(differences(essence(converted, object_info), essence(record["prompt"], object_info)))


def by_class(found: list[str], record: dict[str, Any], names: list[str]) -> set[str]:
    """The classes of a batch that differ; all of them where no line says which."""
    told = {line.partition(".")[0].partition(":")[0] for line in found}
    return told & set(names) or set(names)


def widget_types(info: dict[str, Any]) -> set[str]:
    """The types of a class's inputs that today's front end draws as widgets."""
    inputs = parse_declaration("", info).inputs
    return {one.type for one in inputs if one.type in WIDGET_TYPES} - {"LOAD_3D_ANIMATION", "PREVIEW_3D"}


def cause(line: str) -> str | None:
    """What of the page's own doing a difference comes from, if it is known."""
    return next((why for pattern, why in PAGES_OWN.items() if re.match(pattern, line)), None)


class Table:
    """Lines of figures, and the differences by kind."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def line(self, name: str, number: int, equal: int, pages_own: int, failed: int) -> None:
        """One line of the table."""
        share = 100 * (equal + pages_own) / max(number, 1)
        apart = f"{equal:6} equal {pages_own:4} the page's own"
        print(f"{name:24} {number:6} {apart} {share:7.2f} %  {failed:4} not exported", flush=True)

    def count(self, found: list[str], where: str) -> None:
        """Takes note of differences."""
        for kind in {line.partition(":")[0] if not line.startswith("refused") else line[:80] for line in found}:
            self.kinds[kind] += 1
            self.examples.setdefault(kind, f"{where}: {next(one for one in found if one.startswith(kind))}")

    def print_kinds(self) -> None:
        """The differences by kind, the most frequent first."""
        for kind, number in self.kinds.most_common():
            known = cause(self.examples[kind].partition(": ")[2])
            print(f"{number:5}  {self.examples[kind][:220]}{f' [{known}]' if known else ''}")


def main() -> None:
    """Records, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="classes whose names begin so")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with urllib.request.urlopen(options.url + "/object_info") as answer:
        object_info = json.load(answer)
    page, table = Page(options.url), Table()
    print(f"front end {page.version}, {len(object_info)} classes")
    strange = {name for name, info in object_info.items() if widget_types(info) - page.widgets}
    if strange:
        print(f"{len(strange)} classes have widgets of types that this front end doesn't know; they are left out")
    names = sorted(name for name in object_info if name.startswith(options.only) and name not in strange)
    for way in options.ways:
        different: set[str] = set()
        unknown: set[str] = set()
        failed: set[str] = set()
        made = records_of_classes(page, names, way, options.seed)
        for batch, record in _kept(options.keep, f"{way}-{options.seed}", made):
            if "error" in record:
                failed |= set(batch)
                continue
            found = faults(record, object_info, page.version)
            if found:
                different |= by_class(found, record, batch)
                if rest := [line for line in found if cause(line) is None]:
                    unknown |= by_class(rest, record, batch)
                table.count(found, way)
        exported = len(names) - len(failed)
        table.line(f"classes, {way}", exported, exported - len(different), len(different - unknown), len(failed))
    for folder in options.files:
        paths = sorted(folder.glob("*.json")) if folder.is_dir() else [folder]
        equal = pages_own = failed_files = 0
        for name, record in _kept(options.keep, f"files-{folder.name}", records_of_files(page, paths)):
            found = [] if "error" in record else faults(record, object_info, page.version)
            equal += "error" not in record and not found
            pages_own += bool(found) and all(cause(line) for line in found)
            failed_files += "error" in record
            table.count(found, name)
        table.line(f"files, {folder.name}", len(paths) - failed_files, equal, pages_own, failed_files)
    page.close()
    table.print_kinds()


def _kept(folder: Path | None, name: str, made: Iterator[Any]) -> Iterator[Any]:
    """What was recorded, from the folder where it is kept, if it is."""
    path = folder / f"{name}.json" if folder else None
    if path is not None and path.exists():
        yield from json.loads(path.read_text())
        return
    records = []
    for record in made:
        records.append(record)
        yield record
    if path is not None:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(records))


if __name__ == "__main__":
    main()
