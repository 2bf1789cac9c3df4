"""What the imports of a start cost, by who wrote them: this package, torch, and everything else; milliseconds.

Python's own count (-X importtime) of each module's own time, the least of several starts, so that a busy machine counts
little: what a module imports counts as that module's, wherever it is asked for. `run` draws a picture with the model
that ships.

    python benchmarks/start.py [--repeats 7] [--longest 8]
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
OWN = "comfyui_ddim"
LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$")
STARTS = {
    "--help": ["-m", OWN, "--help"],
    "run": ["-m", OWN, "run", str(ROOT / "workflows" / "text_to_image.json"), "--output", "{folder}"],
    "import comfyui_ddim.sampler": ["-c", f"import {OWN}.sampler"],
    "import comfyui_ddim.networks": ["-c", f"import {OWN}.networks"],
    "import comfyui_ddim.nodes": ["-c", f"import {OWN}.nodes"],
}


def imports(arguments: list[str]) -> dict[str, float]:
    """Each module's own time in a start, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-X", "importtime", *(part.format(folder=folder) for part in arguments)]
        compiled = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # as a user's second start
        told = subprocess.run(line, cwd=folder, env=compiled, capture_output=True, text=True, check=True).stderr
    found = (LINE.match(row) for row in told.splitlines())
    return {match[2]: int(match[1]) / 1000 for match in found if match}


def least(arguments: list[str], repeats: int) -> dict[str, float]:
    """Each module's own time, the least of several starts."""
    starts = [imports(arguments) for _ in range(repeats)]
    return {name: min(start.get(name, float("inf")) for start in starts) for name in starts[0]}


def by_package(modules: dict[str, float]) -> dict[str, float]:
    """The sums by top-level package, largest first."""
    sums: dict[str, float] = defaultdict(float)
    for name, took in modules.items():
        sums[name.partition(".")[0]] += took
    return dict(sorted(sums.items(), key=lambda entry: -entry[1]))


def main() -> None:
    """Print a row for each start, and what is longest in it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--longest", type=int, default=8, help="how many packages and modules of ours to name")
    args = parser.parse_args()
    for name, arguments in STARTS.items():
        modules = least(arguments, args.repeats)
        sums = by_package(modules)
        own, torch = sums.pop(OWN, 0.0), sums.pop("torch", 0.0)
        print(f"{name}: this package {own:.0f}, torch {torch:.0f}, the rest {sum(sums.values()):.0f} ms")
        rest = ", ".join(f"{package} {took:.0f}" for package, took in list(sums.items())[: args.longest])
        ours = sorted(((took, module) for module, took in modules.items() if module.startswith(OWN)), reverse=True)
        print(f"    of the rest: {rest}")
        print("    of ours: " + ", ".join(f"{module} {took:.0f}" for took, module in ours[: args.longest]), flush=True)


if __name__ == "__main__":
    main()
