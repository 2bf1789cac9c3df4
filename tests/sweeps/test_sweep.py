"""Sweeps from the command line and from Python: cells, resuming, failures, kills."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import toy_nodes
from comfyui_ddim.cli import main
from comfyui_ddim.executor import WorkflowError
from comfyui_ddim.sweeps import sweep
from comfyui_ddim.sweeps.folder import SweepFolder
from comfyui_ddim.sweeps.ledger import read_ledger
from PIL import Image
from sweep_kit import log, results, save, start

KILLS = int(os.environ.get("SWEEP_KILLS", "4"))
"""Kills at random moments; 100 for the figure in docs/sweeps.md."""


def run(*arguments, output="out"):
    where = [] if output is None else ["--output", output]
    return main(["sweep", "w.json", "--nodes", str(toy_nodes.PATH), "--quiet", *where, *arguments])


SEEDS, FACTORS = ("--over", "Add.seed=1..4"), ("--over", "Add.factor=0, 1, 2")
EXPECTED = {f"{a}-{b}": 3 + (a + 1) * b for a in range(4) for b in range(3)}


def test_every_combination_is_a_cell(place, capsys):
    assert run(*SEEDS, *FACTORS) == 0
    assert results() == EXPECTED
    out = capsys.readouterr().out.split()
    assert out == [str(path) for path in sorted(Path("out/cells").glob("*/number.txt"))]
    entries = list(read_ledger(Path("out/ledger.jsonl")))
    assert [entry.state for entry in entries] == ["done"] * 12
    description = json.loads(Path("out/sweep.json").read_text())
    assert [axis["inputs"] for axis in description["axes"]] == [["Add.seed"], ["Add.factor"]]
    assert description["workflow"] == toy_nodes.adding() and description["versions"]["torch"]
    assert not Path("out/.running").exists()


def test_a_cell_carries_a_workflow_that_makes_it_again(place):
    assert run(*SEEDS, *FACTORS) == 0
    (cell,) = Path("out/cells").glob("2-1_*")
    assert main(["run", str(cell / "workflow.json"), "--nodes", str(toy_nodes.PATH), "--output", "again"]) == 0
    assert Path("again/number.txt").read_text() == (cell / "number.txt").read_text()


def test_the_common_beginning_is_computed_once(place):
    """However the axes are given, what changes more of the graph varies more slowly."""
    values = ("--over", "1.value=1..3")
    for order in ([*SEEDS, *values], [*values, *SEEDS]):
        shutil.rmtree("out", ignore_errors=True)
        assert run(*order) == 0
        lines = log()
        assert sum(line.startswith("number") for line in lines) == 3
        assert sum(line.startswith("add") for line in lines) == sum(line.startswith("write") for line in lines) == 12


@pytest.mark.parametrize("order", [1, -1])
def test_branches_of_their_own_are_each_computed_once(place, order):
    """Two axes that meet late: neither order makes the other branch wait in the latest prompt alone."""

    def add(number, seed):
        inputs = {"number": number, "seed": seed, "factor": 1.0, "milliseconds": 0, "broken": ""}
        return {"class_type": "ToyAdd", "inputs": inputs}

    def number():
        return {"class_type": "ToyNumber", "inputs": {"value": 0, "sign": "plus"}}

    prompt = {"1": number(), "2": add(["1", 0], 100), "4": number(), "5": add(["4", 0], 200)}
    prompt |= {"6": add(["2", 0], ["5", 0]), "3": toy_nodes.adding()["3"]}
    prompt["3"]["inputs"]["number"] = ["6", 0]
    save(prompt)
    axes = ["--over", "1.value=1..3"], ["--over", "4.value=10..13"]
    assert run(*axes[::order][0], *axes[::order][1]) == 0
    lines = log()
    starts = ("number", "add 100 ", "add 200 ", "add", "write")
    counts = [sum(line.startswith(start) for line in lines) for start in starts]
    assert counts == [3 + 4, 3, 4, 3 + 4 + 12, 12]
    assert sorted(results().values()) == sorted(a + 100 + b + 200 for a in range(1, 4) for b in range(10, 14))


def test_an_output_that_nothing_changes_is_in_every_cell(place):
    prompt = toy_nodes.adding()
    prompt["4"] = {"class_type": "ToyText", "inputs": {"text": "the same", "flag": True}}
    save(prompt)
    assert run(*SEEDS) == 0
    assert len(list(Path("out/cells").glob("*/text.txt"))) == 4


def test_going_on_makes_nothing_twice(place, capsys):
    assert run(*SEEDS) == 0
    log()
    before = {path: path.stat().st_mtime_ns for path in Path("out/cells").rglob("*")}
    assert run(*SEEDS) == 0
    assert log() == [] and {path: path.stat().st_mtime_ns for path in Path("out/cells").rglob("*")} == before
    assert "4 of 4 cells are done already" in capsys.readouterr().err


def test_cells_that_are_still_the_same_stay(place, capsys):
    assert run("--over", "Add.seed=1..3") == 0
    log()
    capsys.readouterr()
    assert run("--over", "Add.seed=0..2") == 0
    assert log() == ["number 3 plus", "add 0 1.0", "write 3"]
    assert results() == {"0": 3, "1": 4, "2": 5}
    err = capsys.readouterr().err
    assert "axis 'Add.seed=1..3' is no longer there" in err and "2 of 3 cells are done already" in err
    assert "1 cells that are no longer in the sweep were moved to out/earlier" in err
    assert run("--over", "Add.seed=1..3") == 0  # and come back
    assert log() == [] and results() == {"0": 4, "1": 5, "2": 6}


def test_a_changed_workflow_is_told(place, capsys):
    assert run("--over", "Add.seed=1, 2") == 0
    prompt = toy_nodes.adding()
    prompt["1"]["inputs"]["value"] = 5
    save(prompt)
    capsys.readouterr()
    assert run("--over", "Add.seed=1, 2") == 0
    assert 'node 1 (ToyNumber "Number, the first"), input value: 3 has become 5' in capsys.readouterr().err
    assert results() == {"0": 6, "1": 7}


def test_what_is_not_whole_is_made_again(place):
    assert run(*SEEDS) == 0
    log()
    (short,), (gone,) = Path("out/cells").glob("0_*"), Path("out/cells").glob("1_*")
    (short / "number.txt").write_text("")
    shutil.rmtree(gone)
    assert run(*SEEDS) == 0
    assert [line for line in log() if line.startswith("add")] == ["add 1 1.0", "add 2 1.0"]
    assert results() == {"0": 4, "1": 5, "2": 6, "3": 7}


def test_a_cell_that_was_not_recorded_counts(place):
    """The kill came between the cell's folder and its line; and a line that was cut off is none."""
    assert run(*SEEDS) == 0
    log()
    path = Path("out/ledger.jsonl")
    path.write_bytes(path.read_bytes()[:-40])
    assert run(*SEEDS) == 0
    assert log() == []
    assert len({entry.cell for entry in read_ledger(path)}) == 4


