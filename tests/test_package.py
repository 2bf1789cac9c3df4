"""The package's shape: what is listed, which way imports go, and what the root exports."""

import ast
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What each part of the pack may import of it, by the longest prefix that fits. Imports inside functions count too.
# `atomic` is the ground under all that write files: it knows nothing but the standard library.
ALLOWED = {
    "atomic": {"atomic"},
    "sampler": {"sampler"},
    "networks": {"networks", "atomic"},
    "executor": {"executor"},
    "hosts": {"hosts", "sampler", "networks", "executor.context", "demo"},
    "hosts.standalone": {"hosts", "sampler", "networks", "executor.context", "demo"},
    "hosts.comfyui": {"hosts", "sampler", "networks", "executor.context", "demo"},
    "nodes": {"nodes", "hosts", "sampler", "atomic"},
    "nodes.core": {"nodes", "hosts", "sampler"},
    "prompts": {"prompts", "executor"},
    "cli": {"cli", "executor", "nodes", "atomic", "prompts", "sweeps"},
    "sweeps": {"sweeps", "executor", "nodes", "atomic", "prompts"},
    "testing": {"testing", "cli", "executor", "atomic", "prompts"},
    "demo": {"demo", "sampler", "networks", "atomic"},
    "": {"nodes", "cli"},
}
FORBIDDEN = {
    "hosts.standalone": {"hosts.comfyui"},
    "hosts.comfyui": {"hosts.standalone"},
    "nodes": {"hosts.standalone", "hosts.comfyui", "nodes.core"},
    "nodes.core": {"hosts.comfyui"},
}
# Where one of two things is chosen, or what takes seconds waits until it is needed.
LATE = {
    ("__init__", "nodes"),
    ("cli", "cli.command_line"),
    ("__main__", "cli"),
    ("nodes", "nodes.core"),
    ("cli.node_set", "nodes"),
    ("cli.node_set", "executor.comfyui"),
    ("sweeps.worker", "nodes"),
    ("sweeps.sweep", "sweeps.cluster"),
    ("sweeps.grids", "nodes.grid"),
    ("testing", "testing.session"),
    ("testing.collection", "testing.casework"),
    ("testing.collection", "testing.comparison"),
    ("testing.collection", "testing.report"),
    ("testing.collection", "testing.session"),
    ("testing.plugin", "testing.collection"),
    ("testing.plugin", "testing.session"),
    ("testing.plugin", "testing.fixtures"),
    ("testing.plugin", "testing.report"),
    ("testing.plugin", "testing.settings"),
}
PARTS = sorted({name.partition(".")[0] for name in ALLOWED if name})


def module_name(path: Path) -> str:
    """A file's dotted name below the root; a package's is its folder's, the root's is `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports(path: Path) -> set[tuple[str, bool]]:
    """(module, whether inside a function) for all that a file imports of the pack, as dotted names below the root."""
    tree, found = ast.parse(path.read_text()), set()
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    folder = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*folder[: len(folder) - node.level + 1], *(node.module or "").split(".")]
            package = ".".join(filter(None, base))
            for alias in node.names:
                name = ".".join(filter(None, [package, alias.name]))
                found.add((name if is_module(name) else package, node in inside))
    return found


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def below(module: str, places: set[str]) -> bool:
    """Whether a module is one of these places, or inside one."""
    return any(module == place or module.startswith(f"{place}.") for place in places)


def broken_rules(module: str, imported: set[tuple[str, bool]]) -> list[str]:
    """The imports of a module that ALLOWED and FORBIDDEN don't let it have; LATE says which may be in functions."""
    part = max((name for name in ALLOWED if not name or below(module, {name})), key=len)
    part = "" if module in ("__init__", "__main__") else part
    broken = []
    for name, inside in sorted(imported):
        late = any(module == at and below(name, {what}) for at, what in LATE)
        allowed = below(name, ALLOWED[part]) and not below(name, FORBIDDEN.get(part, set()) - {part})
        if late and not inside:
            broken.append(f"{module} imports {name} at once, expected late")
        elif not late and not allowed:
            broken.append(f"{module} imports {name}{' inside a function' * inside}")
        elif not late and inside:
            broken.append(f"{module} imports {name} inside a function, and LATE doesn't list it")
    return broken


def sources(part: str) -> list[Path]:
    return sorted((ROOT / part).rglob("*.py") if part else ROOT.glob("*.py"))


@pytest.mark.parametrize("part", [*PARTS, ""])
def test_imports_go_one_way(part):
    for path in sources(part):
        assert broken_rules(module_name(path), imports(path)) == []


def test_every_late_import_is_one():
    """A list that only grows stops being read: what stands in it stands in the code."""
    for at, what in LATE:
        path = ROOT / f"{at.replace('.', '/')}.py"
        path = path if path.is_file() else path.with_suffix("") / "__init__.py"
        assert any(inside and below(name, {what}) for name, inside in imports(path)), (at, what)


