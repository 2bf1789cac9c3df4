"""The command line, from its arguments to its exit code, with a small node pack of our own."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from comfyui_ddim.cli import main
from PIL import Image, PngImagePlugin

PACK = '''
"""Toy nodes."""
import json
import time
from comfyui_ddim.executor import context

class Number:
    CATEGORY = "toy"
    RETURN_TYPES, FUNCTION = ("INT",), "work"
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 1, "min": 0, "max": 10, "tooltip": "How many."}),
                             "sign": (["plus", "minus"],)}}
    def work(self, value, sign):
        return (value if sign == "plus" else -value,)

class Count:
    RETURN_TYPES, FUNCTION = ("INT",), "work"
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"start": ("INT", {"forceInput": True}), "steps": ("INT", {"min": 1}), "seed": ("INT",)},
                "optional": {"noise": ("NOISE",)}}
    def work(self, start, steps, seed, noise=None):
        for i in range(steps):
            context.progress(i + 1, steps)
            if steps > 100:
                time.sleep(0.05)
        return (start + seed,)

class Write:
    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "work", True
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"number": ("INT", {"forceInput": True}), "name": ("STRING",)},
                "hidden": {"info": "EXTRA_PNGINFO"}}
    def work(self, number, name, info=None):
        if number == 13:
            raise ValueError("13 is unlucky,\\nexpected any other number")
        if number == 14:
            raise RuntimeError("out of luck")
        folder = context.current().output_dir
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"{number} {sorted(info or {})}")
        (folder / "info.json").write_text(json.dumps(info))
        return {"ui": {"texts": [{"filename": name, "subfolder": "", "type": "output"}]}}

NODE_CLASS_MAPPINGS = {"Number": Number, "Count": Count, "Write": Write}
NODE_DISPLAY_NAME_MAPPINGS = {"Write": "Write a file"}
'''


def counting(**changes):
    inputs = {"value": 3, "sign": "plus", "steps": 2, "seed": 5, "name": "out.txt", **changes}
    number = {"value": inputs["value"], "sign": inputs["sign"]}
    return {
        "1": {"class_type": "Number", "inputs": number, "_meta": {"title": "The number"}},
        "2": {"class_type": "Count", "inputs": {"start": ["1", 0], "steps": inputs["steps"], "seed": inputs["seed"]}},
        "3": {"class_type": "Write", "inputs": {"number": ["2", 0], "name": inputs["name"]}},
    }


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to be in, with a pack and a workflow."""
    monkeypatch.delenv("COMFYUI_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text(PACK)
    save(counting())
    return tmp_path


def save(prompt, name="w.json"):
    Path(name).write_text(json.dumps(prompt))


def run(*arguments, command="run"):
    return main([command, *arguments, "--nodes", "pack"])


def refused(capsys, code=2):
    """The one line on standard error; nothing on standard output, no file written."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert not Path("output").exists()
    lines = captured.err.rstrip("\n").split("\n")
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("comfyui-ddim: ")
    return lines[0].removeprefix("comfyui-ddim: ")


# --- run


def test_run_prints_the_paths_of_what_it_wrote(place, capsys):
    assert run("w.json") == 0
    captured = capsys.readouterr()
    assert captured.out == f"{Path('output', 'out.txt')}\n"
    assert "node 2 (Count)" in captured.err and "2/2" in captured.err  # the progress bar
    assert Path("output/out.txt").read_text() == "8 []"


def test_quiet_and_output_folder(place, capsys):
    assert run("w.json", "--quiet", "--output", "there") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (f"{Path('there', 'out.txt')}\n", "")


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("1.value=7", "12 []"),
        ("The number.value=7", "12 []"),
        ("1.sign=minus", "2 []"),
        ("2.start=20", "25 []"),  # a constant in place of a link
    ],
)
def test_set(place, setting, text):
    assert run("w.json", "--quiet", "--set", setting) == 0
    assert Path("output/out.txt").read_text() == text


def test_set_takes_everything_after_the_equal_sign(place):
    assert run("w.json", "--quiet", "--set", "3.name=a=b.txt") == 0
    assert Path("output/a=b.txt").exists()


def test_seed(place):
    assert run("w.json", "--quiet", "--seed", "100") == 0
    assert Path("output/out.txt").read_text() == "103 []"


def test_only(place, capsys):
    prompt = counting()
    inputs = {"number": ["1", 0], "name": "other.txt"}
    prompt["4"] = {"class_type": "Write", "inputs": inputs, "_meta": {"title": "Other"}}
    save(prompt)
    assert run("w.json", "--quiet", "--only", "Other") == 0
    assert capsys.readouterr().out == f"{Path('output', 'other.txt')}\n"
    assert run("w.json", "--quiet", "--only", "2") == 2
    assert "node 2 (Count) is not an output node" in capsys.readouterr().err


def test_several_files_are_all_checked_before_the_first_runs(place, capsys):
    save(counting(name="second.txt"), "second.json")
    assert run("w.json", "second.json", "--quiet") == 0
    assert capsys.readouterr().out.split() == [str(Path("output", "out.txt")), str(Path("output", "second.txt"))]
    save(counting(value=99), "second.json")
    assert run("w.json", "second.json", "--output", "nowhere") == 2
    assert not Path("nowhere").exists()


def test_standard_input(place, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(counting()).encode())))
    assert run("-", "--quiet") == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"nonsense")))
    assert run("-", "--quiet") == 2
    assert "standard input: neither JSON" in capsys.readouterr().err


def test_a_picture_that_carries_its_workflow(place):
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", json.dumps(counting()))
    info.add_text("workflow", json.dumps({"nodes": []}))
    Image.new("RGB", (4, 4)).save("picture.png", pnginfo=info)
    assert run("picture.png", "--quiet") == 0
    assert Path("output/out.txt").read_text() == "8 ['workflow']"  # it goes on into the next picture


def test_what_packs_print_stays_off_standard_output(place, capsys):
    loud = PACK.replace("import time", "import time\nprint('hello from the pack')", 1)
    loud = loud.replace("        folder = context", "        print('writing')\n        folder = context")
    (place / "pack" / "__init__.py").write_text(loud)
    assert run("w.json", "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.out == f"{Path('output', 'out.txt')}\n"
    assert captured.err.split("\n") == ["hello from the pack", "writing", ""]


def test_json_events(place, capsys):
    assert run("w.json", "--json", "--quiet") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["type"] for event in events] == [
        "execution_start", "execution_cached", "executing", "executing", "progress", "progress", "executing",
        "executed", "execution_success",
    ]  # fmt: skip
    assert events[4]["data"]["value"] == 1 and events[4]["data"]["max"] == 2
    assert events[7]["data"]["files"] == [str(Path("output", "out.txt"))]


# --- user errors: one line, exit code 2, nothing written

ONE = 'node 1 (Number "The number")'
TWO = {"start": ["1", 0], "steps": 1, "seed": 1}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"nonsense", "w.json: neither JSON"),
        (b"[1, 2]", "w.json: not a workflow"),
        (b"", "w.json: empty; expected a workflow"),
        (b"\x89PNG\r\n\x1a\n", "w.json: "),
        (b"[" * 100000, "w.json: nested too deeply"),
    ],
)
def test_files_that_are_no_workflow(place, capsys, content, line):
    Path("w.json").write_bytes(content)
    assert run("w.json") == 2
    assert refused(capsys).startswith(line)


def test_a_file_that_is_not_there(place, capsys):
    assert run("nowhere.json") == 2
    assert refused(capsys) == "nowhere.json: no such file"


@pytest.mark.parametrize(
    ("node_id", "change", "line"),
    [
        ("1", {"class_type": "Nonesuch"}, "node 1 \"The number\": unknown node class 'Nonesuch'"),
        ("1", {"class_type": 5}, "node 1"),
        ("1", {"inputs": {"value": 3}}, f"{ONE}, input sign: required, but missing"),
        ("1", {"inputs": {"value": 11, "sign": "plus"}}, f"{ONE}, input value: 11 is larger than the maximum of 10"),
        ("1", {"inputs": {"value": "x", "sign": "plus"}}, f"{ONE}, input value: 'x' is not of type INT"),
        (
            "1",
            {"inputs": {"value": 1, "sign": "minos"}},
            f"{ONE}, input sign: 'minos' is not one of plus, minus; did you mean 'minus'?",
        ),
        ("1", {"inputs": None}, f"{ONE}: has no inputs"),
        ("2", {"inputs": {**TWO, "steps": 0}}, "node 2 (Count), input steps: 0 is smaller than the minimum of 1"),
        ("2", {"inputs": {**TWO, "start": ["9", 0]}}, "node 2 (Count), input start: is linked to node 9, which"),
        ("2", {"inputs": {**TWO, "start": ["1", 7]}}, "node 2 (Count), input start: is linked to output 7 of"),
        ("2", {"inputs": {**TWO, "start": ["3", 0]}}, "node 2 (Count), input start: "),
        ("2", {"inputs": {**TWO, "start": ["2", 0]}}, "node 2 (Count): depends on itself"),
        ("3", {"inputs": {"number": [1], "name": "x"}}, "node 3 (Write), input number: [1] is not a link"),
    ],
)
def test_faulty_nodes(place, capsys, node_id, change, line):
    prompt = counting()
    prompt[node_id].update(change)
    save(prompt)
    assert run("w.json") == 2
    assert refused(capsys).startswith(f"w.json: {line}")


def test_wrong_type_on_a_link(place, capsys):
    prompt = counting()
    prompt["3"]["inputs"]["number"] = ["4", 1]
    prompt["4"] = {"class_type": "DDIMLoadModel", "inputs": {"ckpt_name": "ddim-scenes.safetensors"}}
    save(prompt)
    assert run("w.json") == 2
    assert refused(capsys) == (
        "w.json: node 3 (Write), input number: expected INT, but output 1 of node 4 (DDIMLoadModel) gives CLIP"
    )


def test_no_output_node(place, capsys):
    save({"1": counting()["1"]})
    assert run("w.json") == 2
    assert refused(capsys) == "w.json: nothing to run: there is no output node, such as SaveImage"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--set", "nonsense"], "w.json: --set nonsense: expected NODE.INPUT=VALUE"),
        (["--set", "9.value=1"], "w.json: --set 9.value=1: no node '9'; there are 1 (The number), 2 (Count),"),
        (["--set", "1.height=1"], "w.json: --set 1.height=1: Number has no input 'height'; it has value, sign"),
        (["--set", "1.value=many"], "w.json: --set 1.value=many: 'many' is not an INT"),
        (
            ["--set", "1.value=11"],
            'w.json: node 1 (Number "The number"), input value: 11 is larger than the maximum of 10',
        ),
        (["--only", "9"], "w.json: no node '9'"),
        (["--set", "2.noise=1"], "w.json: --set 2.noise=1: expected a link: only another node can give a NOISE"),
        (["--nodes", "nowhere"], "--nodes nowhere: expected a folder with an __init__.py"),
        (["--output", "w.json"], "--output w.json: w.json is a file, expected a folder"),
        (["--output", "w.json/out"], "--output w.json/out: "),
        (["--device", "tpu"], "--device tpu: expected auto, cpu, cuda, cuda:1, mps ..."),
        (["--device", "xpu:7"], "--device xpu:7: torch "),
        (["--device", "cuda"], "--engine openvino: runs on the CPU, not on --device cuda"),
        (["--dtype", "float16"], "--engine openvino: computes in float32 or bfloat16, not in --dtype float16"),
        (["--comfyui", "x"], "--engine openvino: ComfyUI's own nodes, which --comfyui brings, compute with torch"),
    ],
)
def test_bad_options(place, capsys, arguments, line):
    engine = ["--engine", "openvino"] if "openvino" in line else []
    assert run("w.json", *arguments, *engine) == 2
    assert refused(capsys).startswith(line)


def test_an_engine_that_is_not_installed(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert run("w.json", "--engine", "openvino") == 2
    assert refused(capsys) == (
        '--engine openvino: OpenVINO isn\'t installed: pip install "comfyui-ddim[openvino]"'
    )


BAD_CACHES = [
    ["--cache", "big"],
    ["--cache-lru", "0"],
    ["--cache-lru", "1.5"],
    ["--cache-lru", "many"],
    ["--cache-lru"],
    ["--cache-ram", "-1"],
    ["--cache-ram", "nan"],
    ["--cache-none", "--cache", "lru"],
]


@pytest.mark.parametrize("arguments", [["--seed", "x"], ["--colour"], *BAD_CACHES])
def test_options_that_cannot_be_parsed(place, capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        run("w.json", *arguments)
    assert exit_.value.code == 2
    assert arguments[0] in refused(capsys)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ([], 0),
        (["--cache", "classic"], 0),
        (["--cache-classic"], 0),
        (["--cache", "lru"], 3),
        (["--cache-lru", "6"], 3),
        (["--cache-lru", "1"], 0),
        (["--cache", "none"], 0),
        (["--cache-none"], 0),
        (["--cache", "ram"], 3),
        (["--cache-ram"], 3),
        (["--cache-ram", "0.001"], 3),
        (["--cache-ram", "1e6"], 0),
    ],
)
def test_what_is_kept_for_a_file_that_comes_again(place, capsys, options, kept):
    if "ram" in " ".join(options):
        pytest.importorskip("psutil")
    save(counting(value=8, seed=9, name="other.txt"), "other.json")
    assert run("w.json", "other.json", "w.json", "--json", *options) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    cached = [len(event["data"]["nodes"]) for event in events if event["type"] == "execution_cached"]
    assert cached == [0, 0, kept]


def test_memory_that_nobody_can_tell(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)  # as if it weren't installed
    assert run("w.json", "--cache-ram") == 2
    assert refused(capsys) == '--cache-ram: cache "ram" needs the package psutil, to know how much memory is free'


def test_streams_that_are_closed_or_full(place):
    line = [sys.executable, "-m", "comfyui_ddim", "convert"]
    for arguments, code, fault in [
        (["-", "0<&-"], 2, "comfyui-ddim: standard input: empty; expected a workflow\n"),
        (["w.json", "1>&-"], 0, ""),
        (["w.json", "1>/dev/full"], 2, "comfyui-ddim: the output can't be written: No space left on device\n"),
    ]:
        done = subprocess.run(" ".join([*line, *arguments]), shell=True, stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr) == (code, fault)


def test_check_goes_on_after_a_file_that_it_cannot_read(place, capsys):
    save({"1": {"class_type": "Nonesuch"}}, "bad.json")
    Path("folder").mkdir()
    assert run("gone.json", "folder", "bad.json", "w.json", command="check") == 2
    assert capsys.readouterr().out.splitlines() == [
        "gone.json: no such file",
        "folder: can't be read: Is a directory",
        "bad.json: node 1: unknown node class 'Nonesuch'",
    ]


def test_a_title_that_two_nodes_have(place, capsys):
    prompt = counting()
    prompt["2"]["_meta"] = {"title": "The number"}
    save(prompt)
    assert run("w.json", "--set", "The number.value=1") == 2
    assert "2 nodes are called 'The number': choose one by its id, 1, 2" in refused(capsys)


def test_a_pack_that_cannot_be_loaded(place, capsys):
    (place / "pack" / "__init__.py").write_text("import no_such_module")
    assert run("w.json") == 2
    assert refused(capsys) == (
        "--nodes pack: can't be loaded: ModuleNotFoundError: No module named 'no_such_module'"
    )


# --- failures while running


def test_a_value_that_a_node_refuses_is_the_user_s(place, capsys):
    assert run("w.json", "--quiet", "--seed", "10") == 2
    assert refused(capsys) == "w.json: node 3 (Write): 13 is unlucky, expected any other number"


def test_a_broken_node_is_not_and_debug_shows_where(place, capsys):
    assert run("w.json", "--quiet", "--seed", "11") == 1
    assert refused(capsys) == "w.json: node 3 (Write): out of luck [RuntimeError] (--debug shows the traceback)"
    assert run("w.json", "--quiet", "--seed", "11", "--debug") == 1
    assert "raise RuntimeError" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to send")
def test_ctrl_c_stops_at_the_next_step_and_exits_130(place):
    save(counting(steps=100000))
    code = "import sys; from comfyui_ddim.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "w.json", "--nodes", "pack", "--json"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if '"progress"' in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)  # the run would take over an hour
    assert process.returncode == 130
    assert err.rstrip().split("\n")[-1] == "comfyui-ddim: w.json: stopped at node 2 (Count)"
    assert "Traceback" not in err
    assert not Path("output").exists()


# --- the other commands


def test_check_lists_all_faults(place, capsys):
    save(counting(value=11, steps=0), "bad.json")
    assert run("w.json", command="check") == 0
    assert capsys.readouterr().out == ""
    assert run("w.json", "bad.json", command="check") == 2
    assert [line.partition(",")[0] for line in capsys.readouterr().out.splitlines()] == [
        'bad.json: node 1 (Number "The number")',
        "bad.json: node 2 (Count)",
    ]


def test_check_lists_all_unknown_classes_and_their_packs(place, capsys):
    prompt = counting()
    prompt["1"]["class_type"] = "Nope"
    prompt["3"] |= {"class_type": "Neither", "_meta": {"title": "Save it", "cnr_id": "some-pack"}}
    save(prompt)
    assert run("w.json", command="check") == 2
    assert capsys.readouterr().out.splitlines() == [
        "w.json: node 1 \"The number\": unknown node class 'Nope'",
        "w.json: node 3 \"Save it\": unknown node class 'Neither', from some-pack",
    ]


def test_show(place, capsys):
    assert run("w.json", command="show") == 0
    assert capsys.readouterr().out.splitlines() == [
        '1  Number  "The number"',
        "     value  = 3   (INT, 0 to 10)",
        "     sign   = 'plus'   (one of plus, minus)",
        "2  Count",
        "     start  <- 1 The number, output 0",
        "     steps  = 2   (INT)",
        "     seed   = 5   (INT)",
        "3  Write",
        "     number  <- 2 Count, output 0",
        "     name    = 'out.txt'   (STRING)",
    ]


BROWSER = {
    "nodes": [
        {"id": 1, "type": "Number", "mode": 0, "outputs": [{"name": "INT", "type": "INT", "links": [1]}],
         "widgets_values": [4, "minus"]},
        {"id": 3, "type": "Write", "mode": 0, "inputs": [{"name": "number", "type": "INT", "link": 1}],
         "widgets_values": ["from_browser.txt"]},
    ],
    "links": [[1, 1, 0, 3, 0, "INT"]],
    "version": 0.4,
}  # fmt: skip


def test_convert(place, capsys):
    save(BROWSER, "b.json")
    assert run("b.json", command="convert") == 0
    converted = json.loads(capsys.readouterr().out)
    assert {node_id: (node["class_type"], node["inputs"]) for node_id, node in converted.items()} == {
        "1": ("Number", {"value": 4, "sign": "minus"}),
        "3": ("Write", {"name": "from_browser.txt", "number": ["1", 0]}),
    }
    assert run("b.json", "-o", "prompt.json", command="convert") == 0
    assert json.loads(Path("prompt.json").read_text()) == converted


def test_convert_with_the_definitions_of_a_server(place, capsys):
    assert main(["object-info", "--nodes", "pack"]) == 0
    Path("info.json").write_text(capsys.readouterr().out)
    save(BROWSER, "b.json")
    assert main(["convert", "b.json", "--object-info", "info.json"]) == 0
    assert json.loads(capsys.readouterr().out)["1"]["inputs"] == {"value": 4, "sign": "minus"}
    Path("info.json").write_text("{}x")
    assert main(["convert", "b.json", "--object-info", "info.json"]) == 2
    assert refused(capsys).startswith("info.json: can't be read as JSON")


def test_run_what_the_browser_saved(place, capsys):
    save(BROWSER, "b.json")
    assert run("b.json", "--quiet", "--set", "Number.sign=plus") == 0
    assert Path("output/from_browser.txt").read_text() == "4 ['workflow']"


@pytest.mark.parametrize(
    ("setting", "widgets"),
    [
        ("1.value=9", [[9, "minus"], ["from_browser.txt"]]),
        ("3.name=b.txt", [[4, "minus"], ["b.txt"]]),
        ("3.number=5", None),  # it is linked there: the browser's form has no place for the value
    ],
)
def test_the_workflow_in_a_picture_says_what_was_run(place, setting, widgets):
    save(BROWSER, "b.json")
    assert run("b.json", "--quiet", "--set", setting) == 0
    info = json.loads(Path("output/info.json").read_text())
    assert (info and [node["widgets_values"] for node in info["workflow"]["nodes"]]) == widgets


def test_the_workflow_in_a_picture_says_it_by_name_too(place):
    """As front end 1.49 saves the values of widgets: in a list, and by name beside it."""
    number, write = BROWSER["nodes"]
    save(BROWSER | {"nodes": [number | {"widgets_values_named": {"value": 4, "sign": "minus"}}, write]}, "b.json")
    assert run("b.json", "--quiet", "--set", "1.value=9") == 0
    saved = json.loads(Path("output/info.json").read_text())["workflow"]["nodes"][0]
    assert saved["widgets_values"] == [9, "minus"] and saved["widgets_values_named"] == {"value": 9, "sign": "minus"}


def test_nodes(place, capsys):
    assert run("Number", command="nodes") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Number  Number  [toy]",
        "  value: INT, 0 to 10; default 1",
        "      How many.",
        "  sign: one of plus, minus",
        "  -> 0 INT",
    ]
    assert run(command="nodes") == 0
    assert any(line.split() == ["Write", "Write", "a", "file", "[sd]"] for line in capsys.readouterr().out.splitlines())
    assert run("Numbre", command="nodes") == 2
    assert refused(capsys) == "no node class 'Numbre'; did you mean Number?"


@pytest.mark.parametrize("command", ["run", "check", "show", "convert", "nodes", "object-info"])
def test_every_command_has_help_with_examples(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"comfyui-ddim {command}" in capsys.readouterr().out.partition("examples:")[2]
