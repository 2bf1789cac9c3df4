"""Many prompts and many nodes in one process; several Executors at once, in threads, in a loop, in a child."""

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from comfyui_ddim.executor import Executor, context
from comfyui_ddim.executor.context import Context, using


class Value:
    FUNCTION, CATEGORY, RETURN_TYPES = "work", "", ("INT",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {})}}

    def work(self, value):
        return (value,)


class Add(Value):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT", {}), "b": ("INT", {})}}

    def work(self, a, b):
        context.progress(1, 1)
        return (a + b,)


class Show(Value):
    OUTPUT_NODE, RETURN_TYPES = True, ()

    def work(self, value):
        return {"ui": {"value": [value], "folder": [str(context.current().output_dir)]}}


CLASSES = {"Value": Value, "Add": Add, "Show": Show}


def chain(length, start=0):
    prompt = {"0": {"class_type": "Value", "inputs": {"value": start}}}
    for i in range(1, length):
        prompt[str(i)] = {"class_type": "Add", "inputs": {"a": [str(i - 1), 0], "b": 1}}
    prompt["show"] = {"class_type": "Show", "inputs": {"value": [str(length - 1), 0]}}
    return prompt


def shown(result):
    assert result.succeeded, result
    return result.outputs["show"]


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("cache", ["classic", "lru", "none"])
def test_memory_is_flat_over_many_prompts(cache):
    """The first hundred may grow; the nine hundred after don't. benchmarks/load.py does ten thousand."""
    executor = Executor(CLASSES, cache=cache, cache_size=50)
    for i in range(1000):
        assert shown(executor.run(chain(10, i)))["value"] == [i + 9]
        if i == 100:
            gc.collect()
            before = resident()
    gc.collect()
    assert resident() - before < 2**20


def test_a_long_prompt():
    """No recursion, and no time that grows with the square: a chain as long as a workflow file may be a tenth of."""
    assert shown(Executor(CLASSES).run(chain(10_000)))["value"] == [9999]


def test_executors_in_two_threads():
    """Each with its own folders, classes, results and progress."""
    results, errors, meet = {}, [], threading.Barrier(4, timeout=60)

    def work(name):
        try:
            meet.wait()
            reported = []
            with using(Context(output_dir=Path(name))):
                executor = Executor(CLASSES)
                for i in range(30):
                    said = shown(executor.run(chain(20, i), on_event=lambda *event: reported.append(event)))
                    assert said == {"value": [i + 19], "folder": [name]}
            results[name] = sum(event == "progress" for event, _ in reported)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"out{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert len(set(results.values())) == 1 and len(results) == 4


def test_executors_in_one_event_loop():
    """Several at once, and the blocking call beside them in a thread of the loop's."""

    async def run(i):
        with using(Context(output_dir=Path(f"out{i}"))):
            return shown(await Executor(CLASSES).run_async(chain(20, i)))

    async def everything():
        blocking = asyncio.to_thread(lambda: shown(Executor(CLASSES).run(chain(20, 100))))
        return await asyncio.gather(*(run(i) for i in range(5)), blocking)

    *several, blocking = asyncio.run(everything())
    assert several == [{"value": [i + 19], "folder": [f"out{i}"]} for i in range(5)]
    assert blocking["value"] == [119]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_an_executor_in_a_forked_child():
    """In a process of one thread, as fork wants it, one that has run before and one that is new."""
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_load import CLASSES, chain, shown
from comfyui_ddim.executor import Executor
executor = Executor(CLASSES)
assert shown(executor.run(chain(20)))["value"] == [19]
child = os.fork()
if not child:
    assert shown(executor.run(chain(20, 1)))["value"] == [20]
    assert shown(Executor(CLASSES).run(chain(20, 2)))["value"] == [21]
    os._exit(0)
assert shown(executor.run(chain(20, 3)))["value"] == [22]
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


LIMITED = """
import resource, sys
from comfyui_ddim.cli import main
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) * 2**20, resource.RLIM_INFINITY))
sys.exit(main(["run", "big.json", "--quiet"]))
"""


@pytest.mark.parametrize("size", [4096, 16384])
def test_a_run_under_a_memory_limit_ends_in_a_line(size):
    """Four images that need 0.8 GiB at once, or 13, under 2.5 GiB of address space."""
    inputs = {"width": size, "height": size, "batch_size": 4, "color": 255}
    prompt = {"1": {"class_type": "EmptyImage", "inputs": inputs}}
    prompt["2"] = {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}}
    prompt["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "big.json").write_text(json.dumps(prompt))
        line = [sys.executable, "-c", LIMITED, "2560"]
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("comfyui-ddim: big.json: node ")