@pytest.mark.parametrize(
    ("text", "place", "fault"),
    [
        ("def f():\n    from ..nodes import plot", "executor/x.py", "executor.x imports nodes.plot inside a function"),
        ("from .. import nodes", "hosts/x.py", "hosts.x imports nodes"),
        ("from ...hosts.comfyui import host", "hosts/standalone/x.py", "hosts.standalone.x imports hosts.comfyui.host"),
        ("from ..networks import UNet", "nodes/x.py", "nodes.x imports networks"),
        ("async def f():\n    from ..executor.context import current", "executor/x.py", "LATE doesn't list it"),
        ("from . import nodes", "__init__.py", "at once, expected late"),
    ],
)
def test_the_import_test_sees_them_all(tmp_path, monkeypatch, text, place, fault):
    """The rules above are only as good as their reader: an import of each kind, and what it says of it."""
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    for name in ("nodes/plot", "nodes/__init__", "hosts/comfyui/host", "networks/__init__", "executor/context"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).with_suffix(".py").touch()
    assert any(fault in line for line in broken_rules(module_name(path), imports(path)))


def test_no_circle_of_files():
    graph = {}
    for path in (path for part in [*PARTS, ""] for path in sources(part)):
        module = module_name(path)
        graph[module] = {name for name, _ in imports(path) if name != module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_folder_with_code_is_packaged():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {path.parent.relative_to(ROOT) for top in PARTS for path in sources(top)} | {Path()}
    expected = {".".join(("comfyui_ddim", *folder.parts)) for folder in folders}
    assert set(project["tool"]["setuptools"]["packages"]) == expected


def test_the_root_holds_no_other_code():
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_comfyui_offers_the_workflows_and_no_other_folder():
    # It serves the first of these that a pack has as the pack's templates: a second one leaves the first without files.
    served = ["example_workflows", "example", "examples", "workflow", "workflows"]
    assert [name for name in served if (ROOT / name).exists()] == ["workflows"]


def run(script: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, **options)


def test_the_sampler_and_the_networks_stand_alone():
    # In a fresh interpreter: importing them brings in nothing else of the pack, and no ComfyUI.
    others = tuple(f"comfyui_ddim.{part}" for part in PARTS if part not in ("sampler", "networks", "atomic"))
    script = (
        "import sys, comfyui_ddim.sampler, comfyui_ddim.networks;"
        f"print([m for m in sys.modules if m.startswith({(*others, 'comfy.')})])"
    )
    result = run(script, check=True)
    assert result.stdout.strip() == "[]"


def test_comfyui_finds_the_nodes_under_any_name(tmp_path):
    """ComfyUI imports the folder by path, under a module name of its own."""
    script = (
        "import importlib.util, sys;"
        f"spec = importlib.util.spec_from_file_location('any name', {str(ROOT / '__init__.py')!r});"
        "module = importlib.util.module_from_spec(spec); sys.modules['any name'] = module;"
        "spec.loader.exec_module(module);"
        "print(sorted(module.NODE_CLASS_MAPPINGS) == sorted(module.NODE_DISPLAY_NAME_MAPPINGS),"
        " all(key.startswith('DDIM') for key in module.NODE_CLASS_MAPPINGS), 'comfyui_ddim' in sys.modules)"
    )
    result = run(script, cwd=tmp_path)
    assert result.stdout.split() == ["True", "True", "False"], result.stderr


WRITES = {"write_text", "write_bytes", "save", "save_file", "savez", "tofile"}
WRITE_MODES = ("w", "a", "x", "+")
# What may be written as it comes: logs that grow line by line, pictures in memory, a sheet for the eye, and files in a
# folder that is moved to its place as a whole.
WRITTEN_DIRECTLY = {
    ("demo/loop.py", "open"),
    ("nodes/picture_formats.py", "save"),
    ("demo/evaluate.py", "save"),
    ("sweeps/folder.py", "write_bytes"),
    ("sweeps/grids.py", "save"),
    ("sweeps/ledger.py", "open"),
    ("sweeps/thumbs.py", "save"),
    ("testing/memory.py", "write_text"),  # no file: a switch of the kernel
}


def direct_writes(path: Path) -> set[tuple[str, str]]:
    """(file, call) for calls that write a file, outside a `with replacing(...)` block."""
    tree, place = ast.parse(path.read_text()), path.relative_to(ROOT).as_posix()
    whole = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.With) and "replacing(" in ast.unparse(block.items[0])
        for node in ast.walk(block)
    }
    found = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node not in whole):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        strings = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        opens = name == "open" and any(mode in text for text in strings for mode in WRITE_MODES)
        if name in WRITES or opens:
            found.add((place, name))
    return found


def test_files_are_written_whole():
    """Whatever is written for good goes through `atomic`; what doesn't is listed above, with why."""
    parts = [part for part in PARTS if part != "atomic"]
    found = {each for part in [*parts, ""] for path in sources(part) for each in direct_writes(path)}
    assert found == WRITTEN_DIRECTLY
