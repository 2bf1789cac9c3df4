"""Damaged workflows of both forms through every command: a result, or one line and exit code 2; nothing else, ever.

No traceback, no exit code 1, not 10 seconds of work, not 1 GiB more memory. FUZZ_EXAMPLES=10000 tries that many.
"""

import copy
import io
import json
import os
import re
import resource
import signal
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch
from comfyui_ddim.cli import main
from comfyui_ddim.cli.examples import EXAMPLES, FOLDER
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no limit on processor time there")

EXAMPLES_IN_ALL = int(os.environ.get("FUZZ_EXAMPLES", 100))
SHARES = {"check": 0.35, "show": 0.15, "convert": 0.2, "run": 0.25, "options": 0.05}
SECONDS, BYTES = 10, 2**30
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# Not the largest values that are allowed: a picture of 16384 x 16384 takes its time and memory by right.
texts = st.sampled_from(
    ["", " ", "\0", "\n", "\ud800", "\x1b[31m", "..", "../x", "/etc/passwd", "a\\b", "~", "%date:yyyy%", "%A.b%", "nan",
     "1e999", "{a|b", "((a:1.5)", "embedding:x", "0: 1, 1: ", "u ** u", "x" * 5000, "(" * 300, "true", "1", "SaveImage",
     "None", "DDIMSampler", "MODEL", "*", "INT", "ddim-scenes.safetensors"]
)  # fmt: skip
numbers = st.sampled_from(
    [-1, 0, 1, 2, 3, 8, 64, 2**31, 2**53, 2**64, -(2**70), 0.5, -0.0, 1e300, float("nan"), float("inf")]
)
junk = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def places(document):
    """Every container in a document with each of its keys."""
    found, pending = [], [document]
    while pending:
        container = pending.pop()
        for key, inner in list(container.items() if isinstance(container, dict) else enumerate(container)):
            found.append((container, key))
            if isinstance(inner, dict | list):
                pending.append(inner)
    return found


def said(arguments):
    """(exit code, standard output, standard error) of a command, within the limits."""
    out, err = io.StringIO(), io.StringIO()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert more < BYTES, f"{more} bytes more: {arguments}"
    return code, out.getvalue(), err.getvalue()


class TooLong(BaseException):
    """More than 10 seconds of processor time."""


def _too_long(signum, frame):
    raise TooLong


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to be in for the module, with every shipped workflow in both forms, at two steps."""
    folder, before = tmp_path_factory.mktemp("fuzz"), Path.cwd()
    os.environ.pop("COMFYUI_DIR", None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other count as processor time
    os.chdir(folder)
    yield folder
    os.chdir(before)
    torch.set_num_threads(threads)


def at_two_steps(document, names):
    """A workflow of the editor whose samplers make two steps."""
    for node in document["nodes"]:
        widgets = [slot["name"] for slot in node.get("inputs", ()) if slot.get("widget")]
        if "steps" in widgets:
            values = node["widgets_values"]
            at = next(i for i, value in enumerate(values) if value in names)
            values[at] = 2
    return document


@pytest.fixture(scope="module")
def seeds(place):
    """Documents to damage: browser and API form of all shipped workflows."""
    found = []
    for name in EXAMPLES:
        document = json.loads((FOLDER / f"{name}.json").read_text())
        Path("seed.json").write_text(json.dumps(document))
        code, out, err = said(["convert", "seed.json"])
        assert code == 0, err
        prompt = json.loads(out)
        steps = {node["inputs"]["steps"] for node in prompt.values() if isinstance(node["inputs"].get("steps"), int)}
        for node in prompt.values():
            if "steps" in node["inputs"]:
                node["inputs"]["steps"] = 2
        found += [at_two_steps(document, steps), prompt]
    return found


@st.composite
def damages(draw):
    """What is done to a document: (which, where, how, with what), to be applied by `damaged`."""
    change = st.tuples(st.floats(0, 1), st.sampled_from(["junk", "drop", "double", "swap"]), st.floats(0, 1), junk)
    return draw(st.floats(0, 1)), draw(st.lists(change, min_size=1, max_size=4))


def pick(things, share):
    return things[min(int(share * len(things)), len(things) - 1)]


def damaged(seeds, damage):
    which, changes = damage
    document = copy.deepcopy(pick(seeds, which))
    for where, how, other, value in changes:
        spots = places(document)
        if not spots:
            break
        container, key = pick(spots, where)
        if how == "junk":
            container[key] = value
        elif how == "drop":
            del container[key]
        elif how == "double" and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        else:
            source, its_key = pick(spots, other)
            container[key] = copy.deepcopy(source[its_key])
    return document


def assert_fine(arguments, code, out, err):
    assert code in (0, 2), (arguments, code, err)
    assert "Traceback" not in err and "defect" not in err, err
    assert STEERING.search(out + err) is None, ascii(out + err)
    if code == 2 and arguments[0] != "check":
        assert err.splitlines()[-1].startswith("comfyui-ddim: "), err
        assert out == "" or arguments[0] in ("show", "run")
    if code == 2 and arguments[0] == "check":
        assert all(line.startswith("w.json: ") for line in out.splitlines()) and out


def limited(share):
    count = max(3, int(EXAMPLES_IN_ALL * share))
    return settings(
        max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), derandomize=count < 1000
    )


@pytest.mark.parametrize("command", ["check", "show", "convert", "run"])
def test_damaged_workflows(place, seeds, command):
    @limited(SHARES[command])
    @given(damages())
    def tried(damage):
        Path("w.json").write_text(json.dumps(damaged(seeds, damage)))
        arguments = [command, "w.json", *(["--quiet"] if command == "run" else [])]
        assert_fine(arguments, *said(arguments))

    tried()


OPTIONS = "--set --set --set --set --only --seed --quality --format --device --cache --nodes --models --input".split()


def test_odd_options(place, seeds):
    inputs = ["3.width=", "4.steps=", "DDIM Sampler.cfg=", "6.filename_prefix=", "1.ckpt_name=", "x.y=", "", "4."]
    option = st.tuples(st.sampled_from(OPTIONS), st.sampled_from(inputs), junk.map(str) | numbers.map(str))

    @limited(SHARES["options"])
    @given(st.lists(option, min_size=1, max_size=3))
    def tried(options):
        Path("w.json").write_text(json.dumps(seeds[1]))
        arguments = ["run", "w.json", "--quiet"]
        for name, start, text in options:
            arguments += [name, start + text if name == "--set" else text]
        assert_fine(arguments, *said(arguments))

    tried()


