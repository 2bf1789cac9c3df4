"""The folder of a sweep: what lies where, who may work in it, and how a cell gets into it whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout  # torch itself needs it, so it is there
from PIL import Image

from ..atomic import write_whole
from ..executor.errors import WorkflowError

__all__ = ["PICTURES", "SweepFolder"]

PICTURES = (".png", ".webp", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".avif")


class SweepFolder:
    """Paths below `path`, and what is done with them."""

    def __init__(self, path: Path):
        self.path = path
        self.cells = path / "cells"
        self.earlier = path / "earlier"
        self.thumbs = path / "thumbs"
        self.ledger = path / "ledger.jsonl"
        self.description = path / "sweep.json"
        self.page = path / "index.html"
        self._running = path / ".running"
        self._lock = FileLock(path / ".lock")

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Work in it, alone; raises WorkflowError if another sweep does, or it can't be made.

        The lock is the operating system's: it ends with the process, however that ends.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise WorkflowError(f"{self.path}: another sweep is running in this folder") from None
        except OSError as error:
            raise WorkflowError(f"{self.path}: can't be written to: {error.strerror}") from None
        try:
            for folder in (self.cells, self.thumbs):
                folder.mkdir(exist_ok=True)
            shutil.rmtree(self._running, ignore_errors=True)
            self._running.mkdir(exist_ok=True)
            yield
        finally:
            shutil.rmtree(self._running, ignore_errors=True)
            self._lock.release()

    def old_description(self) -> dict[str, Any] | None:
        """sweep.json as an earlier call left it; raises WorkflowError for one that can't be read."""
        try:
            text = self.description.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise WorkflowError(f"{self.description}: can't be read: {error}") from None
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get("what") != "comfyui-ddim sweep":
            raise WorkflowError(f"{self.description}: not the file of a sweep; choose another --output")
        return found

    def describe(self, description: dict[str, Any]) -> None:
        """Write sweep.json."""
        text = json.dumps({"what": "comfyui-ddim sweep", **description}, indent=1, ensure_ascii=False)
        write_whole(self.description, text.encode("utf-8", "surrogatepass"))

    def staging(self) -> Path:
        """A new folder for one worker to write cells in, before they are moved to their place."""
        folder = self._running / secrets.token_hex(8)
        folder.mkdir(parents=True)
        return folder

    def token(self) -> Path:
        """A new file, by which others can tell whether they see this folder."""
        path = self._running / secrets.token_hex(8)
        path.touch()
        return path

    # --- cells

    def put(self, made: Path, name: str) -> Path:
        """Move what a worker made to its place; what is there already stays, for it was whole too."""
        place = self.cells / name
        try:
            made.rename(place)
        except OSError:
            if not place.is_dir():
                raise
            shutil.rmtree(made, ignore_errors=True)
        return place

    def found(self) -> dict[str, Path]:
        """The folders of cells that are there, by hash."""
        paths: dict[str, Path] = {}
        for folder in (self.earlier, self.cells):
            if folder.is_dir():
                paths.update((entry.name.rpartition("_")[2], Path(entry.path)) for entry in os.scandir(folder))
        return paths

    def move(self, path: Path, name: str) -> Path:
        """Give a cell's folder its present name; it may come from `earlier`."""
        place = self.cells / name
        if path != place:
            path.rename(place)
        return place

    def put_aside(self, path: Path) -> None:
        """Move a cell that is no longer in the sweep to `earlier`."""
        if path.parent != self.earlier:
            self.earlier.mkdir(exist_ok=True)
            target = self.earlier / path.name
            shutil.rmtree(target, ignore_errors=True)
            path.rename(target)

    def put_thumb(self, key: str, data: bytes, staging: Path) -> None:
        """Write the small picture of a cell, by way of a worker's folder."""
        path = staging / f"{key}.webp"
        stage(path, data)
        path.replace(self.thumbs / path.name)


def stage(path: Path, data: bytes) -> None:
    """Write a file that nobody reads before its folder is moved to its place, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def files_of(folder: Path) -> list[Path]:
    """All files of a cell, its workflow aside, sorted by path."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / "workflow.json")


def is_whole(folder: Path) -> bool:
    """Whether all files of a cell that nobody recorded hold what they should, as far as can be told.

    A folder appears whole; only a machine that lost its power can leave it with files that were never written out.
    """
    try:
        files = files_of(folder)
        for path in files:
            if path.suffix.lower() in PICTURES:
                with Image.open(path) as picture:
                    picture.load()
        return bool(files) and all(path.stat().st_size for path in files)
    except (OSError, ValueError, SyntaxError):
        return False
