"""Reading workflow files: every form, every container, and what the editor's own conversion gave for them."""

import io
import json
import random
import struct
import zlib
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from comfyui_ddim.executor.errors import WorkflowError
from comfyui_ddim.executor.reading import Prompt, convert_workflow, read_workflow
from comfyui_ddim.executor.reading.dynamic_text import choose, fill_in, format_date
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from prompts import essence

RECORDED = Path(__file__).parents[1] / "workflows"
EDITORS = {"workflows": "1.27.10", "newer": "1.58.1", "current": "1.49.6", "cases": "1.49.6"}
FOLDERS = {path.parent.name: path for path in RECORDED.glob("**/object_info.json")}
DEFINITIONS = {name: json.loads(path.read_text()) for name, path in FOLDERS.items()}
OBJECT_INFO = DEFINITIONS["workflows"]
PAIRS = sorted(
    path for path in RECORDED.glob("**/*.json") if path.name != "object_info.json" and path.parent.name in EDITORS
)
WAYS = sorted(path for path in (RECORDED / "ways").glob("*.json") if path.name != "object_info.json")

PROMPT = {"1": {"class_type": "ReadingSource", "inputs": {"number": 3}, "_meta": {"title": "é"}}}
WORKFLOW = {
    "nodes": [{"id": 1, "type": "ReadingSource", "widgets_values": [3], "title": "é"}],
    "links": [],
    "version": 0.4,
}


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: str(path.relative_to(RECORDED).with_suffix("")))
def test_conversion_equals_what_the_front_end_recorded(path):
    """ComfyUI 0.3.64's front end 1.27.10; in `newer` 1.58.1; in `current` and, of older files, in `cases` 1.49.6."""
    object_info = DEFINITIONS[path.parent.name]
    pair = json.loads(path.read_text())
    # a file that doesn't say was opened by that front end
    (pair["workflow"].get("extra") or pair["workflow"].setdefault("extra", {})).setdefault(
        "frontendVersion", EDITORS[path.parent.name]
    )
    converted = convert_workflow(pair["workflow"], object_info)
    assert essence(converted, object_info) == essence(pair["prompt"], object_info)


@pytest.mark.parametrize("path", WAYS, ids=lambda path: path.stem)
def test_every_class_in_every_way_as_front_end_1_49_6_recorded(path):
    """Our own nodes and made-up ones with every type of widget: as made, set, linked, promoted, bypassed, muted."""
    object_info, pairs = DEFINITIONS["ways"], json.loads(path.read_text())
    seen = {node["type"] for pair in pairs for node in _nodes(pair["workflow"])}
    assert {"DDIMSampler", "ReadingDynamicSockets", "ReadingAutogrow"} <= seen
    for pair in pairs:
        converted = convert_workflow(pair["workflow"], object_info)
        assert essence(converted, object_info) == essence(pair["prompt"], object_info)


def _nodes(workflow):
    graphs = [workflow, *workflow.get("definitions", {}).get("subgraphs", [])]
    return [node for graph in graphs for node in graph["nodes"]]


def test_ways_are_all_there():
    assert {path.stem for path in WAYS} == {
        *("defaults", "random", "joined", "converted", "promoted", "bypassed", "muted")
    }


def test_at_least_forty_pairs_were_recorded_of_each():
    numbers = Counter(path.parent.name for path in PAIRS)
    assert numbers["newer"] >= 40 and numbers["workflows"] >= 40 and numbers["cases"] >= 30 and numbers["current"] >= 40


# Containers


def png(*chunks):
    """A PNG's bytes: signature, the given (kind, data) chunks, end."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in [(b"IHDR", bytes(13)), *chunks, (b"IEND", b"")]:
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


TEXT = json.dumps(PROMPT, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", b"prompt\0" + TEXT),
        (b"tEXt", b"prompt\0" + TEXT.decode().encode("latin-1")),
        (b"zTXt", b"prompt\0\0" + zlib.compress(TEXT)),
        (b"iTXt", b"prompt\0\0\0en\0Prompt\0" + TEXT),
        (b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(TEXT)),
        (b"comf", b"prompt\0" + TEXT),
    ],
)
def test_png_text_of_every_kind(chunk):
    assert read_workflow(png(chunk), None) == Prompt(PROMPT, None)


def embedded(prompt, workflow):
    """A PNG's text chunks as ComfyUI writes them."""
    chunks = PngInfo()
    for name, data in (("prompt", prompt), ("workflow", workflow)):
        if data is not None:
            chunks.add_text(name, json.dumps(data))
    return chunks


def test_what_a_saved_picture_carries_is_read_back():
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG", pnginfo=embedded(PROMPT, WORKFLOW))
    assert read_workflow(file.getvalue(), None) == Prompt(PROMPT, WORKFLOW)
    assert Image.open(file).text == {"prompt": json.dumps(PROMPT), "workflow": json.dumps(WORKFLOW)}


def test_a_picture_with_a_workflow_alone_is_converted():
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG", pnginfo=embedded(None, WORKFLOW))
    assert read_workflow(file.getvalue(), OBJECT_INFO) == Prompt(PROMPT, WORKFLOW)


@pytest.mark.parametrize("prefix", ["workflow:", "Workflow:"])
def test_webp_exif(prefix):
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(PROMPT)
    exif[0x010F] = prefix + json.dumps(WORKFLOW)
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "WEBP", exif=exif)
    assert read_workflow(file.getvalue(), None) == Prompt(PROMPT, WORKFLOW)


