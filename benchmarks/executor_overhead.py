"""What the executor itself costs per node, on chains and fans, for each cache; and what a start costs.

    python benchmarks/executor_overhead.py [--comfyui DIR] [--no-starts]

With a ComfyUI checkout (and its requirements) ComfyUI's own PromptExecutor runs the same prompts in the same process,
with its classic cache, validation included on both sides, and ComfyUI is started as well. Times are processor time,
so that a busy machine counts little; the best of three, each with a fresh executor (ComfyUI: one).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import inspect
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from comfyui_ddim.executor import Executor


class Value:
    """Gives a number."""

    RETURN_TYPES, FUNCTION = ("INT",), "work"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """A number."""
        return {"required": {"value": ("INT",)}}

    def work(self, value: int) -> tuple[int]:
        """Return it."""
        return (value,)


class Add:
    """Adds two numbers."""

    RETURN_TYPES, FUNCTION = ("INT",), "work"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """Two numbers."""
        return {"required": {"a": ("INT",), "b": ("INT",)}}

    def work(self, a: int, b: int) -> tuple[int]:
        """Return their sum."""
        return (a + b,)


class Show:
    """Shows a number."""

    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "work", True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """A number."""
        return {"required": {"value": ("INT",)}}

    def work(self, value: int) -> dict:
        """Show it."""
        return {"ui": {"value": [value]}}


CLASSES = {"Value": Value, "Add": Add, "Show": Show}


def chain(length: int) -> dict:
    """Nodes that each need the one before."""
    prompt = {"0": {"class_type": "Value", "inputs": {"value": 0}}}
    for i in range(1, length - 1):
        prompt[str(i)] = {"class_type": "Add", "inputs": {"a": [str(i - 1), 0], "b": 1}}
    prompt["show"] = {"class_type": "Show", "inputs": {"value": [str(length - 2), 0]}}
    return prompt


def fan(length: int) -> dict:
    """Nodes that all need the first, each shown."""
    prompt = {"0": {"class_type": "Value", "inputs": {"value": 0}}}
    for i in range(1, length // 2):
        prompt[f"a{i}"] = {"class_type": "Add", "inputs": {"a": ["0", 0], "b": i}}
        prompt[f"s{i}"] = {"class_type": "Show", "inputs": {"value": [f"a{i}", 0]}}
    return prompt


def ours(cache: str) -> Callable[[dict], Callable[[], None]]:
    """Prepares a run by our executor."""

    def prepare(prompt: dict) -> Callable[[], None]:
        executor = Executor(CLASSES, cache=cache, cache_size=100)

        def run() -> None:
            result = executor.run(prompt)
            assert result.succeeded, result

        return run

    return prepare


def theirs(folder: Path) -> Callable[[dict], Callable[[], None]]:
    """Prepares a run by ComfyUI's PromptExecutor."""
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    importlib.import_module("comfy.cli_args").args.cpu = True
    importlib.import_module("utils.extra_config")
    nodes, execution = importlib.import_module("nodes"), importlib.import_module("execution")
    logging.disable(logging.ERROR)
    nodes.NODE_CLASS_MAPPINGS.update(CLASSES)

    class NoServer:
        client_id = last_node_id = None
        sockets_metadata: dict = {}

        def send_sync(self, *message) -> None:
            pass

    options = {}
    if "cache_args" in inspect.signature(execution.PromptExecutor).parameters:  # after 0.3.64, and needed there
        options = {"cache_type": execution.CacheType.CLASSIC, "cache_args": {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}}

    def prepare(prompt: dict) -> Callable[[], None]:
        executor = execution.PromptExecutor(NoServer(), **options)

        def run() -> None:
            valid, error, outputs, _ = asyncio.run(execution.validate_prompt("id", prompt, None))
            assert valid, error
            executor.execute(prompt, "id", {}, outputs)
            assert executor.success

        return run

    return prepare


def seconds(prepare: Callable[[dict], Callable[[], None]], prompt: dict, repeats: int) -> float:
    """The best time of a first run."""
    times = []
    for _ in range(repeats):
        run = prepare(prompt)
        gc.collect()
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


TOYS = """
class Toy:
    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "work", True
    INPUT_TYPES = classmethod(lambda cls: {})
    def work(self):
        return {}
NODE_CLASS_MAPPINGS = {"Toy": Toy}
"""


def print_starts(comfyui: Path | None, repeats: int = 3) -> None:
    """From process start to the end of a run of one toy node; ComfyUI's until it would listen, without other packs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "toys.py").write_text(TOYS)
        (folder / "toy.json").write_text('{"1": {"class_type": "Toy", "inputs": {}}}')
        run = [sys.executable, "-m", "comfyui_ddim", "run", "toy.json", "--nodes", "toys.py"]
        lines = {"run": run}
        if comfyui is not None:
            bare = ["--cpu", "--quick-test-for-ci", "--disable-all-custom-nodes", "--disable-api-nodes"]
            bare += ["--base-directory", name, "--database-url", "sqlite:///:memory:"]
            lines["ComfyUI"] = [sys.executable, str(comfyui / "main.py"), *bare]
            lines["run --comfyui"] = [*run, "--comfyui", str(comfyui), "--device", "cpu"]
        best = {what: min(child_seconds(line, folder) for _ in range(repeats)) for what, line in lines.items()}
    for what, took in best.items():
        part = f", {took / best['ComfyUI']:.2f} of ComfyUI's" if "ComfyUI" in best else ""
        print(f"start of {what}: {took:.2f} s{part}", flush=True)


def child_seconds(line: list[str], folder: Path) -> float:
    """The processor time of another process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(line, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the starts, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI checkout to compare with")
    parser.add_argument("--starts", action=argparse.BooleanOptionalAction, default=True, help="measure starts too")
    args = parser.parse_args()
    folder = args.comfyui
    if args.starts:
        print_starts(folder and folder.resolve())
    runners = {f"ours, {cache}": ours(cache) for cache in ("classic", "lru", "none")}
    if folder is not None:
        runners["ComfyUI"] = theirs(folder.resolve())
    print("milliseconds per node".ljust(16), *(name.rjust(14) for name in runners))
    for shape in (chain, fan):
        for length in (100, 300, 1000, 10000):
            cells = []
            for name, prepare in runners.items():
                too_long = name == "ComfyUI" and length > (300 if shape is chain else 1000)
                took = None if too_long else seconds(prepare, shape(length), 1 if name == "ComfyUI" else 3)
                cells.append("-" if took is None else f"{took / length * 1000:.4f}")
            print(f"{shape.__name__} of {length}".ljust(21), *(cell.rjust(14) for cell in cells), flush=True)


if __name__ == "__main__":
    main()
