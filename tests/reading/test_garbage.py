"""Garbage in: whatever the file, the answer is a prompt or one clean line, in bounded time and memory."""

import copy
import json
import struct
import time
import zlib
from pathlib import Path

import pytest

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

from comfyui_ddim.executor.errors import WorkflowError  # noqa: E402
from comfyui_ddim.executor.reading import convert_workflow, read_workflow  # noqa: E402

RECORDED = Path(__file__).parents[1] / "workflows"
OBJECT_INFO = json.loads((RECORDED / "object_info.json").read_text())
NAMES = ["subgraph_nested", "subgraph_promoted_twice", "group_node_primitive", "schema_1", "bypassed_mixed", "seeds"]
NAMES += ["newer/promoted_nested_three", "newer/subgraph_promoted_twice"]
PROXIES = {"properties": {"proxyWidgets": [["2", "text"], ["-1", "a"]]}, "widgets_values": ["x", 1]}
BY_NAME = {
    "nodes": [
        {"id": 1, "type": "ReadingSource"},
        {"id": 2, "type": "SetNode", "inputs": [{"name": "*", "type": "*", "link": 1}], "widgets_values": ["a"]},
        {"id": 3, "type": "GetNode", "widgets_values": ["a"]},
        {"id": 4, "type": "ReadingSave", "inputs": [{"name": "images", "type": "IMAGE", "link": 2}]},
        {"id": 5, "type": "outer", "properties": {"proxyWidgets": [["6", "text", "2"]]}, "widgets_values": ["y"]},
    ],
    "links": [[1, 1, 3, 2, 0, "IMAGE"], [2, 3, 0, 4, 0, "IMAGE"]],
    "definitions": {
        "subgraphs": [
            {"id": "outer", "nodes": [{"id": 6, "type": "inner", **PROXIES}]},
            {"id": "inner", "nodes": [{"id": 2, "type": "ReadingWidgets"}]},
        ]
    },
    "extra": {"frontendVersion": "1.58.1"},
}
SEEDS = [json.loads((RECORDED / f"{name}.json").read_text())["workflow"] for name in NAMES] + [BY_NAME]
NEWER_OBJECT_INFO = json.loads((RECORDED / "newer" / "object_info.json").read_text())
OBJECT_INFO = NEWER_OBJECT_INFO | OBJECT_INFO

junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-30, 30),
        st.integers(),
        st.floats(),
        st.text(max_size=3),
        st.sampled_from(["Reroute", "PrimitiveNode", "ReadingWidgets", "workflow>some", "*", "IMAGE", "-10", "-20"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=4,
)


def places(value):
    """Every container in a document with each of its keys, without recursion."""
    found, pending = [], [value]
    while pending:
        container = pending.pop()
        entries = list(container.items()) if isinstance(container, dict) else list(enumerate(container))
        for key, inner in entries:
            found.append((container, key))
            if isinstance(inner, dict | list):
                pending.append(inner)
    return found


@st.composite
def damaged(draw):
    """A workflow with a few of its values replaced, doubled, taken away or swapped with others of the file."""
    workflow = copy.deepcopy(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        spots = places(workflow)
        container, key = draw(st.sampled_from(spots))
        change = draw(st.sampled_from(["junk", "drop", "double", "swap"]))
        if change == "junk":
            container[key] = draw(junk)
        elif change == "drop":
            del container[key]
        elif change == "double" and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        else:
            other, name = draw(st.sampled_from(spots))
            container[key] = copy.deepcopy(other[name])
        if not workflow:
            break
    return workflow


@hypothesis.settings(max_examples=200, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(damaged())
def test_a_damaged_workflow_is_read_or_refused(workflow):
    try:
        prompt = convert_workflow(workflow, OBJECT_INFO)
    except WorkflowError as error:
        assert str(error) and "\n" not in str(error)
    else:
        json.dumps(prompt)
        assert all(node["class_type"] in OBJECT_INFO for node in prompt.values())


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(st.data())
def test_a_damaged_file_is_read_or_refused(data):
    texts = {"prompt": b'{"1": {"class_type": "A", "inputs": {}}}', "workflow": json.dumps(SEEDS[0]).encode()}
    header = json.dumps({"__metadata__": {name: text.decode() for name, text in texts.items()}}).encode()
    exif = b"MM\0*\0\0\0\x08\0\1\x01\x10\0\2\0\0\0\x30\0\0\0\x1aprompt:" + texts["prompt"]
    chunk = b"prompt\0\0" + zlib.compress(texts["prompt"])
    files = [
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(chunk)) + b"zTXt" + chunk + bytes(4),
        b"RIFF\0\0\0\0WEBPEXIF" + struct.pack("<I", len(exif)) + exif,
        struct.pack("<Q", len(header)) + header,
        texts["workflow"],
    ]
    file = bytearray(data.draw(st.sampled_from(files)))
    for _ in range(data.draw(st.integers(0, 5))):
        file[data.draw(st.integers(0, min(len(file) - 1, 120)))] = data.draw(st.integers(0, 255))
    try:
        read_workflow(bytes(file[: data.draw(st.integers(0, len(file)))]), OBJECT_INFO)
    except WorkflowError as error:
        assert "\n" not in str(error)


def refused(workflow, match, seconds=20):
    start = time.process_time()
    with pytest.raises(WorkflowError, match=match):
        convert_workflow(workflow, OBJECT_INFO)
    assert time.process_time() - start < seconds


def host(kind, node_id=1, **more):
    return {"id": node_id, "type": kind, **more}


def subgraph(name, *nodes, **more):
    return {"id": name, "nodes": list(nodes), **more}


def nest(subgraphs, top="0"):
    return {"nodes": [host(top)], "definitions": {"subgraphs": subgraphs}}


def test_a_million_nodes():
    refused({"nodes": [{"id": 1}] * 1_000_000}, "at most 100000")
    with pytest.raises(WorkflowError, match="100001 nodes; at most 100000"):
        read_workflow(json.dumps({str(i): {"class_type": "A"} for i in range(100_001)}).encode(), None)


def test_subgraphs_that_multiply():
    doubling = [subgraph(str(i), host(str(i + 1)), host(str(i + 1), 2)) for i in range(40)]
    refused(nest(doubling), "more than 100000 nodes")


def test_subgraphs_nested_without_end():
    refused(nest([subgraph(str(i), host(str(i + 1))) for i in range(5000)]), "nested more than")
    refused(nest([subgraph("0", host("0"))]), "contains itself")


def test_hosts_with_very_many_inputs():
    wide = subgraph("0", inputs=[{"name": str(i), "type": "INT"} for i in range(50_000)])
    many = {"nodes": [host("0", i) for i in range(1000)], "definitions": {"subgraphs": [wide]}}
    refused(many, "1000000 slots")


def test_group_nodes_that_multiply():
    groups = {str(i): {"nodes": [host(f"workflow>{i - 1}")] * 2, "links": []} for i in range(1, 60)}
    groups = {"0": {"nodes": [host("ReadingWidgets")], "links": []}} | groups
    refused({"nodes": [host("workflow>59")], "extra": {"groupNodes": groups}}, "shows more than 20000")


def test_a_group_node_that_holds_itself():
    groups = {"a": {"nodes": [host("workflow>a")], "links": []}}
    refused({"nodes": [host("workflow>a")], "extra": {"groupNodes": groups}}, "contains itself")


def test_definitions_inside_definitions():
    inner = {"id": "last", "nodes": []}
    for i in range(100_000):
        inner = {"id": str(i), "nodes": [], "definitions": {"subgraphs": [inner]}}
    assert convert_workflow({"nodes": [], "definitions": {"subgraphs": [inner]}}, OBJECT_INFO) == {}
    while inner := inner.get("definitions", {}).get("subgraphs", [None])[0]:
        pass  # taken apart by hand: Python frees nested objects by recursion


def test_long_chains_of_reroutes_take_no_recursion():
    count = 20_000
    slots = {"inputs": [{"name": "", "type": "*"}], "outputs": [{"name": "", "type": "*"}]}
    nodes = [host("ReadingSource", 0)]
    nodes += [host("Reroute", i, **slots | {"inputs": [{"name": "", "link": i}]}) for i in range(1, count)]
    nodes += [host("ReadingSave", count, inputs=[{"name": "images", "type": "IMAGE", "link": count}])]
    links = [[i, i - 1, 3 if i == 1 else 0, i, 0, "*"] for i in range(1, count + 1)]
    assert convert_workflow({"nodes": nodes, "links": links}, OBJECT_INFO)[str(count)]["inputs"]["images"] == ["0", 3]


def test_many_ends_of_a_long_chain():
    count = 20_000
    reroutes = [host("Reroute", i, inputs=[{"name": "", "link": i}]) for i in range(1, count)]
    ends = [host("ReadingSave", count + i, inputs=[{"name": "images", "link": count}]) for i in range(count)]
    links = [[i, i - 1, 0, i, 0, "*"] for i in range(1, count + 1)]
    refused({"nodes": [host("ReadingSource", 0), *reroutes, *ends], "links": links}, "steps to follow")


def test_texts_that_are_costly_to_read():
    start = time.process_time()
    for text in ("/*" * 300_000, "{" * 300_000, "{a|" * 100_000, "//" * 300_000, "\\" * 300_000):
        convert_workflow({"nodes": [host("ReadingDynamic", widgets_values=[text, ""])]}, OBJECT_INFO)
    assert time.process_time() - start < 20
    name = "%A.text%" * 500
    nodes = [host("ReadingWidgets", title="A", widgets_values=[1, 1, "x" * 1_000_000])]
    refused({"nodes": [*nodes, host("SaveImage", 2, widgets_values=[name])]}, "becomes 1000000 characters")


def test_long_names_are_refused():
    refused({"nodes": [host("ReadingSource", "x" * 10_000)]}, "has 10000 characters")
    refused({"nodes": [host("ReadingSource", inputs=[{"name": "a", "type": "t" * 100_000}])]}, "100000 characters")
    refused({"nodes": [host("x" * 10_000)]}, r"unknown type 'x{50,60}\.\.\.")
