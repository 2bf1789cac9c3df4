"""What conversion does where no recording tells: newer files, group nodes, and files with something missing."""

import json
from pathlib import Path

import pytest
from comfyui_ddim.executor.errors import WorkflowError
from comfyui_ddim.executor.reading import convert_workflow

OBJECT_INFO = json.loads((Path(__file__).parents[1] / "workflows" / "object_info.json").read_text())
MUTED, BYPASSED = 2, 4


def slot(name, kind, link=None, **more):
    return {"name": name, "type": kind, "link": link, **more}


def node(node_id, kind, *inputs, outputs=(), values=None, **more):
    slots = [{"name": kind, "type": kind} for kind in outputs]
    return {"id": node_id, "type": kind, "inputs": list(inputs), "outputs": slots, "widgets_values": values, **more}


NUMBER = slot("number", "INT", 7, widget={"name": "number"})


def source(node_id, number=1):
    return node(node_id, "ReadingSource", values=[number])


def inputs(workflow):
    return {key: entry["inputs"] for key, entry in convert_workflow(workflow, OBJECT_INFO).items()}


def hosted(host=None, inner=(), links=(), ins=(), outs=(), nodes=(), outer_links=()):
    """Node 5 is the host of a subgraph with these inner nodes and links."""
    definition = {"id": "sub", "nodes": list(inner), "links": list(links), "inputs": list(ins), "outputs": list(outs)}
    host = {"id": 5, "type": "sub", "inputs": [], "outputs": [], **(host or {})}
    return {"nodes": [host, *nodes], "links": list(outer_links), "definitions": {"subgraphs": [definition]}}


def link(link_id, origin, origin_slot, target, target_slot):
    return {
        "id": link_id,
        "origin_id": origin,
        "origin_slot": origin_slot,
        "target_id": target,
        "target_slot": target_slot,
        "type": "*",
    }


@pytest.mark.parametrize(("mode", "image"), [(MUTED, {}), (BYPASSED, {"images": ["1", 3]})])
def test_a_stopped_host_stops_what_is_inside(mode, image):
    workflow = hosted(
        {"mode": mode, "inputs": [slot("image", "IMAGE", 1)]},
        inner=[node(2, "ReadingOptional", slot("image", "IMAGE", 7))],
        links=[link(7, -10, 0, 2, 0), link(8, 2, 0, -20, 0)],
        ins=[slot("image", "IMAGE")],
        outs=[slot("image", "IMAGE")],
        nodes=[source(1), node(6, "ReadingSave", slot("images", "IMAGE", 2), values=["x"])],
        outer_links=[[1, 1, 3, 5, 0, "IMAGE"], [2, 5, 0, 6, 0, "IMAGE"]],
    )
    assert inputs(workflow) == {"1": {"number": 1}, "6": {"filename_prefix": "x"} | image}


def test_a_subgraphs_input_may_go_straight_to_its_output():
    workflow = hosted(
        {"inputs": [slot("image", "IMAGE", 1)]},
        links=[link(7, -10, 0, -20, 0)],
        ins=[slot("image", "IMAGE")],
        outs=[slot("image", "IMAGE")],
        nodes=[source(1), node(6, "ReadingSave", slot("images", "IMAGE", 2))],
        outer_links=[[1, 1, 3, 5, 0, "IMAGE"], [2, 5, 0, 6, 0, "IMAGE"]],
    )
    assert inputs(workflow)["6"]["images"] == ["1", 3]


def test_proxy_widgets_set_the_values_inside():
    workflow = hosted(
        {
            "properties": {"proxyWidgets": [["2", "text"], ["-1", "number"], ["9", "$$canvas-image-preview"]]},
            "widgets_values": ["outside", 12, None],
        },
        inner=[node(2, "ReadingWidgets", NUMBER, values=[1, 0.5, "inside"])],
        links=[link(7, -10, 0, 2, 0)],
        ins=[slot("number", "INT")],
    )
    sent = inputs(workflow)["5:2"]
    assert (sent["number"], sent["text"], sent["real"]) == (12, "outside", 0.5)


@pytest.mark.parametrize(
    "proxy", [["6", "strength"], ["6", "2: strength"], ["6", "strength", "2"], ["6", "strength", "nobody"]]
)
def test_an_outer_host_shows_what_an_inner_one_shows(proxy):
    # As front end 1.58.1 read such files of earlier ones: the outermost value counts.
    shows = {"properties": {"proxyWidgets": [["2", "strength"], ["3", "strength"]]}, "widgets_values": [0.125, 0.25]}
    workflow = hosted(inner=[node(2, "ReadingOptional"), node(3, "ReadingOptional", values=[0.5])])
    (inner,) = workflow["definitions"]["subgraphs"]
    outer = {"id": "outer", "nodes": [{"id": 6, "type": "sub", **shows}]}
    workflow["definitions"]["subgraphs"] = [outer, inner]
    workflow["nodes"] = [
        {"id": 5, "type": "outer", "properties": {"proxyWidgets": [proxy]}, "widgets_values": [0.9375]}
    ]
    sent = inputs(workflow)
    assert (sent["5:6:2"]["strength"], sent["5:6:3"]["strength"]) == (0.9375, 0.25)
    workflow["nodes"][0]["widgets_values"] = []
    sent = inputs(workflow)
    assert (sent["5:6:2"]["strength"], sent["5:6:3"]["strength"]) == (0.125, 0.25)


