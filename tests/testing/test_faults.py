"""The example pack is whole; each of ten faults put into it makes exactly the right check fail, and says what."""

import shutil

import pytest

pytest_plugins = ["pytester"]

NODES = "nodes.py"
# What is done to the pack (file, text, what stands there then), which test fails, and what its line says.
FAULTS = {
    "wrong color": (
        (NODES, "(0.1, 0.2, 0.9)", "(0.1, 0.2, 0.5)"),
        "a blue disc",
        "off #1a33e6, expected at most 5",
    ),
    "one object moved": (
        (NODES, "8 * index", "12 * index"),
        "a batch",
        "SaveImage, images 1: PSNR",
    ),
    "NaN": (
        (NODES, "(x**2 + y**2) / 2)", "(x**2 + y**2) / 2 * (1 - strength) / (1 - strength))"),
        "the darkest corners",
        "SaveImage, images: 49152 of 49152 values are NaN or infinite",
    ),
    "changed node default": (
        (NODES, '"default": 0.5', '"default": 0.3'),
        "test_corners_are_darker_by_default",
        "0.349",
    ),
    "renamed input": (
        (NODES, "batch_size", "count"),
        "a batch",
        "ExampleDisc has no input 'batch_size'; it has color, x, y, radius, size, count",
    ),
    "wrong batch": (
        (NODES, ".expand(batch_size,", ".expand(max(1, batch_size - 1),"),
        "a batch",
        "SaveImage, images: count 2, expected 3",
    ),
    "slow": (
        (NODES, "        places =", "        __import__('time').sleep(5.5 if size > 1000 else 0)\n        places ="),
        "large, within its time",
        "seconds, expected at most 5",
    ),
    "too much memory": (
        (NODES, "        places =", "        ballast = torch.ones(size * 100_000)\n        places ="),
        "large, within its memory",
        "MB of memory, expected at most 300",
    ),
    "stale reference": (
        ("workflows/disc.test.toml", '"as it is saved"', '"as it was saved"'),
        "references",
        "reference as it is saved.SaveImage.png belongs to no case that is compared",
    ),
}


def break_it(folder, file, text, other):
    path = folder / file
    whole = path.read_text()
    assert text in whole
    path.write_text(whole.replace(text, other))


def test_the_example_is_whole(example, run_pytest):
    run = run_pytest()
    assert (run.code, run.failures) == (0, {})
    assert len(run.passed) == 14 and not run.skipped
    assert not (example / "comfy-failures").exists()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_the_right_test(fault, example, run_pytest):
    change, wanted, line = FAULTS[fault]
    break_it(example, *change)
    if fault == "stale reference":  # the new name has a reference, and the old one is left over
        folder = example / "workflows" / "disc.references"
        shutil.copy(folder / "as it is saved.SaveImage.png", folder / "as it was saved.SaveImage.png")
    run = run_pytest()
    assert list(run.failures) == [wanted], run.failures
    assert line in run.failures[wanted], run.failures
    assert run.code == 1


def test_a_class_that_no_test_runs(example, run_pytest):
    break_it(
        example, NODES, '"ExampleVignette": ExampleVignette', '"ExampleVignette": ExampleVignette, "Other": ExampleDisc'
    )
    text = run_pytest().text
    assert "comfy: Other: never run" in text and "were used; expected at least 100 %" in text, text
    assert "14 passed" in text