def test_a_half_written_picture_that_was_not_recorded_does_not_count(place):
    save(toy_nodes.adding(kind="picture"))
    assert run("--over", "Add.seed=1, 2") == 0
    log()
    (picture,) = Path("out/cells").glob("0_*/number.png")
    picture.write_bytes(picture.read_bytes()[:100])
    Path("out/ledger.jsonl").unlink()
    assert run("--over", "Add.seed=1, 2") == 0
    assert [line for line in log() if line.startswith("add")] == ["add 1 1.0"]


def test_random_values_are_drawn_once(place):
    assert run("--over", "Add.seed=random*3") == 0
    first = results()
    log()
    assert run("--over", "Add.seed=random*3") == 0
    assert log() == [] and results() == first
    (axis,) = json.loads(Path("out/sweep.json").read_text())["axes"]
    assert [step[0] + 3 for step in axis["values"]] == [first[at] for at in "012"]


def test_only_random_numbers_are_kept_from_an_earlier_call(place):
    """Not the lines of a file that happens to be called so."""
    save({"1": {"class_type": "ToyText", "inputs": {"text": "", "flag": False}}})
    for lines in ("one\n", "one\ntwo\n"):
        Path("random.txt").write_text(lines)
        assert run("--over", "1.text=@random.txt") == 0
    assert len(list(Path("out/cells").glob("*/text.txt"))) == 2


