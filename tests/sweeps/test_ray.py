"""Cells on a Ray of this machine, with two workers; skipped where Ray isn't installed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_nodes
from comfyui_ddim.sweeps.ledger import read_ledger
from sweep_kit import log, results, save, start

pytest.importorskip("ray")
KILLS = int(os.environ.get("SWEEP_RAY_KILLS", "2"))
"""Kills at random moments of the driver or of a worker; 100 for the figure in docs/sweeps.md."""
RAY = ("--ray", "--workers", "2")


def run(*arguments):
    process = start(*arguments, *RAY)
    out, err = process.communicate(timeout=900)
    return process.returncode, out, err


def processes():
    """Ids and command lines of all processes."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
                if (folder / "cwd").readlink() == Path.cwd():
                    yield int(folder.name), words
            except OSError:
                continue


def workers():
    """The process ids of this folder's Ray workers that make cells."""
    return [pid for pid, words in processes() if words.startswith("ray::RayWorker")]


def wait_for(question, seconds=120):
    """The first true answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := question():
            return answer
        time.sleep(0.05)
    raise AssertionError("it never came")


def entries():
    return list(read_ledger(Path("out/ledger.jsonl")))


def test_two_workers_make_what_one_process_makes(place):
    save(toy_nodes.adding(kind="picture", milliseconds=500))  # long enough for the second to come to life
    code, out, err = run("--over", "Add.seed=1..12")
    assert code == 0, err
    assert "12 of 12 cells done" in err and len(out.split()) == 12
    assert len({entry.node for entry in entries()}) == 2
    process = start("--over", "Add.seed=1..12", "--output", "local")
    process.communicate(timeout=900)

    def files(folder):
        return {path.relative_to(folder): path.read_bytes() for path in Path(folder, "cells").rglob("*.*")}

    assert files("out") == files("local")


def test_workers_have_as_many_threads_as_a_process_of_its_own(place):
    """Else the last bit of their pictures would be another one. Ray would give them one each."""
    save({"1": {"class_type": "ToyThreads", "inputs": {"seed": 1}}})
    code, _, err = run("--over", "1.seed=1..4")
    assert code == 0, err
    alone = subprocess.run([sys.executable, "-c", "import torch; print(torch.get_num_threads())"], capture_output=True)
    assert results() == dict.fromkeys("0123", int(alone.stdout))


def test_a_worker_killed_at_its_third_cell_costs_that_cell_only(place):
    save(toy_nodes.adding(milliseconds=60))
    process = start("--over", "Add.seed=1..20", *RAY)
    killed = []
    for _ in process.stdout:
        node = [entry.node for entry in entries()]
        full = [int(name.rpartition("/")[2]) for name in set(node) if node.count(name) >= 2]
        if full and not killed:
            os.kill(full[0], signal.SIGKILL)
            killed = full[:1]
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert killed and results() == {f"{seed - 1:02}": 3 + seed for seed in range(1, 21)}
    assert len(entries()) == len({entry.cell for entry in entries()}) == 20
    adds = [line for line in log() if line.startswith("add")]
    assert 20 <= len(adds) <= 21  # all once, and the one that was lost


def test_a_machine_that_goes_costs_its_cell_only(place):
    """Two raylets, each with one worker; one of them is killed, with all that it started."""
    from ray.cluster_utils import Cluster

    save(toy_nodes.adding(milliseconds=300))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.2")  # the driver joins at the first
        process = start("--over", "Add.seed=1..40", "--ray", cluster.address, "--workers", "2")
        wait_for(lambda: len({entry.node for entry in entries()}) == 2)
        cluster.remove_node(second, allow_graceful=False)
        at_the_time = len(entries())
        _, err = process.communicate(timeout=900)
        assert process.returncode == 0, err
        assert at_the_time < 40
        assert len(entries()) == len({entry.cell for entry in entries()}) == len(results()) == 40
        assert 40 <= sum(line.startswith("add") for line in log()) <= 41
    finally:
        cluster.shutdown()
        process.kill()


def test_workers_that_never_come_to_life_end_the_sweep_with_a_line(place):
    in_worker = "import os, sys\nif 'default_worker' in sys.argv[0]:\n    os.kill(os.getpid(), 9)\n"
    Path("dying.py").write_text(f"{in_worker}NODE_CLASS_MAPPINGS = {{}}\n")
    process = start("--over", "Add.seed=1..4", "--nodes", "dying.py", "--ray", "--workers", "1")
    _, err = process.communicate(timeout=900)
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith("comfyui-ddim: --ray: a worker can't start: ")


def test_a_cell_that_kills_its_workers_fails_and_so_does_one_that_raises(place):
    save(toy_nodes.adding(broken="kill3 5"))
    code, _, err = run("--over", "Add.seed=1..20")
    assert code == 1
    assert "failed: Add.seed=3: its worker died 3 times" in err
    assert 'failed: Add.seed=5: node 2 (ToyAdd "Add"): 5 is broken [RuntimeError]' in err
    assert len(results()) == 18


def test_results_come_back_where_the_folder_is_not_to_be_seen(place, monkeypatch):
    """Workers that don't find the driver's token send their files through Ray."""
    save(toy_nodes.adding(kind="picture"))
    script = (
        "import sys, pathlib\n"
        "from comfyui_ddim.sweeps import folder\n"
        "folder.SweepFolder.token = lambda self: pathlib.Path('/nowhere/token')\n"
        "from comfyui_ddim.cli import main\n"
        f"sys.exit(main(['sweep', 'w.json', '--nodes', {str(toy_nodes.PATH)!r}, '--over', 'Add.seed=1..6',"
        " '--output', 'out', '--quiet', '--ray', '--workers', '2']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert len(list(Path("out/cells").glob("*/number.png"))) == len(list(Path("out/thumbs").glob("*.webp"))) == 6
    assert json.loads(next(Path("out/cells").glob("0_*/workflow.json")).read_text())["2"]["inputs"]["seed"] == 1


def test_ctrl_c_ends_it_all(place):
    save(toy_nodes.adding(milliseconds=100))
    process = start("--over", "Add.seed=1..500", *RAY)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 130 and "Traceback" not in err
    assert err.rstrip().splitlines()[-1].endswith("of 500 cells done")
    wait_for(lambda: not list(workers()), 60)


def test_it_listens_on_this_machine_alone(place):
    save(toy_nodes.adding(milliseconds=100))
    process = start("--over", "Add.seed=1..500", *RAY)
    process.stdout.readline()
    try:
        ours = {pid for pid, words in processes()}
        open_ = listening(ours)
        assert open_ and open_ <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}, open_
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=900)


def listening(pids):
    """The addresses on which these processes and their children listen."""
    text = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    found = set()
    for line in text.splitlines():
        if any(f"pid={pid}," in line for pid in pids):
            found.add(line.split()[3].rpartition(":")[0].strip("[]"))
    return found


def test_killed_at_any_moment_nothing_is_lost_or_made_twice(place):
    """SIGKILL of the driver, SIGKILL of a worker, and SIGINT in turn."""
    cells = 200 if KILLS > 10 else 40
    save(toy_nodes.adding(milliseconds=100 if KILLS > 10 else 30))
    over = ("--over", f"Add.seed=1..{cells}", *RAY)
    recorded: set[str] = set()
    process, ways = None, ["worker", "driver", "interrupt"]
    for kill in range(KILLS):
        if process is None:
            process = start(*over)
            process.stdout.readline()
        time.sleep(random.random() * 0.2)
        way = ways[kill % 3]
        if way == "worker" and (alive := workers()):
            os.kill(random.choice(alive), signal.SIGKILL)
        else:
            process.send_signal(signal.SIGKILL if way == "driver" else signal.SIGINT)
            process.communicate(timeout=900)
            process = None
        made = [entry.cell for entry in entries()]
        assert len(made) == len(set(made)) and recorded <= set(made)
        recorded = set(made)
    print(f"{KILLS} kills, {len(recorded)} of {cells} cells by then")
    process = process or start(*over)
    process.communicate(timeout=900)
    assert process.returncode == 0
    made = [entry.cell for entry in entries()]
    assert len(made) == len(set(made)) == cells
    width = len(str(cells - 1))
    assert results() == {f"{seed - 1:0{width}}": 3 + seed for seed in range(1, cells + 1)}
