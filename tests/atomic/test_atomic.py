"""Files written whole or not at all: after each failure and each kill, what is there is an old file or a new one."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from comfyui_ddim import atomic
from comfyui_ddim.atomic import replacing, write_numbered, write_whole

ROOT = Path(__file__).parents[2]
SIZE = 300_000
KILLS = int(os.environ.get("KILLS", "12"))
"""Kills at random moments; 200 for the figure in docs/reliability.md."""


def leftovers(folder):
    return [path for path in folder.iterdir() if path.suffix == ".part"]


def test_a_file_is_replaced_with_its_mode(tmp_path):
    path = tmp_path / "file"
    write_whole(path, b"one")
    path.chmod(0o604)
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o604
    assert not leftovers(tmp_path)


def test_a_link_stays_a_link(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to(path)
    write_whole(link, b"text")
    assert link.is_symlink()
    assert path.read_bytes() == b"text"


def test_what_is_no_regular_file_is_written_to(tmp_path):
    write_whole(Path(os.devnull), b"text")
    assert not Path(os.devnull).is_file()
    with pytest.raises(OSError, match="No space left"):
        write_whole(Path("/dev/full"), b"text")


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as part:
        part.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert not leftovers(tmp_path)


def test_a_name_as_long_as_names_can_be(tmp_path):
    write_whole(tmp_path / ("a" * 255), b"text")
    assert write_numbered(b"text", lambda n: tmp_path / f"{'b' * 254}{n}", 1) == 1


@pytest.mark.parametrize("write", ["write_whole", "write_numbered"])
def test_a_full_disk_leaves_nothing_and_loses_nothing(tmp_path, write):
    """A limit on the size of files stands for the full disk: the write stops half-way, with an error."""
    old = tmp_path / "1"
    old.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, before[1]))
        with pytest.raises(OSError, match="too large"):
            if write == "write_whole":
                write_whole(old, bytes(SIZE))
            else:
                write_numbered(bytes(SIZE), lambda n: tmp_path / str(n), 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert old.read_bytes() == b"old"


def count_up(folder):
    return [write_numbered(str(os.getpid()).encode(), lambda n: folder / str(n), 1) for _ in range(20)]


@pytest.mark.parametrize("links", [True, False])
def test_numbers_are_never_given_twice(tmp_path, monkeypatch, links):
    """Four processes count in one folder, also where the file system has no links."""
    if not links:
        monkeypatch.setattr(atomic.os, "link", refuse)  # the workers are forks, and have it too
    with ProcessPoolExecutor(4) as pool:
        numbers = sorted(n for taken in pool.map(count_up, [tmp_path] * 4) for n in taken)
    assert numbers == list(range(1, 81))
    assert {path.name for path in tmp_path.iterdir()} == {str(n) for n in numbers}


def refuse(*paths):
    raise PermissionError(1, "Operation not permitted")


# Writes files of one letter each, for ever, over an old one and under new numbers; dies before its n-th file operation.
WRITER = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from atomic import write_numbered, write_whole
folder, left = Path(sys.argv[1]), int(sys.argv[2])
def watch(event, arguments):
    global left
    if event in ("open", "os.link", "os.rename", "os.remove", "os.chmod"):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
print("ready", flush=True)
for turn in range(10**9):
    data = bytes([97 + turn % 26]) * {SIZE}
    write_whole(folder / "kept", data)
    write_numbered(data, lambda n: folder / f"file_{{n}}", 1)
"""


def writer(folder, kill_at):
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(kill_at)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    return child


def check_whole(folder):
    """The old file is there, every file is whole, and the numbers have no gap."""
    files = [path for path in folder.iterdir() if path.suffix != ".part"]
    for path in files:
        content = path.read_bytes()
        assert len(content) == SIZE, (path, len(content))
        assert len(set(content)) == 1
    assert folder / "kept" in files
    assert {path.name for path in files} == {"kept", *(f"file_{n}" for n in range(1, len(files)))}


def test_a_kill_before_any_file_operation_leaves_whole_files(tmp_path):
    (tmp_path / "kept").write_bytes(b"o" * SIZE)
    for kill_at in range(1, 25):  # two rounds and more, of all that the two ways of writing do
        child = writer(tmp_path, kill_at)
        assert child.wait(60) == -signal.SIGKILL
        check_whole(tmp_path)
    assert len(list(tmp_path.glob("file_*"))) > 10  # the next run numbered on


def test_kills_at_random_moments_leave_whole_files(tmp_path):
    (tmp_path / "kept").write_bytes(b"o" * SIZE)
    rng = random.Random(0)
    for _ in range(KILLS):
        child = writer(tmp_path, 0)
        time.sleep(rng.random() * 0.1)
        child.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        try:
            child.wait(60)
        finally:
            child.kill()
        check_whole(tmp_path)
