"""The package's shape: what is listed, which way imports go, and what the root exports."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("sampler", "networks", "nodes", "executor", "demo")
# Which of the pack's folders each may import; the command line and the demo's scripts sit on top of everything.
ALLOWED = {
    "sampler": {"sampler"},
    "networks": {"networks"},
    "nodes": {"nodes", "sampler", "networks"},
    "executor": {"executor"},
    "demo": set(CODE),
}
EXCEPTIONS = {
    # The one module of the nodes that runs without ComfyUI asks the runner for folders and progress.
    ("nodes/light.py", "executor.context"),
}


def imports(path: Path) -> set[str]:
    """Modules of the pack that a file imports when it is imported itself, as dotted names below the root."""
    folder = path.relative_to(ROOT).parent.parts
    found = set()
    for node in top_level(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = folder[: len(folder) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            if node.module and len(base) + 1 == len((*base, *node.module.split("."))) and not base:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {".".join((*base, name)) for name in names}
    return found


def top_level(tree: ast.AST):
    """Statements outside functions: what an import runs."""
    for child in ast.iter_child_nodes(tree):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from top_level(child)


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", CODE)
def test_imports_go_one_way(folder):
    for path in sources(folder):
        name = path.relative_to(ROOT).as_posix()
        for module in imports(path):
            if module.split(".")[0] in CODE and not any(
                (name, allowed) in EXCEPTIONS and module.startswith(allowed) for _, allowed in EXCEPTIONS
            ):
                assert module.split(".")[0] in ALLOWED[folder], f"{name} imports {module}"


def test_the_import_test_sees_imports(tmp_path):
    # The rule above is only as good as its reader: these two it must see.
    assert "executor.context" in imports(ROOT / "nodes" / "light.py")
    assert "networks.autoencoder" in imports(ROOT / "demo" / "train_autoencoder.py")


def test_every_folder_with_code_is_packaged():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {path.parent.relative_to(ROOT) for top in CODE for path in sources(top)} | {Path()}
    expected = {".".join(("comfyui_ddim", *folder.parts)) for folder in folders}
    assert set(project["tool"]["setuptools"]["packages"]) == expected


def test_the_root_holds_no_other_code():
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_the_sampler_and_the_networks_stand_alone():
    # In a fresh interpreter: importing them brings in neither nodes nor executor, and no ComfyUI.
    script = (
        "import sys, comfyui_ddim.sampler, comfyui_ddim.networks;"
        "print([m for m in sys.modules if m.startswith(('comfyui_ddim.nodes', 'comfyui_ddim.executor', 'comfy.'))])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
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
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout.split() == ["True", "True", "False"], result.stderr
