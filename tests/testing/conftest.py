"""A pytest inside pytest, with the plugin, on projects made for the test."""

import shutil
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import comfyui_ddim.nodes.core
import comfyui_ddim.testing.fixtures
import comfyui_ddim.testing.report  # noqa: F401 (imported here: what the inner run imports is forgotten after it)
import pytest
import safetensors.torch  # noqa: F401

EXAMPLE = Path(__file__).parents[2] / "docs" / "example_pack"
QUIET = ("cacheprovider", "unraisableexception", "hypothesispytest", "xdist", "anyio")  # what costs seconds a run
PLUGIN = [] if any(one.name == "comfyui" for one in entry_points(group="pytest11")) else ["comfyui_ddim.testing.plugin"]


@dataclass
class Run:
    """How the inner pytest ended: its tests by name, with the words of those that failed or were skipped."""

    code: int
    passed: list[str]
    failures: dict[str, str]
    skipped: dict[str, str]
    text: str


@pytest.fixture
def run_pytest(pytester, monkeypatch):
    """`run_pytest(*arguments)`: pytest in the test's folder, in this process."""
    monkeypatch.delenv("COMFYUI_DIR", raising=False)

    options = [word for name in QUIET for word in ("-p", f"no:{name}")]
    options += [word for name in PLUGIN for word in ("-p", name)]

    def run(*arguments):
        result = pytester.runpytest_inprocess(*options, *map(str, arguments))
        reports = [one for one in result.reprec.getreports() if getattr(one, "failed", False) or reached(one)]
        failures = {one.nodeid.rpartition("::")[2]: str(one.longrepr) for one in reports if one.failed}
        passed = [one.nodeid.rpartition("::")[2] for one in reports if one.passed]
        skipped = {one.nodeid.rpartition("::")[2]: one.longrepr[2] for one in reports if one.skipped}
        return Run(int(result.ret), passed, failures, skipped, result.stdout.str())

    return run


def reached(report):
    """Whether it tells how a test went, rather than what came before or after."""
    return getattr(report, "when", None) == "call" or (getattr(report, "when", None) == "setup" and report.skipped)


@pytest.fixture
def example(pytester):
    """The example pack, copied into the test's folder."""
    shutil.copytree(EXAMPLE, pytester.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return pytester.path
