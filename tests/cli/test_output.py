"""What is printed: a line stays a line, in every encoding, and no stream that fails costs the work."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from comfyui_ddim.cli import main
from comfyui_ddim.cli.output import to_json
from comfyui_ddim.prompts.escape import escape
from hypothesis import given
from hypothesis import strategies as st

COMMAND = [sys.executable, "-m", "comfyui_ddim"]
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
HOSTILE = {
    "lone surrogate": "\ud800",
    "escape sequence": "\x1b]0;owned\x07\x1b[31mX",
    "8-bit escape sequence": "\x9b31mX",
    "newline": 'x"), all fine\nother.json: node 9 (fake',
    "carriage return": "x\rcomfyui-ddim: done",
    "other line ends": "a\x0b\x0c\x1c\x85\u2028\u2029b",
    "turned writing": "\u202egnp.exe",
    "null": "\0",
}


def one_picture(title="Save", prefix="picture", width=8):
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": width, "height": 8, "batch_size": 1, "color": 255}},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": prefix},
            "_meta": {"title": title},
        },
    }


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.delenv("COMFYUI_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(prompt, name="w.json"):
    Path(name).write_text(json.dumps(prompt))
    return name


def assert_plain(text):
    assert STEERING.search(text) is None, ascii(text)


@given(st.text())
def test_escaped_texts_hold_nothing_that_steers(text):
    assert_plain(escape(text))
    assert "\n" not in escape(text)
    assert escape(escape(text)) == escape(text)


@given(st.recursive(st.text() | st.floats(allow_nan=False) | st.booleans(), lambda inner: st.lists(inner)))
def test_json_says_the_same_in_every_encoding(data):
    for encoding in ("utf-8", "ascii", "latin-1", "cp1252"):
        text = to_json(data, encoding)
        text.encode(encoding)
        assert_plain(text)
        assert json.loads(text) == data


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("command", ["show", "check", "convert", "run"])
def test_hostile_titles(place, capsys, command, text):
    """In a title and, for `check` and `run`, in every other text of a faulty node."""
    save(one_picture(title=text), "fine.json")
    save({"1": {"class_type": text, "inputs": {}, "_meta": {"title": text}}}, "unknown.json")
    save({**one_picture(title=text), text: {"class_type": "EmptyImage", "inputs": {text: 1}}}, "id.json")
    save(one_picture(title=text, prefix=["1", 7]), "link.json")
    for name in ("fine.json", "unknown.json", "id.json", "link.json"):
        code = main([command, name])
        out, err = capsys.readouterr()
        assert code in (0, 2), err
        assert_plain(out)
        assert_plain(err)
        assert code == 0 or command == "check" or len(err.splitlines()) == 1, err
        assert command != "check" or all(line.startswith(f"{name}: ") for line in out.splitlines())


@pytest.mark.parametrize("text", [text for text in HOSTILE.values() if "\0" not in text and text != "\ud800"])
def test_a_printed_path_is_one_line(place, capsys, text):
    save(one_picture(prefix=text))
    assert main(["run", "w.json", "--output", f"out{text}".replace("\x85", "")]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert_plain(out + err)
    assert len(list(place.rglob("*.png"))) == 1


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_options(place, capsys, text):
    save(one_picture())
    for arguments in (
        ["run", text],
        ["run", f"example:{text}"],
        ["run", "w.json", "--set", text],
        ["run", "w.json", "--set", f"2.filename_prefix{text}=x"],
        ["run", "w.json", "--set", f"1.width={text}"],
        ["run", "w.json", "--only", text],
        ["run", "w.json", "--nodes", text],
        ["run", "w.json", "--device", text],
        ["nodes", text],
        ["examples", text],
        ["convert", "w.json", "--object-info", text],
    ):
        assert main(arguments) == 2, arguments
        out, err = capsys.readouterr()
        assert out == "" and len(err.splitlines()) == 1 and err.startswith("comfyui-ddim: "), (arguments, err)
        assert_plain(err)
    with pytest.raises(SystemExit) as exit_:
        main(["run", "w.json", "--cache", text])
    assert exit_.value.code == 2
    assert_plain(capsys.readouterr().err)


# --- streams and encodings, in a process of its own


def in_shell(line, **environment):
    """(exit code, standard output, standard error) as bytes."""
    command = " ".join([*COMMAND, line])
    done = subprocess.run(command, shell=True, capture_output=True, env={**os.environ, **environment}, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "utf-16", "cp1252", "shift_jis"])
def test_every_encoding_of_the_terminal(place, monkeypatch, encoding):
    title = "Größe 大きさ \ud800"
    save(one_picture(title=title, prefix="größe 大"), "größe.json")
    save(one_picture(title=title, width=0), "faulty.json")
    for line, code in [("show größe.json", 0), ("convert größe.json", 0), ("check faulty.json", 2),
                       ("run faulty.json", 2), ("run --quiet größe.json", 0)]:  # fmt: skip
        terminal = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        assert main(line.split()) == code
        terminal.flush()
        text = terminal.buffer.getvalue().decode(encoding)
        assert_plain(text)
        assert text and "Traceback" not in text and "codec" not in text
    assert Path("output/größe 大_00001_.png").is_file()


def test_a_process_on_an_ascii_terminal(place):
    save(one_picture(title="Größe \ud800", prefix="größe"), "größe.json")
    assert in_shell("show größe.json", PYTHONIOENCODING="ascii")[::2] == (0, b"")


FULL = "comfyui-ddim: the output can't be written: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("redirection", "code", "err"),
    [
        (">/dev/full", 2, FULL.encode()),
        ("2>/dev/full", 0, b""),
        ("<&- >&- 2>&-", 0, b""),
        ("| true", None, b""),
    ],
)
def test_a_stream_that_fails_does_not_cost_the_picture(place, redirection, code, err):
    """A text in the pack's own output, progress bars, and the paths: none of them can be written."""
    Path("loud.py").write_text(
        "import sys\nfrom comfyui_ddim.executor import context\n"
        "class Loud:\n"
        "    RETURN_TYPES, FUNCTION, CATEGORY = ('IMAGE',), 'work', 'x'\n"
        "    @classmethod\n"
        "    def INPUT_TYPES(cls): return {'required': {'image': ('IMAGE',)}}\n"
        "    def work(self, image):\n"
        "        for i in range(20):\n"
        "            print('x' * 9000, flush=True)\n"
        "            print('y', file=sys.stderr, flush=True)\n"
        "            context.progress(i + 1, 20)\n"
        "        return (image,)\n"
        "NODE_CLASS_MAPPINGS = {'Loud': Loud}\n"
    )
    prompt = one_picture()
    prompt["3"] = {"class_type": "Loud", "inputs": {"image": ["1", 0]}}
    prompt["2"]["inputs"]["images"] = ["3", 0]
    save(prompt)
    done = in_shell(f"run w.json --nodes loud.py {redirection}")
    assert code is None or done[0] == code, done
    said = [line for line in done[2].splitlines() if b"comfyui-ddim" in line or b"rror" in line]
    assert b"\n".join(said) == err.strip()
    (picture,) = Path("output").iterdir()
    assert picture.read_bytes().endswith(b"IEND\xaeB`\x82")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("line", ["--help", "convert w.json"])
def test_a_full_disk_under_every_command_is_a_line(place, line):
    save(one_picture())
    assert in_shell(f"{line} >/dev/full") == (2, b"", FULL.encode())
    assert in_shell(f"{line} | head -c 1")[2] == b""


def test_numbers_of_closed_streams_are_not_given_to_files(place):
    """With standard output closed the first file opened would be it, and a library's print would end in the file."""
    Path("loud.py").write_text("import os\nos.write(1, b'x')\nNODE_CLASS_MAPPINGS = {}\n")
    save(one_picture())
    assert in_shell("run w.json --nodes loud.py >&-")[0] == 0
    (picture,) = Path("output").iterdir()
    assert picture.read_bytes().startswith(b"\x89PNG")
