"""Validation against what ComfyUI answered for the same prompts and classes: 0.3.64 unless another is named."""

import asyncio

import pytest
from comfyui_ddim.executor import Executor


class Any(str):
    """The wildcard type that packs make."""

    def __ne__(self, other):
        return False


def node_class(required=None, optional=None, returns=("IMAGE",), output=False, **attributes):
    declared = {"required": required or {}, "optional": optional or {}}
    members = {"INPUT_TYPES": classmethod(lambda cls: declared), "RETURN_TYPES": returns, "FUNCTION": "work"}
    return type("Node", (), {**members, "OUTPUT_NODE": output, "work": lambda self, **inputs: {}, **attributes})


CLASSES = {
    "Image": node_class({"n": ("INT", {"min": 0, "max": 5})}),
    "Model": node_class(returns=("MODEL", "CLIP")),
    "Values": node_class(
        {"i": ("INT",), "x": ("FLOAT", {"min": 0.0, "max": 1.0}), "s": ("STRING",), "b": ("BOOLEAN", {})}
    ),
    "Choice": node_class({"c": (["a", "b"],)}, {"many": ([str(i) for i in range(30)],)}),
    "Mix": node_class({"i": ("IMAGE,MASK",)}, {"star": ("*",), "any": (Any("*"),)}),
    "Save": node_class({"images": ("IMAGE",)}, returns=(), output=True),
}


def check(nodes, targets=None, classes=None, rules="0.3.64"):
    """The verdict on `{id: (class, inputs)}`."""
    prompt = {node_id: {"class_type": kind, "inputs": inputs} for node_id, (kind, inputs) in nodes.items()}
    return Executor({**CLASSES, **(classes or {})}, rules=rules).check(prompt, targets)


def errors_of(verdict, node_id):
    return [(e["type"], e["details"]) for e in verdict.node_errors[node_id]["errors"]]


def saved(kind, inputs):
    """A node whose first output is saved."""
    return {"1": (kind, inputs), "2": ("Save", {"images": ["1", 0]})}


# --- the prompt as a whole


def test_a_good_prompt():
    verdict = check(saved("Image", {"n": 1}))
    assert verdict.accepted and verdict.outputs == ["2"] and verdict.node_errors == {}


def test_missing_class_type():
    prompt = {"7": {"inputs": {}}}
    assert Executor(CLASSES, rules="0.3.64").check(prompt).error == {
        "type": "invalid_prompt",
        "message": "Cannot execute because a node is missing the class_type property.",
        "details": "Node ID '#7'",
        "extra_info": {},
    }
    assert Executor(CLASSES).check(prompt).error == {
        "type": "missing_node_type",
        "message": "Node 'ID #7' has no class_type. The workflow may be corrupted or a custom node is missing.",
        "details": "Node ID '#7'",
        "extra_info": {"node_id": "7", "class_type": None, "node_title": None},
    }


@pytest.mark.parametrize("nodes", [{"3": ("Nope", {})}, {**saved("Image", {"n": 1}), "3": ("Nope", {})}])
def test_an_unknown_class_refuses_the_prompt_even_unconnected(nodes):
    verdict = check(nodes)
    assert verdict.error["type"] == "invalid_prompt"
    assert verdict.error["message"] == "Cannot execute because node Nope does not exist."
    assert verdict.error["details"] == "Node ID '#3'"
    assert verdict.node_errors == {}


def test_the_current_name_of_an_unknown_class():
    prompt = {"3": {"class_type": "Nope", "inputs": {}, "_meta": {"title": "My node"}}}
    assert Executor(CLASSES, rules="current").check(prompt).error == {
        "type": "missing_node_type",
        "message": "Node 'My node' not found. The custom node may not be installed.",
        "details": "Node ID '#3'",
        "extra_info": {"node_id": "3", "class_type": "Nope", "node_title": "My node"},
    }


def test_no_outputs():
    assert check({"1": ("Image", {"n": 1})}).error == {
        "type": "prompt_no_outputs",
        "message": "Prompt has no outputs",
        "details": "",
        "extra_info": {},
    }
    assert check(saved("Image", {"n": 1}), targets=[]).error["type"] == "prompt_no_outputs"


