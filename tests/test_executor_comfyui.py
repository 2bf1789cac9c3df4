"""Against a real ComfyUI: its own execution tests run on our Executor, and checks that need its modules.

They run where COMFYUI_DIR names a ComfyUI checkout whose requirements are installed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")
HERE = Path(__file__).parent


def run_pytest(folder, *arguments):
    """In a process of its own: ComfyUI can be loaded only once."""
    comfyui = os.environ["COMFYUI_DIR"]
    paths = [str(HERE), comfyui, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout or " skipped" in done.stdout


def test_comfyui_s_execution_tests(tmp_path):
    # Newer checkouts also test their server's list of jobs here: that is no executor's.
    arguments = ["-p", "comfyui_adapter", "--output_dir", str(tmp_path), "-k", "not job", "tests/execution"]
    run_pytest(os.environ["COMFYUI_DIR"], *arguments)


def test_the_same_runs_side_by_side():
    run_pytest(HERE.parent, str(HERE / "comfyui_side_by_side.py"))


def test_checks_with_comfyui_s_modules():
    run_pytest(HERE.parent, str(HERE / "comfyui_checks.py"))
