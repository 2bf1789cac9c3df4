"""What a GPU would refuse or wait for, without one: the checks beside this file, on the device that `emulated` makes.

Each file of checks is a pytest run of its own, since torch takes a device for the rest of a process. By hand:

    python -m pytest -o python_files="check_*.py" tests/gpu
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("check_*.py")))
def test_on_a_device(name):
    options = ["-o", "python_files=check_*.py", "-p", "no:cacheprovider", "--tb=short"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(FOLDER / name)],
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=1800,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