def test_one_good_output_is_enough_and_the_faults_of_others_are_still_told():
    nodes = {**saved("Image", {"n": 1}), "3": ("Image", {"n": 9}), "4": ("Save", {"images": ["3", 0]})}
    verdict = check(nodes)
    assert verdict.accepted and verdict.outputs == ["2"]
    assert verdict.node_errors["3"]["class_type"] == "Image"
    assert verdict.node_errors["3"]["dependent_outputs"] == ["4"]
    assert "4" not in verdict.node_errors  # it fails only because of node 3


def test_all_bad_outputs_with_the_details_of_each():
    verdict = check({"1": ("Save", {}), "2": ("Save", {"images": ["3", 0]}), "3": ("Model", {})})
    assert verdict.error["type"] == "prompt_outputs_failed_validation"
    assert verdict.error["message"] == "Prompt outputs failed validation"
    assert verdict.error["details"].split("\n") == [
        "Required input is missing: images",
        "Return type mismatch between linked nodes: images, received_type(MODEL) mismatch input_type(IMAGE)",
    ]


# --- inputs


@pytest.mark.parametrize(
    ("kind", "inputs", "expected"),
    [
        ("Image", {}, ("required_input_missing", "n")),
        ("Image", {"n": [1]}, ("bad_linked_input", "n")),
        ("Image", {"n": -1}, ("value_smaller_than_min", "n")),
        ("Image", {"n": 6}, ("value_bigger_than_max", "n")),
        ("Image", {"n": "x"}, ("invalid_input_type", "n, x, invalid literal for int() with base 10: 'x'")),
        ("Choice", {"c": "z"}, ("value_not_in_list", "c: 'z' not in ['a', 'b']")),
        ("Choice", {"c": "a", "many": "z"}, ("value_not_in_list", "many: 'z' not in (list of length 30)")),
    ],
)
def test_input_errors(kind, inputs, expected):
    assert errors_of(check(saved(kind, inputs)), "1") == [expected]


def test_extra_info():
    verdict = check(saved("Image", {"n": 6}))
    assert verdict.node_errors["1"]["errors"][0] == {
        "type": "value_bigger_than_max",
        "message": "Value 6 bigger than max of 5",
        "details": "n",
        "extra_info": {"input_name": "n", "input_config": ("INT", {"min": 0, "max": 5}), "received_value": 6},
    }
    long_list = check(saved("Choice", {"c": "a", "many": "z"})).node_errors["1"]["errors"][0]
    assert long_list["extra_info"]["input_config"] is None


def test_all_faults_of_a_node_at_once():
    nodes = saved("Values", {"i": "x", "x": 2, "s": "", "b": True})
    assert [kind for kind, _ in errors_of(check(nodes), "1")] == ["invalid_input_type", "value_bigger_than_max"]


@pytest.mark.parametrize(
    ("inputs", "converted"),
    [
        ({"i": "3", "x": "0.5", "s": None, "b": "false"}, {"i": 3, "x": 0.5, "s": "None", "b": True}),
        ({"i": 3.9, "x": 1, "s": 5, "b": 0}, {"i": 3, "x": 1.0, "s": "5", "b": False}),
        ({"i": {"__value__": 4}, "x": True, "s": [], "b": True}, None),
    ],
)
def test_constants_are_converted(inputs, converted):
    seen = {}

    class Values(CLASSES["Values"]):
        OUTPUT_NODE = True

        def work(self, **given):
            seen.update(given)
            return {}

    result = Executor({"Values": Values}).run({"1": {"class_type": "Values", "inputs": inputs}})
    if converted is None:
        assert result.node_errors["1"]["errors"][0]["type"] == "bad_linked_input"
    else:
        assert seen == converted
        assert [type(seen[name]) for name in seen] == [type(converted[name]) for name in seen]


@pytest.mark.parametrize(
    ("options", "value", "fault"),
    [
        ({"options": ["a", "b"]}, "b", False),
        ({"options": ["a", "b"]}, "z", True),
        ({"options": ["a", "b"], "multiselect": True, "multi_select": {}}, {"__value__": ["a", "b"]}, False),
        ({"options": ["a", "b"], "multiselect": True, "multi_select": {}}, {"__value__": ["a", "z"]}, True),
        ({"options": ["a", "b"], "multiselect": False}, {"__value__": ["a", "b"]}, True),
        ({"options": [], "remote": {"route": "/files"}}, "z", True),
    ],
)
def test_choices_of_v3_combos_are_checked_by_the_current_rules(options, value, fault):
    classes = {"V3": node_class({"c": ("COMBO", options)})}
    assert check(saved("V3", {"c": value}), classes=classes).accepted
    assert check(saved("V3", {"c": value}), classes=classes, rules="current").accepted != fault


