"""Every row of editors.py: the same file, saved by the version before and by the version since."""

import json
from pathlib import Path

import pytest
from comfyui_ddim.executor.errors import WorkflowError
from comfyui_ddim.executor.reading import convert_workflow
from comfyui_ddim.executor.reading.editors import DEFAULT, Editor, editor_of

WORKFLOWS = Path(__file__).parents[1] / "workflows"
OBJECT_INFO = json.loads((WORKFLOWS / "ways" / "object_info.json").read_text())


def converted(version, nodes, links=(), **more):
    extra = {"frontendVersion": version, **more.pop("extra", {})}
    return convert_workflow({"nodes": nodes, "links": list(links), "extra": extra, **more}, OBJECT_INFO)


def node(node_id, kind, values=None, inputs=(), **more):
    return {"id": node_id, "type": kind, "widgets_values": values, "inputs": list(inputs), **more}


def image(link):
    return {"name": "image", "type": "IMAGE", "link": link}


SOURCE = node(1, "ReadingSource", [11])
LINKS = [[1, 1, 3, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]]


def muted_reroute(version):
    reroute = node(2, "Reroute", inputs=[{"name": "", "type": "*", "link": 1}], mode=2)
    prompt = converted(version, [SOURCE, reroute, node(3, "ReadingOptional", inputs=[image(2)])], LINKS)
    return prompt["3"]["inputs"].get("image")


def fed_by_what_does_not_run(version):
    number = {"name": "number", "type": "INT", "link": 1, "widget": {"name": "number"}}
    nodes = [SOURCE | {"mode": 2}, node(2, "ReadingWidgets", [5], [number])]
    return converted(version, nodes, [[1, 1, 0, 2, 0, "INT"]])["2"]["inputs"].get("number")


def shown_null(version):
    host = node(5, "sub", [None], properties={"proxyWidgets": [["2", "number"]]})
    inside = {"id": "sub", "nodes": [node(2, "ReadingWidgets", [31])], "links": [], "inputs": [], "outputs": []}
    return converted(version, [host], definitions={"subgraphs": [inside]})["5:2"]["inputs"]["number"]


def curve(version):
    return converted(version, [node(1, "ReadingType_CURVE", [{"points": []}])])["1"]["inputs"]["thing"]


def ids_of_a_group(version):
    group = {"nodes": [node(-1, "ReadingSource", [3])], "links": [], "external": []}
    prompt = converted(version, [node(5, "workflow>g")], last_node_id=7, extra={"groupNodes": {"g": group}})
    return list(prompt)


def null_choice(version):
    values = [1, 0.5, "t", "l", True, None]
    return converted(version, [node(1, "ReadingWidgets", values)])["1"]["inputs"]["choice"]


def flag_as_text(version):
    values = [1, 0.5, "t", True, True, "alpha"]
    return converted(version, [node(1, "ReadingWidgets", values)])["1"]["inputs"]["lines"]


def doubled_link(version):
    nodes = [SOURCE, node(3, "ReadingSource", [12])]
    nodes += [node(key, "ReadingOptional", inputs=[image(1)]) for key in (2, 4)]
    prompt = converted(version, nodes, [[1, 1, 3, 2, 0, "IMAGE"], [1, 3, 3, 4, 0, "IMAGE"]])
    return [prompt[key]["inputs"].get("image") for key in ("2", "4")]


def rows(version):
    """A row of widgets in a file of that editor, which saved what it showed."""
    sent = converted(version, [node(1, "ReadingAutogrow", [11, 12])])["1"]["inputs"]
    return {name: value for name, value in sent.items() if name.startswith("numbers.")}


@pytest.mark.parametrize(
    ("made", "version", "expected"),
    [
        (muted_reroute, "1.40.1", ["1", 3]),
        (muted_reroute, "1.41.0", None),
        (fed_by_what_does_not_run, "1.40.1", None),
        (fed_by_what_does_not_run, "1.41.0", 5),
        (rows, "1.35.9", {"numbers.n0": 11}),
        (rows, "1.49.6", {"numbers.n0": 11, "numbers.n1": 12}),
        (shown_null, "1.49.6", 31),
        (shown_null, "1.58.1", None),
        (curve, "1.49.6", {"points": []}),
        (curve, "1.58.1", {"__type__": "CURVE", "__value__": {"points": []}}),
        (ids_of_a_group, "1.41.0", ["5:0"]),
        (ids_of_a_group, "1.49.6", ["9:8"]),
        (null_choice, "1.41.0", None),
        (null_choice, "1.49.6", "alpha"),
        (flag_as_text, "1.41.0", "true"),
        (flag_as_text, "1.49.6", True),
        (flag_as_text, "1.58.1", "true"),
        (doubled_link, "1.49.6", [["3", 3], ["3", 3]]),
        (doubled_link, "1.58.1", [["1", 3], None]),
    ],
)
def test_what_the_version_that_saved_a_file_decides(made, version, expected):
    assert made(version) == expected


def test_a_file_that_does_not_say_is_of_the_default():
    for text in (None, "", "new", 3, "1"):
        assert editor_of(text) == Editor(DEFAULT)
    assert editor_of("1.58.1").version == (1, 58)


def test_links_may_be_null():
    nodes = [SOURCE, node(2, "ReadingOptional", inputs=[image(1)])]
    prompt = converted("1.49.6", nodes, [None, [1, 1, 3, 2, 0, "IMAGE"], None])
    assert prompt["2"]["inputs"]["image"] == ["1", 3]


@pytest.mark.parametrize("told", ["definition", "file"])
def test_a_widget_of_an_unknown_type_is_refused_by_name(told):
    options = {"socketless": True} if told == "definition" else {}
    info = {"input": {"required": {"odd": ["NOBODYS", options], "tail": ["INT", {}]}}, "output": []}
    slot = {"name": "odd", "type": "NOBODYS", "link": None, "widget": {"name": "odd"}}
    inputs = [slot] if told == "file" else []
    workflow = {"nodes": [node(4, "Odd", ["x", 3], inputs)]}
    with pytest.raises(WorkflowError, match=r"node 4 \(Odd\): input 'odd' is a widget of unknown type 'NOBODYS', so"):
        convert_workflow(workflow, {"Odd": info})
    workflow["nodes"][0]["mode"] = 4
    assert convert_workflow(workflow, {"Odd": info}) == {}


def test_a_socket_of_an_unknown_type_is_no_fault():
    info = {"input": {"required": {"odd": ["NOBODYS", {"default": 1}], "tail": ["INT", {}]}}, "output": []}
    slot = {"name": "odd", "type": "NOBODYS", "link": None}
    prompt = convert_workflow({"nodes": [node(4, "Odd", [3], [slot])]}, {"Odd": info})
    assert prompt["4"]["inputs"] == {"tail": 3}
