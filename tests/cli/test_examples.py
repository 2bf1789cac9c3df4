"""The shipped workflows from an installed package, picture formats, seeds, previews: what people ask of `run`."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from comfyui_ddim.cli import main
from comfyui_ddim.cli.examples import EXAMPLES, FOLDER
from comfyui_ddim.executor.reading import read_workflow
from PIL import Image

SMALL = ("--set", "DDIM Sampler.steps=2", "--quiet")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("COMFYUI_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys, code, *arguments):
    """(lines on standard output, lines on standard error)"""
    assert main([*map(str, arguments)]) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    return out.splitlines(), err.splitlines()


# --- examples


def test_every_shipped_workflow_is_listed(place, capsys):
    assert {path.stem for path in FOLDER.glob("*.json")} == set(EXAMPLES)
    out, err = said(capsys, 0, "examples")
    table = (FOLDER.parent / "docs" / "workflows.md").read_text()
    assert [" | ".join(line.split(maxsplit=1)) for line in out] == re.findall(r"^\| (\w+ \| .+?) \|$", table, re.M)[1:]
    assert err == []


def test_examples_are_copied_and_never_over_a_file(place, capsys):
    out, _ = said(capsys, 0, "examples", "text_to_image", "example:inpaint", "--to", "there/it/is")
    assert out == [str(Path("there/it/is", name)) for name in ("text_to_image.json", "inpaint.json")]
    assert Path(out[0]).read_bytes() == (FOLDER / "text_to_image.json").read_bytes()
    Path("variations.json").write_text("mine")
    _, err = said(capsys, 2, "examples", "--all")
    assert err == ["comfyui-ddim: variations.json: exists already and is not overwritten; --to DIR copies elsewhere"]
    assert [path.name for path in place.iterdir() if path.is_file()] == ["variations.json"]
    said(capsys, 0, "examples", "--all", "--to", "all")
    assert len(list(Path("all").iterdir())) == len(EXAMPLES)


@pytest.mark.parametrize("arguments", [["examples", "text_to_imge"], ["run", "example:text_to_imge"]])
def test_a_misspelled_example(place, capsys, arguments):
    _, err = said(capsys, 2, *arguments)
    assert len(err) == 1 and "did you mean text_to_image?" in err[0]


@pytest.mark.parametrize("command", ["check", "show", "convert"])
def test_every_command_takes_an_example(place, capsys, command):
    out, err = said(capsys, 0, command, "example:text_to_image")
    assert err == [] and (out == []) == (command == "check")


def test_a_file_of_that_name_comes_first(place, capsys):
    Path("example:text_to_image").write_text("{}")
    assert "not a workflow" in said(capsys, 2, "check", "example:text_to_image")[0][0]


def test_an_example_runs_from_a_package_without_the_repository(place, capsys):
    out, _ = said(capsys, 0, "run", "example:text_to_image", *SMALL)
    assert out == [str(Path("output", "text_to_image_00001_.png"))]


# --- changes come before what is derived from them


def tokens(tmp_path):
    """The shipped workflow, with a file name that tells the seed and the steps."""
    workflow = json.loads((FOLDER / "text_to_image.json").read_text())
    save = next(node for node in workflow["nodes"] if node["type"] == "SaveImage")
    save["widgets_values"][0] = "s%DDIMSampler.seed%_%DDIMSampler.steps%"
    (tmp_path / "tokens.json").write_text(json.dumps(workflow))
    return workflow


def test_the_file_name_tells_the_new_seed_and_so_does_the_workflow_inside(place, capsys):
    tokens(place)
    (out,), _ = said(capsys, 0, "run", "tokens.json", *SMALL, "--seed", 99)
    assert Path(out).name == "s99_2_00001_.png"
    with Image.open(out) as picture:
        prompt, workflow = json.loads(picture.text["prompt"]), json.loads(picture.text["workflow"])
    assert {node["inputs"]["seed"] for node in prompt.values() if "seed" in node["inputs"]} == {99}
    assert any(99 in node.get("widgets_values", ()) for node in workflow["nodes"])
    assert any("s%DDIMSampler.seed%_%DDIMSampler.steps%" in node["widgets_values"] for node in workflow["nodes"])


def test_a_file_name_that_is_set_is_filled_in_too(place, capsys):
    node = next(node["id"] for node in tokens(place)["nodes"] if node["type"] == "SaveImage")
    setting = ("--set", f"{node}.filename_prefix=t%DDIMSampler.seed%")
    (out,), _ = said(capsys, 0, "run", "tokens.json", *SMALL, *setting, "--seed", 5)
    assert Path(out).name == "t5_00001_.png"


def test_a_random_seed_is_drawn_for_each_file_and_told_in_it(place, capsys):
    shutil.copy(FOLDER / "text_to_image.json", "a.json")
    (one, two), err = said(capsys, 0, "run", "a.json", "a.json", *SMALL[:2], "--seed", "random")
    seeds = [read_workflow(Path(path), None).nodes["4"]["inputs"]["seed"] for path in (one, two)]
    assert seeds[0] != seeds[1] and all(0 <= seed < 2**53 for seed in seeds)
    assert [line for line in err if "seed" in line] == [f"comfyui-ddim: a.json: seed {seed}" for seed in seeds]
    (again,), _ = said(capsys, 0, "run", one, "--quiet")
    assert np.array_equal(*(np.asarray(Image.open(path)) for path in (one, again)))


# --- formats


@pytest.mark.parametrize(("kind", "ending"), [("png", ".png"), ("webp", ".webp"), ("jpeg", ".jpg")])
def test_a_picture_of_each_format_carries_its_workflow(place, capsys, kind, ending):
    (first,), _ = said(capsys, 0, "run", "example:text_to_image", *SMALL, "--seed", 4)
    (out,), _ = said(capsys, 0, "run", "example:text_to_image", *SMALL, "--seed", 4, "--format", kind)
    assert Path(out).suffix == ending and "_00002_" in out, "numbers go on across formats"
    with Image.open(out) as picture, Image.open(first) as plain:
        assert picture.format == kind.upper()
        error = np.asarray(picture.convert("RGB")).astype(float) - np.asarray(plain)
        texts = dict(picture.text) if kind == "png" else dict(
            picture.getexif()[tag].split(":", 1) for tag in (0x0110, 0x010F)
        )  # fmt: skip
    assert abs(error).mean() < 4
    assert json.loads(texts["prompt"])["4"]["inputs"]["seed"] == 4
    assert json.loads(texts["workflow"])["nodes"]


def test_quality_decides_about_the_size(place, capsys):
    sizes = []
    for quality in (10, 100):
        arguments = ("run", "example:text_to_image", *SMALL, "--seed", 4, "--format", "webp", "--quality", quality)
        (out,), _ = said(capsys, 0, *arguments)
        sizes.append(Path(out).stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--quality", "80"], "--quality 80: png has no quality setting; expected --format webp or jpeg with it"),
        (["--format", "webp", "--comfyui", "."], "--format webp: ComfyUI's own nodes"),
    ],
)
def test_options_that_do_not_go_together(place, capsys, options, line):
    out, err = said(capsys, 2, "run", "example:text_to_image", *options)
    assert out == [] and len(err) == 1 and err[0].startswith(f"comfyui-ddim: {line}")


def test_what_does_not_fit_into_a_format_is_a_line(place, capsys):
    image = {"class_type": "EmptyImage", "inputs": {"width": 16384, "height": 8, "batch_size": 1, "color": 255}}
    save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
    Path("wide.json").write_text(json.dumps({"1": image, "2": save}))
    _, err = said(capsys, 2, "run", "wide.json", "--format", "webp")
    assert len(err) == 1 and "an image of 16384 x 8 pixels; webp takes at most 16383 on a side" in err[0]
    Path("long.json").write_text(json.dumps({"1": image, "2": save, "3": {**image, "_meta": {"title": "x" * 70000}}}))
    _, err = said(capsys, 2, "run", "long.json", "--format", "jpeg")
    assert len(err) == 1 and "jpeg has room for at most 65500, webp and png for more" in err[0]
    assert not list(place.rglob("*.webp")) and not list(place.rglob("*.jpg"))


# --- nothing ends without a word


def previewing(save):
    image = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255}}
    prompt = {"1": image, "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
    if save:
        prompt["3"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
    Path("w.json").write_text(json.dumps(prompt))


def test_previews_are_the_result_where_nothing_is_saved(place, capsys):
    previewing(save=False)
    for options in ([], ["--quiet"]):
        (out,), err = said(capsys, 0, "run", "w.json", *options)
        assert Path(out).is_file() and out.startswith("temp") and err == []


def test_previews_beside_pictures_are_named_aside(place, capsys):
    previewing(save=True)
    (out,), (err,) = said(capsys, 0, "run", "w.json")
    assert out.startswith("output") and err.startswith("preview: temp") and Path(err[9:]).is_file()


def test_a_run_that_makes_no_file_says_so(place, capsys):
    Path("quiet.py").write_text(
        "class Quiet:\n    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), 'work', 'x', True\n"
        "    @classmethod\n    def INPUT_TYPES(cls): return {}\n    def work(self): return {}\n"
        "NODE_CLASS_MAPPINGS = {'Quiet': Quiet}\n"
    )
    Path("w.json").write_text('{"1": {"class_type": "Quiet", "inputs": {}}}')
    out, err = said(capsys, 0, "run", "w.json", "--nodes", "quiet.py", "--quiet")
    assert out == [] and err == ["comfyui-ddim: w.json: done, and no file was written"]


# --- messages point at the thing


def broken(change):
    image = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255}}
    prompt = {"1": image, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}}
    for (node, name), value in change.items():
        if name in ("class_type", "inputs"):
            prompt[node][name] = value
        else:
            prompt[node]["inputs"][name] = value
    Path("w.json").write_text(json.dumps(prompt))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({("1", "class_type"): []}, "node 1: class_type is [], expected the name of a node class"),
        ({("1", "class_type"): None}, "node 1: has no class_type"),
        ({("1", "class_type"): "EmptyImag"}, "node 1: unknown node class 'EmptyImag'; did you mean 'EmptyImage'?"),
        ({("1", "width"): None}, "node 1 (EmptyImage), input width: null, expected a whole number"),
        ({("1", "width"): {"a": True}}, 'node 1 (EmptyImage), input width: {"a": true}, expected a whole number'),
        ({("2", "filename_prefix"): ""}, "node 2 (SaveImage), input filename_prefix: the file name is empty"),
        ({("2", "filename_prefix"): "loop/x"}, "node 2 (SaveImage), input filename_prefix: file name 'loop/x' goes"),
        ({("2", "filename_prefix"): "..\\x"}, "node 2 (SaveImage), input filename_prefix: file name '..\\\\x' leads"),
        ({("1", "batch_size"): 4096, ("1", "width"): 16384, ("1", "height"): 16384}, "node 1 (EmptyImage): "),
        ({("2", "filename_prefix"): "x" * 300}, "node 2 (SaveImage): "),
    ],
)  # fmt: skip
def test_a_bad_value_is_a_line(place, capsys, change, line):
    Path("output").mkdir()
    Path("output/loop").symlink_to("loop")
    broken(change)
    out, err = said(capsys, 2, "run", "w.json")
    assert out == [] and len(err) == 1
    assert err[0].startswith(f"comfyui-ddim: w.json: {line}")
    assert "[" not in err[0].partition("class_type is []")[2].partition(": ")[2] and "rror" not in err[0], err
    assert [path.name for path in Path("output").iterdir()] == ["loop"]


def test_only_names_a_node_whose_class_is_a_list(place, capsys):
    broken({("1", "class_type"): []})
    (err,) = said(capsys, 2, "run", "w.json", "--only", "1")[1]
    assert err.endswith("node 1: class_type is [], expected the name of a node class")


def test_windows_separators_in_names(place, capsys):
    Path("input/sub").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save("input/sub/b.png")
    inputs = {"image": "sub\\b.png"}
    broken({("1", "class_type"): "LoadImage", ("1", "inputs"): inputs, ("2", "filename_prefix"): "a\\b"})
    assert said(capsys, 0, "run", "w.json")[0] == [str(Path("output/a/b_00001_.png"))]


@pytest.mark.parametrize("form", ["api", "browser"])
def test_comfyui_is_named_where_it_helps_and_nowhere_else(place, capsys, form):
    node = {"id": 1, "type": "Nonesuch", "inputs": [], "outputs": [], "widgets_values": []}
    document = {"1": {"class_type": "Nonesuch", "inputs": {}}} if form == "api" else {"nodes": [node], "links": []}
    Path("w.json").write_text(json.dumps(document))
    _, err = said(capsys, 2, "run", "w.json")
    assert len(err) == 1 and err[0].count("--comfyui DIR") == 1
    out, err = said(capsys, 2, "check", "w.json", "w.json")
    assert len(out) == 2 and "--comfyui" not in "".join(out) and err == [err[0]] and "--comfyui DIR" in err[0]
    Path("info.json").write_text("{}")
    if form == "browser":
        _, err = said(capsys, 2, "convert", "w.json", "--object-info", "info.json")
        assert "--comfyui" not in err[0]
    broken({("1", "width"): 0})
    assert "--comfyui" not in said(capsys, 2, "run", "w.json")[1][0]


def test_a_pipe_is_read_once(place, capsys):
    if sys.platform == "win32":
        pytest.skip("no pipes in the file system")
    import os
    import threading

    previewing(save=True)
    os.mkfifo("pipe")
    threading.Thread(target=lambda: Path("pipe").write_bytes(Path("w.json").read_bytes()), daemon=True).start()
    assert said(capsys, 0, "run", "pipe", "--quiet")[0] == [str(Path("output", "x_00001_.png"))]