def test_a_list_value_is_wrapped():
    seen = {}

    class Take:
        INPUT_TYPES = classmethod(lambda cls: {"required": {"curve": ("CURVE",)}})
        RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "work", True

        def work(self, curve):
            seen["curve"] = curve
            return {}

    prompt = {"1": {"class_type": "Take", "inputs": {"curve": {"__value__": ["1", 0]}}}}
    assert Executor({"Take": Take}).check(prompt).accepted


# --- links


@pytest.mark.parametrize(
    ("link", "kind", "details"),
    [
        (["99", 0], "KeyError", "'99'"),
        ([1, 0], "KeyError", "1"),
        (["1", 5], "IndexError", "tuple index out of range"),
        (["1", "0"], "TypeError", "tuple indices must be integers or slices, not str"),
    ],
)
def test_a_link_to_nowhere_is_an_exception_on_the_output(link, kind, details):
    verdict = check({"1": ("Image", {"n": 1}), "2": ("Save", {"images": link})})
    (error,) = verdict.node_errors["2"]["errors"]
    assert error["type"] == "exception_during_validation"
    assert (error["extra_info"]["exception_type"], error["details"]) == (kind, details)


def test_an_exception_upstream_lands_on_the_node_upstream():
    verdict = check({"1": ("Mix", {"i": ["99", 0]}), "2": ("Save", {"images": ["1", 0]})})
    (error,) = verdict.node_errors["1"]["errors"]
    assert error["type"] == "exception_during_inner_validation"
    assert error["extra_info"]["input_name"] == "images"
    assert error["extra_info"]["linked_node"] == ["1", 0]
    assert error["extra_info"]["exception_message"] == "'99'"
    assert "2" not in verdict.node_errors


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        (["99", 0], "no node"),
        ([1, 0], "no link"),
        ([["1"], 0], "no link"),
        (["1", None], "no link"),
        (["1", 5], "no output"),
        (["1", -2], "no output"),
    ],
)
def test_why_a_link_could_not_be_judged_is_kept(link, reason):
    verdict = check({"1": ("Image", {"n": 1}), "2": ("Mix", {"i": link}), "3": ("Save", {"images": ["2", 0]})})
    crash = verdict.crashes["2"]
    assert (crash.reason, crash.input_name) == (reason, "i") and list(verdict.node_errors) == ["2"]


def test_missing_inputs_key():
    verdict = Executor(CLASSES).check({"1": {"class_type": "Save"}})
    assert errors_of(verdict, "1") == [("exception_during_validation", "'inputs'")]


def test_types_of_links():
    image = {"1": ("Image", {"n": 1})}
    mixed = check({**image, "2": ("Mix", {"i": ["1", 0], "any": ["1", 0]}), "3": ("Save", {"images": ["2", 0]})})
    assert mixed.accepted and not mixed.node_errors
    star = {**image, "2": ("Mix", {"i": ["1", 0], "star": ["1", 0]}), "3": ("Save", {"images": ["2", 0]})}
    assert errors_of(check(star), "2") == [
        ("return_type_mismatch", "star, received_type(IMAGE) mismatch input_type(*)")
    ]
    assert check(star, rules="current").accepted


def test_a_mismatched_link_is_not_followed():
    nodes = {"0": ("Image", {"n": 99}), "1": ("Model", {"x": ["0", 0]}), "2": ("Save", {"images": ["1", 0]})}
    assert set(check(nodes).node_errors) == {"2"}


