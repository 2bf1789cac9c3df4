"""Ctrl-C and SIGTERM: whenever they come, one line, exit code 130 or 143 for whoever waits, and no half file."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from comfyui_ddim import nodes
from comfyui_ddim.__main__ import run_process
from comfyui_ddim.cli import main
from PIL import Image
from safetensors.torch import load

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no signals to send")

ROUNDS = int(os.environ.get("KILL_ROUNDS", 1))
"""How often each kind of kill is tried; 6 make 324 kills."""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
PICTURES = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 256, "height": 256, "batch_size": 40, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "p"}},
}
LATENTS = {
    "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 2048, "height": 2048, "batch_size": 4}},
    **{
        str(i): {"class_type": "SaveLatent", "inputs": {"samples": ["1", 0], "filename_prefix": "l"}}
        for i in range(2, 42)
    },
}
MANY = {
    str(i): {"class_type": "EmptyImage", "inputs": {"width": i, "height": 8, "batch_size": 1, "color": 0}}
    for i in range(1, 5001)
}
SLOW = """
import time
class Slow:
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "work", "x", True
    @classmethod
    def INPUT_TYPES(cls): return {}
    def work(self):
        open("working.part", "w").close()
        time.sleep(100)
        return {}
NODE_CLASS_MAPPINGS = {"Slow": Slow}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    (folder / "pictures.json").write_text(json.dumps(PICTURES))
    (folder / "latents.json").write_text(json.dumps(LATENTS))
    (folder / "many.json").write_text(json.dumps(MANY))
    (folder / "old.json").write_text('"an older file"')
    (folder / "slow.py").write_text(SLOW)
    (folder / "slow.json").write_text('{"1": {"class_type": "Slow", "inputs": {}}}')
    return folder


class Told:
    """An audit hook that tells on a descriptor where the process gets to, so that a signal can be aimed there."""

    def __init__(self, descriptor):
        self.descriptor = descriptor

    def __call__(self, event, arguments):
        if event == "import":
            self.say(f"import {arguments[0]}")
        elif event in ("open", "os.link", "os.rename") and ".part" in str(arguments[0]):
            self.say(f"write {event}")
        elif event == "open" and arguments[0] == os.devnull:
            self.say("begin")  # the first file that is opened, when the command listens to signals

    def say(self, text):
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(self.descriptor, text.encode() + b"\n")


IN_PROCESS = """
import os, sys
from comfyui_ddim.__main__ import run_process
sys.path.insert(0, {folder!r})
def audit(event, arguments):
    if event == "import" or event == "open" and arguments[0] == os.devnull:
        os.write({descriptor}, ("import %s\\n" % arguments[0] if event == "import" else "begin\\n").encode())
sys.addaudithook(audit)
sys.exit(run_process())
"""


class Killed:
    """A command that was sent a signal at a moment: its exit code, and what it printed."""

    def __init__(self, place, arguments, signum, moment, again=False, forked=True):
        """`moment` is seconds from when the command listens, or the beginning of what it tells."""
        told, out, err = os.pipe(), os.pipe(), os.pipe()
        self.process = None
        if forked:
            pid = os.fork()
            if pid == 0:
                _become(place, arguments, told[1], out[1], err[1])
        else:
            code = IN_PROCESS.format(folder=str(place), descriptor=told[1])
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *arguments], cwd=place, stdout=out[1], stderr=err[1], pass_fds=[told[1]]
            )
            pid = self.process.pid
        for _, write in (told, out, err):
            os.close(write)
        with os.fdopen(told[0]) as said:
            wanted = "begin" if isinstance(moment, float) else moment
            self.hit = any(line.startswith(wanted) for line in said)
            if isinstance(moment, float):
                time.sleep(moment)
            for pause in (0, 0.01)[: 1 + again]:
                time.sleep(pause)
                _send(pid, signum)
            while said.read(4096):
                pass
        with os.fdopen(out[0]) as one, os.fdopen(err[0]) as other:
            self.out, self.err = one.read().splitlines(), other.read().splitlines()
        self.code = self.process.wait() if self.process else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _send(pid, signum):
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.kill(pid, signum)


