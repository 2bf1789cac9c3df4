"""Disks that are full, folders that are read-only or vanish: a line each, exit code 2, and what could be saved is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

COMMAND = [sys.executable, "-m", "comfyui_ddim"]
IMAGE = {"class_type": "Colours", "inputs": {"number": 3}}
SAVE = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "p"}}
NODES = """
import shutil, torch
from pathlib import Path
class Colours:
    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "work", "x"
    @classmethod
    def INPUT_TYPES(cls): return {"required": {"number": ("INT", {"default": 3})}}
    def work(self, number): return (torch.rand(number, 256, 256, 3, generator=torch.Generator().manual_seed(0)),)
class Vanish(Colours):
    def work(self, number):
        shutil.rmtree("output")
        return super().work(number)
class Forbid(Colours):
    def work(self, number):
        shutil.rmtree("output")
        Path("output").write_text("a file")
        return super().work(number)
NODE_CLASS_MAPPINGS = {"Colours": Colours, "Vanish": Vanish, "Forbid": Forbid}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("COMFYUI_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("nodes.py").write_text(NODES)
    Path("output").mkdir()
    return tmp_path


def run(prompt, *arguments):
    """(exit code, lines on standard output, lines on standard error)"""
    Path("w.json").write_text(json.dumps(prompt))
    line = [*COMMAND, "run", "w.json", "--quiet", "--nodes", "nodes.py", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def assert_whole(files):
    for file in files:
        with Image.open(file) as picture:
            picture.load()


@pytest.fixture
def mounted(place):
    """`mounted(options)`: a file system of its own at `output`."""
    if os.name == "nt" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting takes root")

    def mount(*options):
        if subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", "output"], capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")

    yield mount
    subprocess.run(["umount", "output"], capture_output=True)


def test_a_disk_that_fills_up_keeps_what_was_saved(mounted):
    mounted("-o", "size=500k")  # a picture takes about 190 KiB
    code, _, err = run({"1": IMAGE, "2": SAVE})
    assert code == 2 and len(err) == 1 and err[0].endswith("No space left on device"), err
    files = sorted(Path("output").iterdir())
    assert [file.name for file in files] == ["p_00001_.png", "p_00002_.png"]
    assert_whole(files)
    code, _, err = run({"1": IMAGE, "2": SAVE})
    assert code == 2 and len(err) == 1
    assert sorted(Path("output").iterdir()) == files


def test_a_full_disk_keeps_the_older_file(mounted):
    mounted("-o", "size=40k")
    Path("output/old.json").write_text('"old"')
    many = {str(i): {"class_type": "Colours", "inputs": {"number": i}} for i in range(1000)}
    Path("many.json").write_text(json.dumps(many))
    line = [*COMMAND, "convert", "many.json", "-o", "output/old.json"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "No space left on device" in done.stderr
    assert Path("output/old.json").read_text() == '"old"'
    assert len(list(Path("output").iterdir())) == 1


def test_a_read_only_file_system_is_told_before_the_work(mounted):
    mounted("-o", "ro")
    for arguments in (["--output", "output"], ["--output", "output/below"], []):
        code, out, err = run({"1": IMAGE, "2": SAVE}, *arguments)
        assert (code, out) == (2, []) and len(err) == 1 and "can't be written to" in err[0], err


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_told_before_the_work(place):
    Path("output").chmod(0o500)
    code, out, err = run({"1": IMAGE, "2": SAVE}, "--output", "output")
    assert (code, out) == (2, []) and len(err) == 1 and "can't be written to" in err[0], err


def test_a_folder_that_is_deleted_during_the_run_is_made_again(place):
    code, out, err = run({"1": {**IMAGE, "class_type": "Vanish"}, "2": SAVE})
    assert (code, len(out), err) == (0, 3, [])
    assert_whole(out)


def test_a_folder_that_becomes_a_file_during_the_run_is_a_line(place):
    code, out, err = run({"1": {**IMAGE, "class_type": "Forbid"}, "2": SAVE})
    assert (code, out) == (2, []) and len(err) == 1 and err[0].startswith("comfyui-ddim: w.json: node 2 (SaveImage): ")
    assert "Errno" not in err[0] and "output" in err[0]


@pytest.mark.parametrize("target", ["gone/x.json", "output", "w.json/x", "x" * 300])
def test_a_place_that_cannot_be_written_to_is_a_line(place, target):
    Path("w.json").write_text(json.dumps({"1": IMAGE, "2": SAVE}))
    line = [*COMMAND, "convert", "w.json", "-o", target]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "can't be written" in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in place.iterdir()) == ["nodes.py", "output", "w.json"]