def test_the_source_tells_two_shown_widgets_of_one_name_apart():
    shows = {"properties": {"proxyWidgets": [["2", "strength"], ["3", "strength"]]}}
    workflow = hosted(inner=[node(2, "ReadingOptional"), node(3, "ReadingOptional")])
    workflow["definitions"]["subgraphs"].append({"id": "outer", "nodes": [{"id": 6, "type": "sub", **shows}]})
    proxies = [["6", "strength", "3"], ["6", "strength", "2"]]
    workflow["nodes"] = [
        {"id": 5, "type": "outer", "properties": {"proxyWidgets": proxies}, "widgets_values": [0.25, 0.75]}
    ]
    sent = inputs(workflow)
    assert (sent["5:6:2"]["strength"], sent["5:6:3"]["strength"]) == (0.75, 0.25)


def test_the_proxy_of_a_host_that_shows_itself_ends():
    shows = {"properties": {"proxyWidgets": [["-1", "strength"], ["9", "strength"], [["6"], {}], "odd", []]}}
    workflow = hosted({**shows, "widgets_values": [1, 2, 3]}, inner=[node(2, "ReadingOptional", values=[0.5])])
    assert inputs(workflow)["5:2"]["strength"] == 0.5


def test_a_primitive_inside_a_subgraph():
    workflow = hosted(
        inner=[
            node(1, "PrimitiveNode", outputs=["INT"], values=[55, "fixed"]),
            node(2, "ReadingWidgets", NUMBER),
        ],
        links=[link(7, 1, 0, 2, 0)],
    )
    assert inputs(workflow)["5:2"]["number"] == 55


def test_values_by_name():
    by_name = node(1, "ReadingWidgets", values={"text": "named", "choice": "beta", "player": {"x": 1}})
    sent = inputs({"nodes": [by_name]})["1"]
    assert (sent["text"], sent["choice"], sent["number"]) == ("named", "beta", 7)
    assert "player" not in sent
    also = node(2, "ReadingWidgets", values=["odd"], widgets_values_named={"text": "named"})
    assert inputs({"nodes": [also]})["2"]["text"] == "named"


def group(nodes, links=(), host=None, more=(), outer_links=(), external=()):
    groups = {"g": {"nodes": list(nodes), "links": list(links), "external": list(external)}}
    host = {"id": 5, "type": "workflow>g", "inputs": [], "outputs": [], **(host or {})}
    extra = {"groupNodes": groups, "frontendVersion": "1.27.10"}
    return {"nodes": [host, *more], "links": list(outer_links), "extra": extra}


PAIR = {
    "nodes": [source(-1), node(-1, "ReadingOptional", slot("image", "IMAGE"), slot("mask", "MASK"), values=[0.5])],
    "links": [[0, 3, 1, 0, 1, "IMAGE"]],
    "external": [[1, 0, "IMAGE"]],
}
# What the pair shows: INT, FLOAT, STRING, MASK and BOOLEAN of the source, then IMAGE and MASK of the other.
SAVED = {
    "more": [node(6, "ReadingSave", slot("images", "IMAGE", 1), values=["x"])],
    "outer_links": [[1, 5, 5, 6, 0, "IMAGE"]],
}


def test_a_group_node_feeds_what_is_outside():
    assert inputs(group(**PAIR, **SAVED))["6"]["images"] == ["5:1", 0]


def test_a_muted_group_node_stops_what_is_inside():
    assert inputs(group(**PAIR, **SAVED, host={"mode": MUTED})) == {"6": {"filename_prefix": "x"}}


def test_a_bypassed_node_in_a_group_passes_on():
    pair = PAIR | {"nodes": [PAIR["nodes"][0], PAIR["nodes"][1] | {"mode": BYPASSED}]}
    assert inputs(group(**pair, **SAVED))["6"]["images"] == ["5:0", 3]


def test_a_reroute_in_a_group_passes_on():
    reroute = node(-1, "Reroute", slot("", "*"), outputs=["IMAGE"])
    nodes = [PAIR["nodes"][0], reroute, PAIR["nodes"][1]]
    workflow = group(nodes, [[0, 3, 1, 0, 1, "IMAGE"], [1, 0, 2, 0, 2, "IMAGE"]])
    assert inputs(workflow)["5:2"]["image"] == ["5:0", 3]


