"""The plugin as pytest sees it. Nothing here imports the rest before it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .keys import COMFY, FILES, PACKS

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".json", ".png", ".webp")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options and settings."""
    group = parser.getgroup("comfy", "ComfyUI workflows as tests")
    group.addoption("--comfy-update", action="store_true", help="write references and recordings of workflows")
    group.addoption("--comfy-report", metavar="DIR", help="write a page with every case's images side by side")
    group.addoption(
        "--comfy-cov", action="store_true", help="list the packs' classes, inputs and choices that no test used"
    )
    group.addoption(
        "--comfy-cov-fail-under", metavar="N", type=float, help="... and fail if less than N percent were used"
    )
    group.addoption("--comfy-dir", metavar="DIR", help="use the nodes of this ComfyUI checkout")
    group.addoption("--comfy-device", metavar="NAME", help="auto, cpu, cuda ... (default: cpu)")
    parser.addini("comfy_workflows", "workflow files that are tests (globs)", type="linelist", default=[])
    parser.addini("comfy_packs", "node packs to load: folders, or .py files", type="linelist", default=[])
    parser.addini("comfy_dir", "a ComfyUI checkout whose nodes are used", default="")
    parser.addini("comfy_models", "where model files are", default="")
    parser.addini("comfy_input", "where input images are", default="")
    parser.addini("comfy_device", "the device to run on", default="")
    parser.addini("comfy_failures", "where images of failing cases are written", default="comfy-failures")


def pytest_configure(config: pytest.Config) -> None:
    """See that workflow files are collected where only some folders are."""
    patterns = config.getini("comfy_workflows")
    files = {file for pattern in patterns for file in config.rootpath.glob(pattern) if ".references" not in str(file)}
    config.stash[FILES] = files
    config.stash[PACKS] = {(config.rootpath / pack).resolve() for pack in config.getini("comfy_packs")}
    config.args[:] = [_workflow_beside(config.invocation_params.dir, arg) for arg in config.args]
    if config.args_source is config.ArgsSource.TESTPATHS and files:
        from .collection import files_outside

        config.args += files_outside(config.args, sorted(files), config.invocation_params.dir)
    if config.option.comfy_report or config.option.comfy_cov or config.option.comfy_cov_fail_under:
        from .report import Reporter

        config.pluginmanager.register(Reporter(config), "comfy-reporter")


def _workflow_beside(folder: Path, arg: str) -> str:
    """The workflow file in place of a .test.toml about it."""
    name, *case = arg.split("::", 1)
    stem = name.removesuffix(".test.toml")
    if stem == name:
        return arg
    found = (stem + suffix for suffix in SUFFIXES if (folder / (stem + suffix)).is_file())
    return "::".join([next(found, name), *case])


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A pack's folder is one like others: its `__init__.py` is for ComfyUI, not a package of tests."""
    if (path / "__init__.py").is_file() and path in parent.config.stash[PACKS]:
        return pytest.Dir.from_parent(parent, path=path)
    return None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what runs have written."""
    close = getattr(config.stash.get(COMFY, None), "close", None)
    if close is not None:
        close()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Workflow files that are asked for; no other file is opened."""
    is_named = parent.session.isinitpath(file_path)
    if file_path.suffix.lower() not in SUFFIXES or not (is_named or file_path in parent.config.stash[FILES]):
        return None
    from .collection import WorkflowFile, reads_as_workflow

    if file_path not in parent.config.stash[FILES] and not reads_as_workflow(file_path):
        return None
    return WorkflowFile.from_parent(parent, path=file_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[Any]:
    """Hand on what a case has to tell, also from xdist's workers."""
    report = yield
    if call.when == "call" and (result := getattr(item, "result", None)) is not None:
        report.comfy = result
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was faked, and what was played back."""
    reports = [one for group in terminalreporter.stats.values() for one in group if hasattr(one, "comfy")]
    if reports:
        from .report import summary

        for line in summary([report.comfy for report in reports]):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def comfy(pytestconfig: pytest.Config) -> Any:
    """The nodes of this session, and `run`."""
    from .session import session_of

    return session_of(pytestconfig)


@pytest.fixture
def run_workflow(comfy: Any) -> Any:
    """`run_workflow(file, set=, seed=, only=, fake=)`: what the nodes of a workflow gave."""
    from .fixtures import WorkflowCalls

    return WorkflowCalls(comfy)


@pytest.fixture
def run_node(comfy: Any) -> Any:
    """`run_node("Class", **inputs)`: what one node gave."""
    from .fixtures import NodeCalls

    return NodeCalls(comfy)


@pytest.fixture
def graph(comfy: Any) -> Any:
    """A prompt to be built: `add("Class", **inputs)`, then `run()`."""
    from .fixtures import GraphBuilder

    return GraphBuilder(comfy)


@pytest.fixture(scope="session")
def shipped_model(comfy: Any) -> Any:
    """The small model that ships: `model`, `clip`, `vae`."""
    from .fixtures import load_shipped

    return load_shipped(comfy)


@pytest.fixture
def compare(request: pytest.FixtureRequest) -> Any:
    """`compare(value, name=None, **limits)`: a picture, mask or latent with its reference beside the test file."""
    from .fixtures import Comparer
    from .settings import read_settings

    return Comparer(request.path, request.node.name, read_settings(request.config))