def test_safetensors_and_latent(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    path = tmp_path / "ComfyUI_00001_.latent"
    metadata = {"prompt": json.dumps(PROMPT), "workflow": json.dumps(WORKFLOW)}
    save_file({"latent_tensor": torch.zeros(1, 4, 2, 2)}, path, metadata)
    assert read_workflow(path, None) == Prompt(PROMPT, WORKFLOW)
    save_file({"latent_tensor": torch.zeros(1)}, path)
    with pytest.raises(WorkflowError, match=r"00001_\.latent: .*without a workflow"):
        read_workflow(path, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_in_the_encodings_that_editors_write(encoding, tmp_path):
    path = tmp_path / "prompt.json"
    path.write_bytes(json.dumps(PROMPT, ensure_ascii=False).encode(encoding))
    assert read_workflow(path, None).nodes == PROMPT
    assert read_workflow(str(path), None).nodes == PROMPT


def test_not_a_number_and_stale_is_changed():
    text = b'{"1": {"class_type": "A", "inputs": {"x": NaN, "y": -Infinity}, "is_changed": [NaN]}}'
    node = read_workflow(text, None).nodes["1"]
    assert node["inputs"]["x"] != node["inputs"]["x"] and node["inputs"]["y"] == float("-inf")
    assert "is_changed" not in node


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "empty; expected a workflow"),
        (b"hello", "JSON"),
        (b"[1, 2]", "not a workflow"),
        (b"{}", "not a workflow"),
        (b'{"1": {"class_type": "A"}, "2": 3}', "not a workflow"),
        (b'{"nodes": 3}', "not a workflow"),
        (b'{"nodes": [3]}', "a node is 3; expected an object"),
        (b'{"nodes": [{"id": 1}]}', "type of node 1 is None"),
        (b'{"nodes": [{"id": 1, "type": "Note"}, {"id": 1, "type": "Note"}]}', "two nodes have the id 1"),
        (b'{"nodes": [{"id": 1, "type": "Note", "widgets_values": 3}]}', "widgets_values of node 1 is 3"),
        (b'{"nodes": [], "links": [[1]]}', "a link is a list"),
        (b"9" * 5000, "JSON"),
        (b"[" * 1_000_000, "nested too deeply"),
        (png(), "a PNG image without a workflow"),
        (png((b"tEXt", b"parameters\0a cat")), "not ComfyUI's"),
        (png((b"tEXt", b"prompt\0{")), "its prompt is not JSON"),
        (png((b"tEXt", b"prompt\0[]")), "its prompt is not in the API form"),
        (png((b"zTXt", b"prompt\0\0garbage")), "damaged"),
        (png((b"tEXt", b"prompt\0" + TEXT))[:60], "without a workflow"),
        (b"RIFF\x04\0\0\0WEBP", "a WebP image without"),
        (b"RIFF\x04\0\0\0WEBPEXIF\xff\xff\xff\xff", "at most"),
        (struct.pack("<Q", 2**31) + b"{", "at most"),
        (struct.pack("<Q", 50) + b"{" * 8, "not JSON"),
    ],
)
def test_one_line_says_what_is_wrong(data, fault):
    with pytest.raises(WorkflowError) as error:
        read_workflow(data, OBJECT_INFO)
    assert fault in str(error.value) and "\n" not in str(error.value)


def test_the_line_names_the_file(tmp_path):
    for source in (tmp_path / "gone.json", tmp_path):
        with pytest.raises(WorkflowError, match=source.name):
            read_workflow(source, None)


def test_the_browsers_form_needs_definitions():
    with pytest.raises(WorkflowError, match="object_info"):
        read_workflow(json.dumps(WORKFLOW).encode(), None)


def test_text_chunks_over_the_limit_are_refused_unread():
    with pytest.raises(WorkflowError, match="at most"):
        read_workflow(png((b"tEXt", b"prompt\0" + b" " * 100_000_000)), None)
    bomb = zlib.compress(b" " * 100_000_000)
    with pytest.raises(WorkflowError, match="at most"):
        read_workflow(png((b"zTXt", b"prompt\0\0" + bomb)), None)


# Texts


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("a {b", "a b"),
        ("a } b | c", "a } b | c"),
        ("{a|a} z", "a z"),
        ("{}{|}", ""),
        (r"\{a|b\}", "{a|b}"),
        (r"{a\|a}", "a|a"),
        (r"\\{a} \x", r"\\a \x"),
        ("{a {b} c", "a b c"),
        ("http://x.y z", "http:"),
        ("//c\n{a}//d\nb", "\na\nb"),
        ("/*{*/a}", "a}"),
        ("a /* b", "a /* b"),
        ("{{{{a}}}}" * 1000, "a" * 1000),
    ],
)
def test_alternatives_as_the_front_end_chose_them(text, chosen):
    assert choose(text, random.Random()) == chosen


def test_every_alternative_has_its_turn():
    rng = random.Random(1)
    taken = [choose("{a|b|{c|d}}", rng) for _ in range(3000)]
    assert {x: round(taken.count(x) / 3000, 1) for x in "abcd"} == {"a": 0.3, "b": 0.3, "c": 0.2, "d": 0.2}


def test_names_and_dates_in_file_names():
    now = datetime(2024, 3, 5, 7, 8, 9)
    assert format_date("yyyy-MM-dd hh:mm:ss yy-M-d h:m:s", now) == "2024-03-05 07:08:09 24-3-5 7:8:9"
    values = {("K", "seed"): 5, ("K", "name"): "a/b:c"}
    filled = fill_in("%K.seed%_%K.name%_%date:yyMM%_%nobody.x%_%x%", lambda *key: values[key], now)
    assert filled == "5_a_b_c_2403_%nobody.x%_%x%"