def test_a_reroute_in_a_group_brings_what_comes_from_outside():
    """Its input is known by its type, as in the settings of hidream_e1_example.png of ComfyUI's examples."""
    nodes = [node(-1, "Reroute", slot("", "*"), outputs=["IMAGE"]), PAIR["nodes"][1]]
    workflow = group(nodes, [[None, 3, 0, 0, 4, "IMAGE"], [0, 0, 1, 0, 2, "IMAGE"]])
    workflow["extra"]["groupNodes"]["g"]["config"] = {"0": {"input": {"IMAGE": {"name": "picture"}}}}
    host, given = workflow["nodes"][0], source(9)
    host["inputs"], workflow["links"] = [slot("picture", "IMAGE", 1)], [[1, 9, 3, 5, 0, "IMAGE"]]
    workflow["nodes"].append(given)
    assert inputs(workflow)["5:1"]["image"] == ["9", 3]


def test_a_group_node_may_feed_another():
    second = {"id": 8, "type": "workflow>g", "inputs": [slot("image2", "IMAGE", 1)], "outputs": []}
    workflow = group(**PAIR, more=[second], outer_links=[[1, 5, 5, 8, 1, "IMAGE"]])
    assert inputs(workflow)["8:1"]["image2"] == ["5:1", 0]
    assert inputs(workflow)["8:1"]["image"] == ["8:0", 3]


def test_a_group_nodes_widget_may_be_linked():
    host = {"inputs": [slot("number", "INT", 1, widget={"name": "number"})], "widgets_values": [3, 0.25]}
    workflow = group(**PAIR, host=host, more=[source(9)], outer_links=[[1, 9, 0, 5, 0, "INT"]])
    assert inputs(workflow)["5:0"]["number"] == ["9", 0]
    assert inputs(workflow)["5:1"]["strength"] == 0.25


OLD_IN_GROUP = node(-1, "ReadingOptional", slot("image", "IMAGE"), values=[0.5, "n"])
WIDGETS = [slot("strength", "FLOAT", widget={"name": "strength"}), slot("note", "STRING", widget={"name": "note"})]


@pytest.mark.parametrize(
    ("slots", "values", "kind"),
    [
        ([], [0.25, "given", 44], "alpha"),
        (WIDGETS, [44, 0.25, "given"], "alpha"),
        ([], [0.25, "given", "beta", 44], "beta"),  # saved again since
    ],
)
def test_a_class_in_a_group_has_gained_a_widget(slots, values, kind):
    """As in hidream_e1_example.png of ComfyUI's examples: the host's values belong to the widgets of then."""
    old = OLD_IN_GROUP | {"inputs": [*OLD_IN_GROUP["inputs"], *slots]}
    sent = inputs(group([old, source(-1)], host={"widgets_values": values}))
    assert sent["5:0"] == {"strength": 0.25, "note": "given", "kind": kind}
    assert sent["5:1"] == {"number": 44}


def test_a_group_in_a_group():
    outer = {"nodes": [{"id": -1, "type": "workflow>g", "inputs": [], "outputs": []}], "links": [], "external": []}
    workflow = group(**PAIR)
    workflow["extra"]["groupNodes"]["outer"] = outer
    workflow["nodes"] = [{"id": 7, "type": "workflow>outer", "widgets_values": [44]}]
    assert inputs(workflow)["7:0:0"] == {"number": 44}
    assert inputs(workflow)["7:0:1"]["image"] == ["7:0:0", 3]


def named(node_id, kind, name, link_id=None):
    return node(node_id, kind, *([slot("*", "*", link_id)] if kind.endswith("SetNode") else []), values=[name])


def test_values_set_and_got_by_name():
    workflow = {
        "nodes": [
            node(6, "ReadingOptional", slot("image", "IMAGE", 3), slot("mask", "MASK", 4)),
            named(5, "GetNode", "other"),
            named(4, "GetNode", "picture"),
            named(3, "SetNode", "other", 2),
            named(2, "SetNode", "picture", 1) | {"mode": BYPASSED},
            source(1),
        ],
        "links": [[1, 1, 3, 2, 0, "IMAGE"], [2, 1, 4, 3, 0, "MASK"], [3, 4, 0, 6, 0, "IMAGE"], [4, 5, 0, 6, 1, "MASK"]],
    }
    sent = inputs(workflow)
    assert sent.keys() == {"1", "6"} and (sent["6"]["image"], sent["6"]["mask"]) == (["1", 3], ["1", 4])
    workflow["nodes"][2]["mode"] = BYPASSED
    assert "image" not in inputs(workflow)["6"]
    workflow["nodes"][1]["widgets_values"] = ["nobody"]
    with pytest.raises(WorkflowError, match=r"node 6 .*: 'mask' is linked to a SetNode named 'nobody', which doesn't"):
        convert_workflow(workflow, OBJECT_INFO)


