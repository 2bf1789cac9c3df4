"""`.test.toml` files: what they may say, and a line about everything else."""

import pytest
from comfyui_ddim.executor.errors import WorkflowError
from comfyui_ddim.testing.cases import Color, read_cases


def read(tmp_path, text):
    path = tmp_path / "w.test.toml"
    path.write_text(text)
    return read_cases(path)


def test_what_a_case_may_say(tmp_path):
    written = read(
        tmp_path,
        """
host = "light"
seconds = 3
fake.CheckpointLoaderSimple = "shipped"
[[case]]
name = "a"
set = { "1.steps" = 4 }
seconds = 5
[case.expect.SaveImage]
color = { at = [1, 2], is = "#ff8000", within = 3 }
[[case]]
name = "b"
host = "comfyui"
[[case.expect."6"]]
count = 2
[[case.expect."6"]]
output = "MASK"
share = 0.5
""",
    )
    one, other = written.cases
    assert (one.seconds, one.host, other.seconds, other.host) == (5, "light", 3, "comfyui")
    assert one.expect[0].color == (Color((1, 2), (255, 128, 0), 3),) and one.reference
    assert [expected.node for expected in other.expect] == ["6", "6"]
    assert other.expect[1].limits == {"share": 0.5} and written.fake == {"CheckpointLoaderSimple": "shipped"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[case]", "can't be read"),
        ("steps = 3", "at the top: unknown key 'steps'; there are host, marks"),
        ("[[case]]\nseed = 3", "case 1: name is missing"),
        ("[[case]]\nname = 'a'\nlatents = 3", "case 'a': unknown key 'latents'; there are"),
        ("[[case]]\nname = 'a'\nseed = 'x'", "case 'a': seed = 'x', expected a whole number"),
        ("[[case]]\nname = 'a'\nseed = true", "case 'a': seed = True, expected a whole number"),
        ("[[case]]\nname = 'a'\nhost = 'mine'", """case 'a': host = 'mine', expected "light" or "comfyui\""""),
        ("[[case]]\nname = 'a'\n[[case]]\nname = 'a'", "two cases are called 'a'"),
        ("[[case]]\nname = 'a.b'\n[[case]]\nname = 'a!b'", "two cases are called 'a!b' and 'a.b'"),
        ("[[case]]\nname = 'a'\nexpect.X.size = [1]", "case 'a', expect 'X': size = [1], expected [width, height]"),
        ("[[case]]\nname = 'a'\nexpect.X.sizes = 1", "case 'a', expect 'X': unknown key 'sizes'; there are output"),
        ("[[case]]\nname = 'a'\nexpect.X.color = { at = [1, 2] }", "case 'a', expect 'X', color: is is missing"),
        ("[[case]]\nname = 'a'\nexpect.X.color = { at = [1, 2], is = 'red' }", "is = 'red', expected \"#rrggbb\""),
        (
            "[[case]]\nname = 'a'\nrefused = 'x'\nfails = 'y'",
            "case 'a': has both refused and fails, expected one of them",
        ),
        ("[fake]\nX = 'small'", "[fake] X = 'small', expected \"shipped\""),
        ("case = []", "no [[case]] in it"),
    ],
)
def test_a_line_about_everything_else(tmp_path, text, words):
    with pytest.raises(WorkflowError) as caught:
        read(tmp_path, text)
    line = str(caught.value)
    assert line.startswith("w.test.toml: ") and words in line and "\n" not in line
