"""Every kind of file that carries a workflow, as ComfyUI 0.33.0 itself wrote it, and what is said of those without."""

import io
import json
from pathlib import Path

import pytest
from comfyui_ddim.executor.errors import WorkflowError
from comfyui_ddim.executor.reading import read_documents, read_workflow
from comfyui_ddim.executor.reading.carriers import CARRIERS
from PIL import Image, features

WRITTEN = sorted((Path(__file__).parent / "carriers").iterdir())
PROMPT = {"1": {"class_type": "ReadingSource", "inputs": {"number": 3}}}
WORKFLOW = {"nodes": [{"id": 1, "type": "EmptyImage", "widgets_values": [16, 16, 2, 255]}], "links": [], "version": 0.4}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_what_comfyui_wrote_is_read(path):
    documents = read_documents(path)
    assert documents.workflow == WORKFLOW
    classes = {node["class_type"] for node in documents.prompt.values()}
    assert classes & {"EmptyImage", "MkSvg", "MkMesh"}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_a_file_that_is_cut_off_anywhere_is_read_or_named(path):
    data = path.read_bytes()
    for length in range(0, len(data), 37):
        try:
            assert read_documents(data[:length])
        except WorkflowError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
def test_exif_of_other_pictures(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(PROMPT)
    exif[0x010F] = "workflow:" + json.dumps(WORKFLOW)
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, kind, exif=exif)
    documents = read_documents(file.getvalue())
    assert (documents.prompt, documents.workflow) == (PROMPT, WORKFLOW)


@pytest.mark.parametrize("carrier", CARRIERS, ids=lambda carrier: carrier.what)
def test_a_file_without_a_workflow_is_named_for_what_it_is(carrier):
    data = bytes(carrier.at) + carrier.magic[0] + bytes(200)
    with pytest.raises(WorkflowError) as error:
        read_documents(data)
    assert str(error.value).startswith(carrier.what)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"prompt": PROMPT, "client_id": "x"}, None),
        ({"prompt": PROMPT, "extra_data": {"extra_pnginfo": {"workflow": WORKFLOW}}}, WORKFLOW),
        ({"input": {"workflow": PROMPT, "images": []}}, None),
        ({"input": {"prompt": PROMPT}}, None),
    ],
)
def test_bodies_of_requests(body, kept):
    read = read_workflow(json.dumps(body).encode(), None)
    assert (read.nodes, read.workflow) == (PROMPT, kept)


def test_a_body_with_the_browsers_form():
    assert read_documents(json.dumps({"input": {"workflow": WORKFLOW}}).encode()).workflow == WORKFLOW


@pytest.mark.parametrize("prompt", ["{}", "{", "[1]", '{"1": 2}'])
def test_an_unusable_prompt_lets_the_workflow_beside_it_count(prompt):
    documents = read_documents(_png(prompt=prompt, workflow=json.dumps(WORKFLOW)))
    assert (documents.prompt, documents.workflow) == (None, WORKFLOW)


def test_an_unusable_workflow_lets_the_prompt_beside_it_count():
    assert read_documents(_png(prompt=json.dumps(PROMPT), workflow="{")).prompt == PROMPT


def test_a_web_uis_picture_and_one_that_is_cut_off_are_named():
    with pytest.raises(WorkflowError, match="Stable Diffusion web UI's settings, not ComfyUI's"):
        read_documents(_png(parameters="a cat\nSteps: 20"))
    with pytest.raises(WorkflowError, match="a PNG image that is cut off"):
        read_documents(_png(prompt=json.dumps(PROMPT))[:40])


def _png(**texts):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_names_and_dates_in_the_file_names_of_an_api_file():
    prompt = {
        "1": {"class_type": "KSampler", "inputs": {"seed": 7, "model": ["2", 0]}, "_meta": {"title": "Mine"}},
        "3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "%KSampler.seed%_%Mine.seed%_%Mine.model%"}},
        "4": {"class_type": "SaveImage", "inputs": {"filename_prefix": "%date:yyyy%"}},
    }
    read = read_workflow(json.dumps(prompt).encode(), None).nodes
    assert read["3"]["inputs"]["filename_prefix"] == "7_7_%Mine.model%"
    assert read["4"]["inputs"]["filename_prefix"].isdigit()


def test_old_names_of_classes():
    prompt = {"1": {"class_type": "T2IAdapterLoader", "inputs": {}}}
    text = json.dumps(prompt).encode()
    assert read_workflow(text, {"ControlNetLoader": {}}).nodes["1"]["class_type"] == "ControlNetLoader"
    assert read_workflow(text, {"ControlNetLoader": {}, "T2IAdapterLoader": {}}).nodes == prompt
    assert read_workflow(text, {}).nodes == prompt


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"\x89PNG\r\n\x1a\n", b"\0\0\0\0abcd\0\0\0\0"),
        (b"\xff\xd8", b"\xff\xe0\0\2"),
        (b"RIFF\0\0\0\0WEBP", b"ABCD\0\0\0\0"),
        (b"\0\0\0\x0cftypisom", b"\0\0\0\x08free"),
        (b"\x1aE\xdf\xa3\x80", b"\xec\x80"),
        (b"fLaC", b"\1\0\0\0"),
        (b"OggS" + bytes(22) + b"\0", b"OggS" + bytes(22) + b"\1\0"),
    ],
)
def test_files_of_millions_of_parts_are_looked_through_in_part(head, part):
    with pytest.raises(WorkflowError, match="without a workflow"):
        read_documents(head + part * 2_000_000)