@pytest.mark.parametrize("length", [1, 2, 5000])
def test_static_cycles(length):
    nodes = {str(i): ("Mix", {"i": [str((i + 1) % length), 0]}) for i in range(length)}
    nodes["save"] = ("Save", {"images": ["0", 0]})
    verdict = check(nodes)
    assert verdict.error["type"] == "prompt_outputs_failed_validation"
    assert verdict.node_errors == {}
    told = check(nodes, rules="current").node_errors
    assert list(told) == [str(i) for i in range(length)]
    cycle = " -> ".join(f"{i} (Mix)" for i in [*range(length), 0])
    for node_id in told:
        (fault,) = told[node_id]["errors"]
        assert (fault["type"], fault["details"]) == ("dependency_cycle", cycle)
        assert fault["extra_info"] == {"node_id": node_id, "cycle_nodes": list(told)}


# --- VALIDATE_INPUTS


def with_check(function, required, **attributes):
    return {"Own": node_class(required, VALIDATE_INPUTS=classmethod(function), **attributes)}


AB = {"a": ("INT", {"max": 2}), "b": ("INT", {"max": 2})}


async def refuse_three_later(cls, a):
    await asyncio.sleep(0.01)
    return "three is too many" if a == 3 else True


@pytest.mark.parametrize(
    "function", [lambda cls, a: "three is too many" if a == 3 else True, refuse_three_later], ids=["sync", "async"]
)
def test_named_inputs_skip_the_range_check_and_the_answer_counts(function):
    classes = with_check(function, AB)
    assert check(saved("Own", {"a": 5, "b": 1}), classes=classes).accepted
    verdict = check(saved("Own", {"a": 3, "b": 3}), classes=classes)
    assert errors_of(verdict, "1") == [
        ("value_bigger_than_max", "b"),
        ("custom_validation_failed", "a - three is too many"),
    ]


def test_false_has_no_reason_and_kwargs_take_all():
    classes = with_check(lambda cls, **inputs: False, AB)
    verdict = check(saved("Own", {"a": 5, "b": 5}), classes=classes)
    assert errors_of(verdict, "1") == [("custom_validation_failed", "a"), ("custom_validation_failed", "b")]


def test_linked_inputs_are_none_and_input_types_takes_over_the_type_check():
    seen = {}

    def judge(cls, input_types, m=0):
        seen.update(types=dict(input_types), m=m)
        return "no images here" if input_types["m"] == "IMAGE" else True

    classes = with_check(judge, {"m": ("MODEL",)})
    nodes = {"0": ("Image", {"n": 1}), "1": ("Own", {"m": ["0", 0]}), "2": ("Save", {"images": ["1", 0]})}
    verdict = check(nodes, classes=classes)
    assert seen == {"types": {"m": "IMAGE"}, "m": None}
    assert errors_of(verdict, "1") == [
        ("custom_validation_failed", "m - no images here"),
        ("custom_validation_failed", "input_types - no images here"),
    ]


def test_a_refusal_without_any_present_input_is_lost_as_in_comfyui():
    assert check(saved("Own", {"a": 1, "b": 1}), classes=with_check(lambda cls, zz=None: "never", AB)).accepted


def test_an_exception_of_validate_inputs():
    def crash(cls, a):
        raise RuntimeError("boom")

    verdict = check(saved("Own", {"a": 1, "b": 1}), classes=with_check(crash, AB))
    assert errors_of(verdict, "1") == [("exception_during_inner_validation", "boom")]


def test_whole_lists_where_the_class_takes_lists():
    classes = with_check(lambda cls, a: a == [1] or "not a list", AB, INPUT_IS_LIST=True)
    assert check(saved("Own", {"a": 1, "b": 1}), classes=classes).accepted


@pytest.mark.parametrize(
    "prompt",
    [
        {"1": None},
        {"1": []},
        {"1": {"class_type": ["Save"], "inputs": {}}},
        {"1": {"class_type": None, "inputs": {}}},
        {"1": {"class_type": "Save", "inputs": None}},
        {"1": {"class_type": "Save", "inputs": []}},
        {"1": {"class_type": "Save", "inputs": {"images": [["1"], 0]}}},
        {"1": {"class_type": "Save", "inputs": {"images": [None, None]}}},
        {"1": {"class_type": "Save", "inputs": {"images": {"__value__": [[]]}}}},
        {},
    ],
)
def test_malformed_prompts_are_refused_not_raised(prompt):
    result = Executor(CLASSES).run(prompt)
    assert not result.accepted or result.failure is not None or result.ran == ["1"]