def _become(place, arguments, told, out, err):
    """The command, in a fork of this process, which has imported everything: hundreds of kills in little time."""
    os.chdir(place)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    sys.argv = ["comfyui-ddim", *arguments]
    sys.addaudithook(Told(told))
    code = 99
    try:
        code = run_process()
        sys.stdout.flush()
    finally:
        os._exit(code)


@pytest.fixture(scope="module", autouse=True)
def imported(place):
    """Everything is imported, and no thread started, before the first fork."""
    torch.set_num_threads(1)
    assert nodes.STAND_IN_CLASS_MAPPINGS and main(["nodes", "SaveImage"]) == 0


def whole_files(folder):
    """The numbers of the pictures and latents there; all of them can be read to their end."""
    files = sorted([*folder.glob("*.png"), *folder.glob("*.latent")])
    for path in files:
        if path.suffix == ".latent":
            assert load(path.read_bytes())["latent_tensor"].shape == (4, 4, 256, 256)
            continue
        with Image.open(path) as image:
            image.load()
    return [int(path.stem.split("_")[1]) for path in files]


IMPORTS = ["import argparse", "import comfyui_ddim.executor.reading", "import numpy", "import torch", "import torch.nn",
           "import comfyui_ddim.nodes", "import PIL.Image", 0.01, 0.2]  # fmt: skip


@pytest.mark.parametrize("moment", IMPORTS if ROUNDS > 1 else ["import torch"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_while_it_is_importing(place, signum, moment):
    killed = Killed(place, ["run", "pictures.json", "--output", "none"], signum, moment, forked=False)
    assert killed.hit and (killed.code, killed.out, killed.err) == (CODES[signum], [], ["comfyui-ddim: stopped"])
    assert not (place / "none").exists()


def test_a_second_signal_ends_it_in_the_middle_of_a_node(place):
    killed = Killed(place, ["run", "slow.json", "--nodes", "slow.py"], signal.SIGINT, "write open", again=True)
    assert (killed.code, killed.err) == (130, ["comfyui-ddim: slow.json: stopped"])


@pytest.mark.parametrize("moment", ["write open", "write os.link", "at random"])
@pytest.mark.parametrize("signum", CODES, ids=lambda signum: signal.Signals(signum).name)
@pytest.mark.parametrize("what", ["pictures", "latents", "convert"])
def test_a_kill_leaves_whole_files_only(place, signum, what, moment):
    rng = random.Random(f"{signum} {what}")
    output = place / f"{what}{signum}{moment.replace(' ', '')}"
    if what == "convert" and moment == "write os.link":
        moment = "write os.rename"
    for _ in range(4 * ROUNDS if moment == "at random" else ROUNDS):
        (place / "old.json").write_text('"an older file"')
        arguments = ["run", f"{what}.json", "--quiet", "--output", output.name]
        if what == "convert":
            arguments = ["convert", "many.json", "-o", "old.json"]
        numbers = whole_files(output)
        at = rng.uniform(0, 1.0) if moment == "at random" else moment
        killed = Killed(place, arguments, signum, at)
        assert killed.code in (CODES[signum], 0) and (killed.hit or killed.code == 0)
        if killed.code == CODES[signum] and signum != signal.SIGKILL:
            assert len(killed.err) == 1 and killed.err[0].startswith("comfyui-ddim: ") and "stopped" in killed.err[0]
            assert not list(place.rglob(".*.part")), "what was half written is cleared away"
        if signum == signal.SIGKILL:
            for part in place.rglob(".*.part"):
                part.unlink()
        after = whole_files(output)
        assert after[: len(numbers)] == numbers and after == list(range(1, len(after) + 1))
        assert all((place / line).is_file() for line in killed.out)
        document = json.loads((place / "old.json").read_text())
        assert document == "an older file" or (what == "convert" and document == MANY)
        print("killed", what, signal.Signals(signum).name, at, killed.code)


def test_after_a_kill_the_next_run_numbers_on(place):
    arguments = ["run", "pictures.json", "--quiet", "--output", "next"]
    Killed(place, arguments, signal.SIGKILL, "write os.link")
    before = len(whole_files(place / "next"))
    whole = Killed(place, arguments, 0, 0.0)
    assert whole.code == 0 and whole_files(place / "next") == list(range(1, before + 41))