def test_a_name_is_looked_up_on_its_own_level_first():
    inner = [named(11, "GetNode", "a"), named(12, "GetNode", "b"), named(13, "SetNode", "b", 9), source(14, number=2)]
    inner.append(node(15, "ReadingOptional", slot("image", "IMAGE", 7), slot("image2", "IMAGE", 8)))
    workflow = hosted(
        inner=inner,
        links=[link(7, 11, 0, 15, 0), link(8, 12, 0, 15, 1), link(9, 14, 3, 13, 0)],
        nodes=[source(1), named(2, "SetNode", "a", 1), named(3, "SetNode", "b", 1)],
        outer_links=[[1, 1, 3, 2, 0, "IMAGE"]],
    )
    sent = inputs(workflow)["5:15"]
    assert (sent["image"], sent["image2"]) == (["1", 3], ["5:14", 3])


def test_a_value_set_by_its_own_name_goes_in_a_circle():
    nodes = [named(1, "SetNode", "a", 1), named(2, "GetNode", "a"), node(3, "ReadingSave", slot("images", "IMAGE", 2))]
    with pytest.raises(WorkflowError, match="form a loop"):
        convert_workflow({"nodes": nodes, "links": [[1, 2, 0, 1, 0, "*"], [2, 2, 0, 3, 0, "*"]]}, OBJECT_INFO)


def test_packs_own_reroutes_and_labels():
    reroute = node(2, "Reroute (rgthree)", slot("", "*", 1), outputs=["IMAGE"])
    nodes = [source(1), reroute, node(3, "ReadingSave", slot("images", "IMAGE", 2)), node(4, "Label (rgthree)")]
    sent = inputs({"nodes": nodes, "links": [[1, 1, 3, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]]})
    assert sent.keys() == {"1", "3"} and sent["3"]["images"] == ["1", 3]


def test_unknown_types_are_named_with_title_and_pack():
    properties = {"cnr_id": "comfyui-nowhere"}
    unknown = node(12, "NoSuchNode", title="Magic", properties=properties)
    for workflow in ({"nodes": [unknown]}, hosted(inner=[unknown])):
        with pytest.raises(WorkflowError, match="12: unknown type 'NoSuchNode', titled 'Magic', from 'comfyui-now"):
            convert_workflow(workflow, OBJECT_INFO)


def test_unknown_types_that_would_not_run_are_no_fault():
    unknown = node(2, "NoSuchNode", slot("image", "IMAGE", 1), outputs=["IMAGE"], mode=BYPASSED)
    save = node(3, "ReadingSave", slot("images", "IMAGE", 2))
    workflow = {"nodes": [source(1), unknown, save], "links": [[1, 1, 3, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]]}
    assert inputs(workflow)["3"]["images"] == ["1", 3]
    assert inputs({"nodes": [unknown | {"mode": MUTED}]}) == {}


@pytest.mark.parametrize("links", [[], [[1, 99, 0, 2, 0, "IMAGE"]]])
def test_links_to_what_is_not_there_are_refused(links):
    save = node(2, "ReadingSave", slot("images", "IMAGE", 1))
    with pytest.raises(WorkflowError, match=r"node 2 \(ReadingSave\): 'images' is linked to (link 1|node 99), which"):
        convert_workflow({"nodes": [save], "links": links}, OBJECT_INFO)


def test_links_in_a_circle_are_refused():
    circle = [node(1, "Reroute", slot("", "*", 1)), node(2, "Reroute", slot("", "*", 2))]
    save = node(3, "ReadingSave", slot("images", "IMAGE", 1))
    workflow = {"nodes": [*circle, save], "links": [[1, 2, 0, 1, 0, "*"], [2, 1, 0, 2, 0, "*"]]}
    with pytest.raises(WorkflowError, match="form a loop"):
        convert_workflow(workflow, OBJECT_INFO)


def test_subgraphs_in_a_circle_are_refused():
    definitions = [{"id": "a", "nodes": [node(1, "b")]}, {"id": "b", "nodes": [node(1, "a")]}]
    with pytest.raises(WorkflowError, match="contains itself"):
        convert_workflow({"nodes": [node(1, "a")], "definitions": {"subgraphs": definitions}}, OBJECT_INFO)


def test_a_malformed_definition_is_named():
    for info in (3, {"input": 3}, {"input": {"required": 3}}, {"input": {"required": {"a": ["INT", 3]}}}):
        with pytest.raises(WorkflowError, match="definition of 'Odd'"):
            convert_workflow({"nodes": [node(1, "Odd")]}, {"Odd": info})
