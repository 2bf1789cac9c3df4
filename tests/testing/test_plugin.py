"""What pytest sees: which files are tests, how they are called, what stays untouched."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from comfyui_ddim.testing.collection import WorkflowItem
from PIL import Image, PngImagePlugin

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
PICTURE = {
    "1": {"class_type": "TestImageGenerator", "inputs": {"image_type": "noise", "width": 64, "height": 64, "seed": 1}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}


def changed(prompt, **inputs):
    """A copy with inputs of its nodes changed: n1__width=8."""
    copy = json.loads(json.dumps(prompt))
    for name, value in inputs.items():
        node, _, name = name.partition("__")
        copy[node[1:]]["inputs"][name] = value
    return copy


def write(folder, name, document, toml=None):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    if toml is not None:
        path.with_suffix(".test.toml").write_text(toml)
    return path


def test_json_of_other_things_is_not_touched(pytester, run_pytest):
    for name, document in {"package": {"name": "x"}, "list": [1], "api": PICTURE, "test_x": {"nodes": []}}.items():
        write(pytester.path, f"{name}.json", document)
    (pytester.path / "broken.json").write_text("{")
    (pytester.path / "locked.json").symlink_to("nowhere")
    pytester.makepyfile("def test_nothing(): pass")
    run = run_pytest()
    assert run.failures == {} and run.passed == ["test_nothing"]


def test_a_named_file_that_is_no_workflow_is_not_ours(pytester, run_pytest):
    write(pytester.path, "package.json", {"name": "x"})
    assert run_pytest("package.json").code == pytest.ExitCode.USAGE_ERROR


def test_a_named_workflow_is_a_test(pytester, run_pytest):
    write(pytester.path, "w.json", PICTURE)
    run = run_pytest("w.json")
    assert (run.passed, run.failures) == (["runs"], {})
    assert not [path for path in pytester.path.iterdir() if path.name != "w.json"]  # nothing is left lying about


def test_a_picture_that_carries_a_workflow_is_a_test(pytester, run_pytest):
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", json.dumps(PICTURE))
    Image.new("RGB", (8, 8)).save(pytester.path / "w.png", pnginfo=text)
    Image.new("RGB", (8, 8)).save(pytester.path / "plain.png")
    assert run_pytest("w.png").passed == ["runs"]
    assert run_pytest("plain.png").code == pytest.ExitCode.USAGE_ERROR


CASES = """
[[case]]
name = "small"
reference = false
set = { "1.width" = 64 }
[[case]]
name = "blank"
reference = false
marks = ["slow"]
set = { "1.image_type" = "white" }
"""


def test_cases_are_chosen_as_tests_are(pytester, run_pytest):
    pytester.makeini("[pytest]\ncomfy_workflows = sub/*.json\nmarkers = slow: takes long\n")
    write(pytester.path, "sub/w.json", PICTURE, CASES)
    write(pytester.path, "other.json", PICTURE)
    blank = "SaveImage, images: image 0 is blank, of one color (1.00, 1.00, 1.00); blank = true allows it"
    run = run_pytest()
    assert run.passed == ["small"] and run.failures == {"blank": blank}
    for arguments in (["-k", "small"], ["-m", "not slow"], ["sub/w.json::small"], ["sub/w.test.toml::small"]):
        run = run_pytest(*arguments)
        assert (run.passed, run.failures) == (["small"], {}), arguments
    assert run_pytest("-m", "slow").failures == {"blank": blank}


def test_workflows_beside_testpaths_are_collected_too(pytester, run_pytest):
    pytester.makeini("[pytest]\ntestpaths = tests\ncomfy_workflows =\n    workflows/*.json\n    tests/*.json\n")
    write(pytester.path, "workflows/a.json", PICTURE)
    write(pytester.path, "tests/b.json", PICTURE)
    (pytester.path / "tests/test_x.py").write_text("def test_x(): pass")
    assert sorted(run_pytest().passed) == ["runs", "runs", "test_x"]
    assert run_pytest("tests/test_x.py").passed == ["test_x"]


def test_a_faulty_toml_is_a_line(pytester, run_pytest):
    write(pytester.path, "w.json", PICTURE, "steps = 3")
    run = run_pytest("w.json")
    (text,) = run.failures.values()
    assert "w.test.toml: at the top: unknown key 'steps'" in text and "Traceback" not in text


@pytest.mark.parametrize(
    ("document", "line"),
    [
        (
            changed(PICTURE, n1__width=8),
            "refused: node 1 (TestImageGenerator), input width: 8 is smaller than the minimum of 64",
        ),
        ({**PICTURE, "3": {"class_type": "Nope", "inputs": {}}}, "refused: node 3: unknown node class 'Nope'"),
        ({"1": PICTURE["1"]}, "refused: nothing to run: there is no output node, such as SaveImage"),
    ],
    ids=["value", "class", "no output"],
)
def test_without_cases_the_graph_is_checked(pytester, run_pytest, document, line):
    write(pytester.path, "w.json", document)
    (fault,) = run_pytest("w.json").failures.values()
    assert fault.startswith(line)


REFERENCE = '[[case]]\nname = "noise"\n'


def test_references_are_written_compared_and_missed(pytester, run_pytest):
    write(pytester.path, "w.json", PICTURE, REFERENCE)
    reference = pytester.path / "w.references" / "noise.SaveImage.png"
    fault = run_pytest("w.json").failures["noise"]
    assert fault == (
        "SaveImage, images: no reference w.references/noise.SaveImage.png; pytest --comfy-update writes it"
    )
    assert run_pytest("w.json", "--comfy-update").failures == {} and reference.is_file()
    before = reference.stat().st_mtime_ns
    assert run_pytest("w.json", "--comfy-update").failures == {} and reference.stat().st_mtime_ns == before
    assert run_pytest("w.json").failures == {} and not (pytester.path / "comfy-failures").exists()
    write(pytester.path, "w.json", changed(PICTURE, n1__seed=2))
    fault = run_pytest("w.json").failures["noise"]
    assert fault.startswith("SaveImage, images: PSNR 7.") and "share of differing pixels 0.9" in fault
    left = sorted(path.name for path in (pytester.path / "comfy-failures/w/noise").iterdir())
    assert left == [f"SaveImage images.{part}.png" for part in ("difference", "reference", "result")]
    (reference.parent / "noise.Other.png").write_bytes(reference.read_bytes())
    write(pytester.path, "w.json", PICTURE)
    assert "noise.Other.png is no longer compared with anything" in run_pytest("w.json").failures["noise"]
    assert run_pytest("w.json", "--comfy-update").failures == {}
    assert [path.name for path in reference.parent.iterdir()] == ["noise.SaveImage.png"]


def test_the_report_shows_failures_first(pytester, run_pytest):
    write(pytester.path, "w.json", PICTURE, CASES)
    run_pytest("w.json", "--comfy-report", "report")
    page = (pytester.path / "report/index.html").read_text()
    assert page.index('class="failed"') < page.index('class="passed"') and "1 failed, 1 passed" in page
    names = {part.partition('"')[0] for part in page.split('src="')[1:]}
    assert len(names) == 2 and all((pytester.path / "report" / name).is_file() for name in names)


def test_fixtures_of_the_project_come_first():
    """This very suite has a fixture `comfy` of its own, and items are ours only where files are."""
    assert issubclass(WorkflowItem, pytest.Item)


def test_nothing_heavy_is_imported_before_a_workflow_runs(tmp_path):
    (tmp_path / "test_x.py").write_text(
        "import sys\ndef test_x():\n"
        "    heavy = ('torch', 'numpy', 'PIL', 'comfyui_ddim.executor', 'comfyui_ddim.cli', 'comfyui_ddim.nodes')\n"
        "    assert not [name for name in heavy if name in sys.modules]\n"
        "    assert 'comfyui_ddim.testing.plugin' in sys.modules\n"
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "unrelated.toml")
    only = ["-p", "comfyui_ddim.testing.plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path), *only, "test_x.py"]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