def test_other_options_than_before_are_told(place, capsys):
    assert run(*SEEDS) == 0
    assert run(*SEEDS, "--dtype", "bfloat16") == 0
    told = capsys.readouterr().err
    assert "--dtype: 'auto' has become 'bfloat16'; cells that are done stay as they are" in told
    assert "--device" not in told


# --- failures


def test_a_failed_cell_is_told_and_the_others_go_on(place, capsys):
    save(toy_nodes.adding(broken="2 4"))
    assert run(*SEEDS) == 1
    assert results() == {"0": 4, "2": 6}
    err = capsys.readouterr().err
    assert "comfyui-ddim: failed: Add.seed=2: node 2 (ToyAdd \"Add\"): 2 is broken [RuntimeError]" in err
    assert "2 cells failed" in err
    log()
    assert run(*SEEDS) == 1 and log() == []
    assert "2 failed earlier; --retry-failed runs them again" in capsys.readouterr().err
    assert run(*SEEDS, "--retry-failed") == 1
    assert [line for line in log() if line.startswith("add")] == ["add 2 1.0", "add 4 1.0"]


def test_fail_fast(place):
    save(toy_nodes.adding(broken="2"))
    assert run(*SEEDS, "--fail-fast") == 1
    assert results() == {"0": 4}


def test_one_sweep_at_a_time(place, capsys):
    with SweepFolder(Path("out")).taken():
        assert run(*SEEDS) == 2
    assert "out: another sweep is running in this folder" in capsys.readouterr().err
    assert not Path("out/ledger.jsonl").exists()
    assert run(*SEEDS) == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "w.json: nothing varies: expected at least one --over"),
        (["--over", "Add.seed=-1"], "input seed: -1 is smaller than the minimum of 0"),
        (["--over", "Nix.seed=1"], "no node 'Nix'"),
        (["--over", "Add.seed=1..1001"], "1001 cells: more than 1000 are run only with --yes"),
        (["--over", "Add.seed=1", "--workers", "2"], "--workers and --gpus-per-worker need --ray"),
        (["--over", "Add.seed=1", "--ray", "--workers", "0"], "--workers 0: expected 1 or more"),
        (["--over", "Add.seed=1", "--only", "2"], "nothing to run: there is no output node"),
    ],
)
def test_user_errors_get_one_line_and_nothing_is_written(place, capsys, arguments, line):
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1
    assert not Path("out").exists()


def test_an_output_folder_is_asked_for(place, capsys):
    assert run("--over", "Add.seed=1", output=None) == 2
    assert "--output is missing: expected a folder" in capsys.readouterr().err


def test_a_folder_of_something_else(place, capsys):
    Path("out").mkdir()
    Path("out/sweep.json").write_text("{}")
    assert run(*SEEDS) == 2
    assert "not the file of a sweep; choose another --output" in capsys.readouterr().err


