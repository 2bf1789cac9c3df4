"""ComfyUI's own execution tests against our Executor; they run where COMFYUI_DIR names a ComfyUI checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")


def test_comfyui_s_execution_tests(tmp_path):
    comfyui = Path(os.environ["COMFYUI_DIR"])
    here = Path(__file__).parent
    paths = [str(here), str(comfyui), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "comfyui_adapter", "-p", "no:cacheprovider"]
    done = subprocess.run(
        # Newer checkouts also test their server's list of jobs here: that is no executor's.
        [*command, "--output_dir", str(tmp_path), "-k", "not job", "tests/execution"],
        cwd=comfyui,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
