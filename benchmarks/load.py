"""The executor under load: 10,000 prompts in one process, 100,000 nodes in one prompt; time per node, and memory.

    python benchmarks/load.py

Times are processor time, memory is what the process holds (resident) beyond the start. Each row is its own process.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from comfyui_ddim.executor import Executor
from executor_overhead import CLASSES, chain, fan

MIB = 2**20


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def prompts(count: int, cache: str) -> None:
    """Print a line each tenth of `count` runs of 20 nodes, whose first value is a new one each time."""
    executor, begin, before = Executor(CLASSES, cache=cache, cache_size=100), time.process_time(), None
    for i in range(count):
        prompt = chain(20)
        prompt["0"]["inputs"]["value"] = i
        assert executor.run(prompt).succeeded
        before = before or resident()
        if (i + 1) % (count // 10) == 0:
            gc.collect()
            took = (time.process_time() - begin) / (i + 1) / 20 * 1e6
            print(f"{i + 1} prompts, cache {cache}: {took:.0f} us a node, {(resident() - before) / MIB:+.1f} MiB")


def nodes(count: int, shape: str) -> None:
    """Print a line for one prompt of so many nodes."""
    prompt = {"chain": chain, "fan": fan}[shape](count)
    gc.collect()
    executor, begin, before = Executor(CLASSES), time.process_time(), resident()
    assert executor.run(prompt).succeeded
    took = (time.process_time() - begin) / len(prompt) * 1e6
    size = (resident() - before) / len(prompt)
    print(f"{shape} of {len(prompt)} nodes: {took:.0f} us a node, {size:.0f} bytes a node")


def rows(quick: bool) -> Iterator[list[str]]:
    """What each process is to do."""
    for cache in ("classic", "lru", "none"):
        yield ["prompts", "1000" if quick else "10000", cache]
    for shape in ("chain", "fan"):
        for count in (1000, 10_000) if quick else (1000, 10_000, 100_000):
            yield ["nodes", str(count), shape]


def main() -> None:
    """Do one row, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("row", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        what, count, kind = arguments.row
        (prompts if what == "prompts" else nodes)(int(count), kind)
        return
    for row in rows(arguments.quick):
        subprocess.run([sys.executable, __file__, *row], check=True)


if __name__ == "__main__":
    main()