def test_a_dry_run_runs_nothing(place, capsys):
    assert run(*SEEDS, *FACTORS, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == ["Add.seed: 4 values", "Add.factor: 3 values", "12 cells"]
    assert not Path("out").exists() and log() == []
    assert run("--over", "Add.seed=1, 2", "--over", "Add.factor=0, 1, 2") == 0
    capsys.readouterr()
    assert run(*FACTORS, *SEEDS, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "12 cells, 6 of them done"


def test_a_million_cells_are_checked(place, capsys):
    assert run("--over", "Add.seed=1..1000", "--over", "Add.factor=0..9.99 by 0.01", "--dry-run", output=None) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1000000 cells"


# --- results


def test_pictures_have_thumbnails(place):
    save(toy_nodes.adding(kind="picture"))
    assert run(*SEEDS) == 0
    for path in Path("out/cells").glob("*/number.png"):
        with Image.open(path) as picture, Image.open(f"out/thumbs/{path.parent.name.partition('_')[2]}.webp") as thumb:
            assert thumb.size == picture.size == (64, 48)


def test_a_workflow_that_only_shows_has_that_as_its_result(place):
    save(toy_nodes.adding(kind="none"))
    assert run(*SEEDS) == 0
    (cell,) = Path("out/cells").glob("1_*")
    assert json.loads((cell / "shown.json").read_text()) == {"3": {"number": [5]}}


def test_booleans_texts_and_tables(place):
    save({"1": {"class_type": "ToyText", "inputs": {"text": "", "flag": False}}})
    Path("t.csv").write_text('1.text,1.flag\n"a, b",on\nc,off\n')
    assert run("--rows", "t.csv") == 0
    assert sorted(path.read_text() for path in Path("out/cells").glob("*/text.txt")) == ["a, b|True", "c|False"]


# --- Python


def test_from_python(place):
    axes = {"Add.seed": range(1, 4), "Add.factor, 1.value": [(0, 5), (1.5, 6)]}
    cells = list(sweep(toy_nodes.adding(), axes, "out", nodes=toy_nodes.load))
    assert [cell.at for cell in cells] == [(a, b) for b in range(2) for a in range(3)]
    assert cells[3].values == {"Add.seed": 1, "Add.factor": 1.5, "1.value": 6}
    assert [int(cell.files[0].read_text()) for cell in cells[3:]] == [8, 9, 10]
    again = list(sweep(Path("w.json"), ["Add.seed=1..3"], "out2", nodes=toy_nodes.load))
    assert [cell.state for cell in again] == ["done"] * 3 and again[0].is_new
    known = list(sweep(Path("w.json"), ["Add.seed=1..3"], "out2", nodes=toy_nodes.load))
    assert not any(cell.is_new for cell in known)
    with pytest.raises(WorkflowError, match="no node 'Nix'"):
        sweep(toy_nodes.adding(), {"Nix.seed": [1]}, "out3", nodes=toy_nodes.load)


def test_leaving_the_loop_ends_the_sweep(place):
    running = sweep(Path("w.json"), ["Add.seed=1..5"], "out", nodes=toy_nodes.load)
    next(running), next(running)
    running.close()
    assert len(list(read_ledger(Path("out/ledger.jsonl")))) == 2
    rest = list(sweep(Path("w.json"), ["Add.seed=1..5"], "out", nodes=toy_nodes.load))
    assert [cell.is_new for cell in rest] == [False, False, True, True, True]


# --- ends of all kinds

needs_signals = pytest.mark.skipif(os.name == "nt", reason="no such signals")


@needs_signals
def test_ctrl_c_stops_and_says_so(place):
    save(toy_nodes.adding(milliseconds=200))
    process = start("--over", "Add.seed=1..500")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 130
    assert re.fullmatch(r"comfyui-ddim: stopped; \d+ of 500 cells done", err.rstrip().splitlines()[-1])
    assert "Traceback" not in err and not Path("out/.running").exists()


@needs_signals
def test_killed_at_any_moment_nothing_is_lost_or_made_twice(place):
    """SIGKILL and SIGINT in turn, at random moments; what had been recorded is never made again."""
    cells = 200 if KILLS > 10 else 60
    save(toy_nodes.adding(milliseconds=40 if KILLS > 10 else 10))
    recorded: set[str] = set()
    early = 0
    for kill in range(KILLS):
        process = start("--over", f"Add.seed=1..{cells}")
        if kill % 5 == 4:  # while it starts, or goes through what is there
            time.sleep(random.random() * 2)
        elif process.stdout.readline():  # it makes cells
            time.sleep(random.random() * 0.1)
        early += process.poll() is None
        process.send_signal(signal.SIGKILL if kill % 2 else signal.SIGINT)
        process.communicate(timeout=900)
        made = [entry.cell for entry in read_ledger(Path("out/ledger.jsonl"))]
        assert len(made) == len(set(made)) and recorded <= set(made)
        recorded = set(made)
    print(f"{early} of {KILLS} kills before the end, {len(recorded)} of {cells} cells by then")
    process = start("--over", f"Add.seed=1..{cells}")
    process.communicate(timeout=900)
    assert process.returncode == 0
    entries = [entry.cell for entry in read_ledger(Path("out/ledger.jsonl"))]
    assert len(entries) == len(set(entries)) == cells
    width = len(str(cells - 1))
    assert results() == {f"{seed - 1:0{width}}": 3 + seed for seed in range(1, cells + 1)}
    assert not list(Path("out").rglob("*.part"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs the right to mount")
def test_a_full_disk_ends_the_sweep_with_nothing_lost(place):
    Path("out").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", "out"], capture_output=True).returncode:
        pytest.skip("can't mount here")
    try:
        save(toy_nodes.adding(kind="picture"))
        process = start("--over", "Add.seed=1..500")
        _, err = process.communicate(timeout=900)
        assert process.returncode == 2 and "No space left on device" in err and err.count("\n") == 1
        done = [entry.cell for entry in read_ledger(Path("out/ledger.jsonl"))]
        assert 0 < len(done) < 500
        subprocess.run(["mount", "-o", "remount,size=20m", "out"], check=True)
        process = start("--over", "Add.seed=1..500")
        process.communicate(timeout=900)
        assert process.returncode == 0
        entries = [entry.cell for entry in read_ledger(Path("out/ledger.jsonl"))]
        assert entries[: len(done)] == done and len(entries) == len(set(entries)) == 500
        for path in Path("out/cells").glob("*/number.png"):
            with Image.open(path) as picture:
                picture.load()
    finally:
        subprocess.run(["umount", "-l", "out"], check=True)


def test_what_the_browser_puts_into_file_names_follows_the_cell(place):
    """`%Number.value%` is the cell's, as in a single run with --set; and the time doesn't make other cells of them."""

    def node(number, kind, widgets, inputs=(), outputs=(), **more):
        slots = [{"name": name, "type": type_, "link": link} for name, type_, link in inputs]
        made = [{"name": type_, "type": type_, "links": [link]} for type_, link in outputs]
        more |= {"id": number, "type": kind, "mode": 0, "widgets_values": widgets}
        return {"inputs": slots, "outputs": made, **more}

    nodes = [
        node(1, "ToyNumber", [3, "plus"], outputs=[("INT", 1)], title="Number"),
        node(2, "ToyWrite", ["none"], inputs=[("number", "INT", 1)]),
        node(3, "EmptyImage", [16, 16, 1, 0], outputs=[("IMAGE", 2)]),
        node(4, "SaveImage", ["n%Number.value%_%date:hhmmss%"], inputs=[("images", "IMAGE", 2)]),
    ]
    save({"nodes": nodes, "links": [[1, 1, 0, 2, 0, "INT"], [2, 3, 0, 4, 0, "IMAGE"]], "version": 0.4})
    assert run("--over", "Number.value=3..5") == 0
    found = {path.parent.name[0]: path.name[:3] for path in Path("out/cells").glob("*/*.png")}
    assert found == {"0": "n3_", "1": "n4_", "2": "n5_"}
    log()
    time.sleep(1.1)
    assert run("--over", "Number.value=3..5") == 0
    assert log() == []
