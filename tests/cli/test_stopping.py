"""Ctrl-C and SIGTERM: whenever they come, one line, exit code 130 or 143 for whoever waits, and no half file."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no signals to send")

ROUNDS = int(os.environ.get("KILL_ROUNDS", 1))
"""How often each kind of kill is tried; with 13 there are over 200 kills, and all moments are tried."""

# Says when it gets somewhere, so that a signal can be aimed there: `import NAME` and `write NAME` on descriptor 3.
WATCHED = """
import os, sys, builtins
def say(text):
    try: os.write(3, text.encode() + b"\\n")
    except OSError: pass
def audit(event, args):
    if event == "import": say(f"import {args[0]}")
    elif event in ("open", "os.link", "os.rename") and ".part" in str(args[0]): say(f"write {event} {args[0]}")
from comfyui_ddim.__main__ import run_process
sys.addaudithook(audit)
sys.exit(run_process())
"""
BEGIN = "import comfyui_ddim.cli"  # by then the command listens; Python's own start, before it, is out of its hands
PICTURES = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 512, "height": 512, "batch_size": 40, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "p"}},
}
MANY = {
    str(i): {"class_type": "EmptyImage", "inputs": {"width": i, "height": 8, "batch_size": 1, "color": 0}}
    for i in range(1, 20001)
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    (folder / "pictures.json").write_text(json.dumps(PICTURES))
    (folder / "many.json").write_text(json.dumps(MANY))
    (folder / "old.json").write_text('"an older file"')
    return folder


def kill(place, arguments, signum, moment, again=False):
    """Run until `moment` (seconds from its first import, or the beginning of what the process says); then the signal.

    `(exit code, standard output, standard error)`; exit code None if it had ended before.
    """
    read, write = os.pipe()
    command = ["bash", "-c", 'exec 3>&"$0" && exec "$@"', str(write), sys.executable, "-c", WATCHED, *arguments]
    process = subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=[write]
    )
    os.close(write)
    with os.fdopen(read) as said:
        at = next((line for line in said if line.startswith(BEGIN if isinstance(moment, float) else moment)), None)
        if isinstance(moment, float):
            time.sleep(moment)
        before = process.poll()
        process.send_signal(signum)
        if again:
            time.sleep(0.01)
            process.send_signal(signum)
        while at is not None and said.readline():
            pass
    out, err = process.communicate(timeout=120)
    return (None if before is not None or at is None else process.returncode), out, err


def whole_pictures(folder):
    """All pictures there can be read to their end; their numbers."""
    pictures = sorted(folder.glob("*.png"))
    for picture in pictures:
        with Image.open(picture) as image:
            image.load()
    return [int(picture.stem.split("_")[1]) for picture in pictures]


MOMENTS = [
    0.0, 0.05, 0.3, "import comfyui_ddim.executor.reading", "import torch", "import torch.nn", "import numpy",
    "import PIL.Image", "import comfyui_ddim.nodes.core", "write open", "write os.link",
]  # fmt: skip
if ROUNDS == 1:
    MOMENTS = [0.05, "import torch", "write os.link"]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_at_a_moment(place, signum, moment):
    output = place / "aimed"
    for _ in range(max(1, ROUNDS // 2)):
        before = whole_pictures(output)
        arguments = ["run", "pictures.json", "--quiet", "--output", "aimed"]
        code, out, err = kill(place, arguments, signum, moment)
        assert code == CODES[signum], (code, err)
        assert len(err.splitlines()) == 1 and err.startswith("comfyui-ddim: ") and "stopped" in err, err
        numbers = whole_pictures(output)
        assert numbers[: len(before)] == before
        assert all((place / line).is_file() for line in out.splitlines())
        assert not list(output.glob(".*")), "what was half written is cleared away"


def test_a_second_signal_ends_it_in_the_middle_of_a_node(place):
    (place / "slow.py").write_text(
        "import time\nclass Slow:\n    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), 'work', 'x', True\n"
        "    @classmethod\n    def INPUT_TYPES(cls): return {}\n"
        "    def work(self):\n        open('working.part', 'w').close()\n        time.sleep(100)\n        return {}\n"
        "NODE_CLASS_MAPPINGS = {'Slow': Slow}\n"
    )
    (place / "slow.json").write_text('{"1": {"class_type": "Slow", "inputs": {}}}')
    arguments = ["run", "slow.json", "--nodes", "slow.py"]
    code, _, err = kill(place, arguments, signal.SIGINT, "write open working", again=True)
    assert (code, err) == (130, "comfyui-ddim: slow.json: stopped\n")


@pytest.mark.parametrize("signum", CODES, ids=lambda signum: signal.Signals(signum).name)
@pytest.mark.parametrize("what", ["pictures", "convert"])
def test_kills_at_random_leave_whole_files_only(place, signum, what):
    """Within the time that writing takes, from its first moment on."""
    rng = random.Random(f"{signum} {what}")
    output = place / f"random{signum}"
    for round_ in range(ROUNDS):
        if what == "convert":
            target = place / "old.json"
            before = target.read_text()
            arguments = ["convert", "many.json", "-o", "old.json"]
        else:
            arguments = ["run", "pictures.json", "--quiet", "--output", output.name]
        numbers = whole_pictures(output)
        moment = ["write open", "write os.", rng.uniform(0, 1.5), rng.uniform(0, 3.0)][round_ % 4]
        code, _, err = kill(place, arguments, signum, moment)
        if code is not None and code != 0:
            assert code == CODES[signum], err
            assert err == "" if signum == signal.SIGKILL else len(err.splitlines()) == 1, err
        if what == "convert":
            after = target.read_text()
            assert after == before or json.loads(after) == MANY
            target.write_text('"an older file"')
        else:
            after = whole_pictures(output)
            assert after[: len(numbers)] == numbers
            assert after == list(range(1, len(after) + 1)), "the next run numbers on"
