"""A folder to run sweeps in."""

import pytest
import toy_nodes
from sweep_kit import save


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to be in, with a workflow, and a log of what ran."""
    monkeypatch.delenv("COMFYUI_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    save(toy_nodes.adding())
    return tmp_path
