"""What is told at the end: the page, coverage, what was faked. xdist's workers send theirs to the one who tells."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ..atomic import write_whole
from .casework import Verdict
from .coverage import Tally, coverage_lines
from .references import slug
from .session import session_of

MOST = 16
"""Pictures of a case on the page."""


def told(verdict: Verdict, nodeid: str, folder: Path | None) -> dict[str, Any]:
    """A verdict as JSON keeps it; its pictures are written to the report's folder, if there is one."""
    shots = []
    for shot in verdict.shots[:MOST]:
        files = shot.write(folder / "pictures", f"{slug(nodeid)}.") if folder else {}
        measured = {name: value if math.isfinite(value) else str(value) for name, value in shot.measured.items()}
        shots.append({"name": shot.name, "files": files, "measured": measured, "fault": shot.fault})
    return {
        "nodeid": nodeid,
        "faults": verdict.faults,
        "shots": shots,
        "fakes": verdict.fakes,
        "played_back": verdict.played_back,
        "seconds": verdict.seconds,
        "notes": verdict.notes,
    }


def summary(results: Sequence[dict[str, Any]]) -> Iterable[str]:
    """A line about what stood in for heavy parts, if anything did."""
    parts = []
    for key, words in (("fakes", "with fakes"), ("played_back", "played back")):
        cases = [result[key] for result in results if result[key]]
        if cases:
            names = ", ".join(sorted({name for case in cases for name in case}))
            parts.append(f"{len(cases)} case{'s' * (len(cases) > 1)} {words} ({names})")
    return [f"comfy: {'; '.join(parts)}"] if parts else []


class Reporter:
    """The plugin that writes the page and counts what was used; it is there if one of them is asked for."""

    def __init__(self, config: pytest.Config):
        self._config = config
        self._is_worker = hasattr(config, "workerinput")
        self._folder = config.option.comfy_report and config.invocation_params.dir / config.option.comfy_report
        self._results: list[tuple[dict[str, Any], str, str]] = []
        least = config.option.comfy_cov_fail_under
        self._least, self._counts = least, bool(config.option.comfy_cov or least is not None)
        self._all: set[Any] = set()
        self._used: set[Any] = set()
        self._tally: Tally | None = None
        self._lines: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Count from the first run on."""
        is_leader = self._config.pluginmanager.hasplugin("dsession")
        if self._counts and session.items and not is_leader and not self._config.option.collectonly:
            comfy = session_of(self._config)
            self._tally = Tally(comfy)
            comfy.on_outcome = self._tally.count

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take in what a worker counted."""
        sent = getattr(node, "workeroutput", {}).get("comfy_cov")
        if sent:
            self._all |= {tuple(use) for use in sent["all"]}
            self._used |= {tuple(use) for use in sent["used"]}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember a case for the page."""
        if hasattr(report, "comfy"):
            self._results.append((report.comfy, report.outcome, report.nodeid))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send on or write what there is; too little coverage fails the run."""
        if self._tally is not None:
            self._all |= self._tally.all
            self._used |= self._tally.used
        if self._is_worker:
            sent = {"all": [list(use) for use in self._all], "used": [list(use) for use in self._used]}
            session.config.workeroutput["comfy_cov"] = sent  # type: ignore[attr-defined]
            return
        if self._counts:
            self._tell_coverage(session)
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._folder / "index.html", page(self._results).encode())
            self._lines.append(f"comfy: {self._folder / 'index.html'}")

    def _tell_coverage(self, session: pytest.Session) -> None:
        percent, lines = coverage_lines(self._all, self._used & self._all)
        self._lines += [f"comfy: {line}" for line in lines]
        is_short = self._least is not None and percent < self._least
        bound = f"; expected at least {self._least:g} %" if is_short else ""
        none = "" if self._all else " (comfy_packs names no pack)"
        self._lines.append(f"comfy: {percent:.0f} % of the packs' classes, inputs and choices were used{bound}{none}")
        if is_short and session.exitstatus in (0, pytest.ExitCode.OK):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The lines of coverage, and where the page is."""
        for line in self._lines:
            terminalreporter.write_line(line)


STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1c1f24; }
h1 { font-size: 1.4rem; } h2 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
section { border: 1px solid #d5d9df; border-left: 6px solid #3a8f4d; border-radius: 6px; }
section { padding: .8rem 1rem; margin: 1rem 0; }
section.failed { border-left-color: #c43c35; } section.skipped { border-left-color: #9aa2ad; }
.fault { color: #a4271f; margin: .3rem 0; overflow-wrap: anywhere; } .note { color: #5b6470; margin: .3rem 0; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; margin-top: .6rem; } figure { margin: 0; }
figure img { display: block; width: 256px; max-width: 100%; image-rendering: pixelated; background: #eef0f3; }
figcaption { font-size: .85rem; color: #5b6470; }
@media (prefers-color-scheme: dark) { body { background: #15181c; color: #e6e8eb; } section { border-color: #343a42; }
.fault { color: #ff9088; } .note, figcaption { color: #a5adb8; } figure img { background: #262b31; } }
"""


def page(results: Sequence[tuple[dict[str, Any], str, str]]) -> str:
    """The whole page: failures first."""
    ordered = sorted(results, key=lambda result: result[1] != "failed")
    counts = Counter(outcome for _, outcome, _ in results)
    told_counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "none"
    sections = "\n".join(_section(*result) for result in ordered)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Workflow cases</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body><h1>Workflow cases: {told_counts}</h1>\n{sections}\n</body></html>\n"
    )


def _section(result: dict[str, Any], outcome: str, nodeid: str) -> str:
    text = html.escape
    lines = [f'<p class="fault">{text(fault)}</p>' for fault in result["faults"]]
    notes = [f"{result['seconds']:.2f} s", *result["notes"]]
    notes += [f"faked: {', '.join(result['fakes'])}"] * bool(result["fakes"])
    notes += [f"played back: {', '.join(result['played_back'])}"] * bool(result["played_back"])
    lines.append(f'<p class="note">{text("; ".join(notes))}</p>')
    lines += [_row(shot) for shot in result["shots"]]
    return f'<section class="{text(outcome)}"><h2>{text(nodeid)}</h2>\n' + "\n".join(lines) + "</section>"


def _row(shot: dict[str, Any]) -> str:
    text = html.escape
    measured = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, (int, float)) else f"{name} {value}"
        for name, value in shot["measured"].items()
    )
    figures = "".join(
        f'<figure><img loading="lazy" src="pictures/{text(file)}" alt="{part}"><figcaption>{part}</figcaption></figure>'
        for part, file in shot["files"].items()
    )
    heading = text(shot["name"] + (f": {measured}" if measured else ""))
    return f'<p class="note">{heading}</p><div class="row">{figures}</div>'
