"""What tests of sweeps share: the workflow, the command as a process, and what came of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import toy_nodes


def save(prompt):
    Path("w.json").write_text(json.dumps(prompt))


def log():
    """What ran since last asked."""
    path = Path(os.environ["TOY_LOG"])
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def results(folder="out"):
    """Position to the number written there."""
    return {path.parent.name.partition("_")[0]: int(path.read_text()) for path in Path(folder, "cells").glob("*/*.txt")}


def start(*arguments):
    line = [sys.executable, "-m", "comfyui_ddim", "sweep", "w.json", "--nodes", str(toy_nodes.PATH), "--quiet"]
    return subprocess.Popen(
        [*line, "--output", "out", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
