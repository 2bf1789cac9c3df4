"""What is seen of a run: progress bars on standard error, paths (or events as JSON lines) on standard output."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..executor.context import Context
from ..prompts.escape import escape
from ..prompts.messages import name_node


class Display:
    """Receives the events of one run (`on_event`).

    With `--json` every event is printed as a line `{"type", "data"}`; otherwise the path of each written file is,
    as soon as its node is done. Every node that reports progress has a bar, unless `--quiet`.
    """

    def __init__(self, prompt: dict[str, Any], context: Context, arguments: argparse.Namespace):
        self._prompt = prompt
        self._folders = {"output": context.output_dir, "temp": context.temp_dir}
        self._as_json: bool = arguments.json
        self._quiet: bool = arguments.quiet
        self._out = arguments.out
        self._bars: dict[str, Any] = {}
        self._printed: set[Path] = set()
        self._previews: list[Path] = []
        self.stopped_at: str | None = None

    def on_event(self, name: str, data: dict[str, Any]) -> None:
        """An event of the run."""
        if name == "progress" and not self._quiet:
            self._show_progress(data)
        if name in ("executing", "executed"):
            self.close_bars(only_full=True)  # others may be of coroutine nodes that still run
        if name == "execution_interrupted":
            self.stopped_at = data["node_id"]
        if name == "executed":
            data = {**data, "files": [str(path) for path in self._files(data["output"])]}
        if self._as_json:
            self._out.line(json.dumps({"type": name, "data": _plain(data)}, default=str))
        elif name == "executed":
            self._print_paths(data)

    def _show_progress(self, data: dict[str, Any]) -> None:
        bar = self._bars.get(data["node"])
        if bar is None:
            from tqdm import tqdm

            name = name_node(self._prompt, data["display_node"])
            bar = self._bars[data["node"]] = tqdm(total=data["max"], desc=name, unit="step", file=sys.stderr)
        bar.total = data["max"]
        bar.update(data["value"] - bar.n)

    def close_bars(self, only_full: bool = False) -> None:
        """Finish the bars, so that what is printed next begins on its own line."""
        for node_id, bar in list(self._bars.items()):
            if not only_full or bar.n >= bar.total:
                bar.close()
                del self._bars[node_id]

    def _files(self, output: dict[str, Any] | None) -> Iterator[Path]:
        """The files that a node says it wrote: anywhere in what it shows, as `{"filename", "subfolder", "type"}`."""
        for items in (output or {}).values():
            for item in items if isinstance(items, (list, tuple)) else ():
                if isinstance(item, dict) and "filename" in item and item.get("type") in self._folders:
                    yield self._folders[item["type"]] / item.get("subfolder", "") / item["filename"]

    def _print_paths(self, data: dict[str, Any]) -> None:
        for path in self._files(data["output"]):
            if path in self._printed:
                continue
            self._printed.add(path)
            if path.is_relative_to(self._folders["output"]):
                self._out.line(path)
            else:
                self._previews.append(path)

    def close(self) -> str:
        """Print what comes last: where nothing was saved, the previews are the results. A note for the user, or ""."""
        if self._as_json:
            return ""
        if not self._printed:
            return "done, and no file was written"
        for path in self._previews:
            if len(self._previews) == len(self._printed):
                self._out.line(path)
            elif not self._quiet:
                print(escape(f"preview: {path}"), file=sys.stderr)
        return ""


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """Without the preview picture, which is no JSON."""
    return {key: value for key, value in data.items() if key != "preview"}
