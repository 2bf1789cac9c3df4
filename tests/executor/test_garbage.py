"""Garbage in: whatever a prompt is, the answer is a result or a clean error."""

import copy
import json

import pytest

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

from comfyui_ddim.cli import main  # noqa: E402
from comfyui_ddim.executor import Executor, WorkflowError  # noqa: E402


class Value:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"value": ("INT", {"min": 0}), "kind": (["a", "b"],)}})
    RETURN_TYPES, FUNCTION = ("INT",), "work"

    def work(self, value, kind):
        return (value,)


class Add:
    INPUT_TYPES = classmethod(
        lambda cls: {"required": {"a": ("INT", {"lazy": True}), "b": ("INT",)}, "hidden": {"me": "UNIQUE_ID"}}
    )
    RETURN_TYPES, FUNCTION = ("INT",), "work"

    @classmethod
    def VALIDATE_INPUTS(cls, b):
        return b != 13

    def check_lazy_status(self, a, b, me):
        return ["a"] if a is None else []

    def work(self, a, b, me):
        return (a + b,)


class Show:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"value": ("INT",)}, "optional": {"text": ("STRING",)}})
    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "work", True

    def work(self, value, **others):
        return {"ui": {"value": [value]}}


CLASSES = {"Value": Value, "Add": Add, "Show": Show}
GOOD = {
    "1": {"class_type": "Value", "inputs": {"value": 3, "kind": "a"}, "_meta": {"title": "One"}},
    "2": {"class_type": "Add", "inputs": {"a": ["1", 0], "b": 4}},
    "3": {"class_type": "Add", "inputs": {"a": ["2", 0], "b": ["1", 0]}},
    "4": {"class_type": "Show", "inputs": {"value": ["3", 0], "text": "x"}},
    "5": {"class_type": "Show", "inputs": {"value": ["1", 0]}},
}
ids = st.sampled_from([*GOOD, "9", "", "1:2"])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.sampled_from([*CLASSES, "a", 13])
)
links = st.tuples(ids, st.sampled_from([0, 1, -1, 0.0, 2**70])).map(list)
nested = st.lists(scalars, max_size=3) | st.dictionaries(ids, scalars, max_size=2)
values = st.one_of(scalars, links, nested)


def places(tree, path=()):
    """The path to everything in a JSON tree."""
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


@st.composite
def mutated(draw, good):
    """The good tree with a few of its parts replaced, removed or doubled."""
    tree = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 4))):
        paths = [path for path in places(tree) if path]
        if not paths:
            break
        *above, last = draw(st.sampled_from(paths))
        holder = tree
        for key in above:
            holder = holder[key]
        if draw(st.booleans()):
            holder[last] = draw(values)
        elif isinstance(holder, dict) and draw(st.booleans()):
            holder[draw(ids)] = copy.deepcopy(holder[last])
        else:
            del holder[last]
    return tree


@hypothesis.settings(max_examples=150, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(mutated(GOOD), st.sampled_from(["classic", "lru", "none"]), st.sampled_from(["0.3.64", "current"]))
def test_mutated_prompts(prompt, cache, rules):
    before = json.dumps(prompt)
    executor = Executor(CLASSES, cache=cache, rules=rules)
    try:
        results = [executor.run(prompt) for _ in range(2)]
    except WorkflowError:
        return
    assert json.dumps(prompt) == before
    first, second = results
    for result in results:
        assert result.accepted == (result.error is None)
        assert result.succeeded or result.error is not None or result.failure["node_id"] in prompt
    if first.succeeded:
        assert second.succeeded and first.outputs == second.outputs


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    (folder / "toys.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    return folder


BROWSER = {
    "nodes": [
        {"id": 1, "type": "EmptyLatentImage", "mode": 0, "widgets_values": [64, 64, 1],
         "outputs": [{"name": "LATENT", "type": "LATENT", "links": [1]}]},
        {"id": 2, "type": "VAEDecode", "mode": 0, "inputs": [{"name": "samples", "type": "LATENT", "link": 1},
         {"name": "vae", "type": "VAE", "link": None}], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2]}]},
        {"id": 3, "type": "SaveImage", "mode": 0, "inputs": [{"name": "images", "type": "IMAGE", "link": 2}],
         "widgets_values": ["x"], "title": "Save it"},
    ],
    "links": [[1, 1, 0, 2, 0, "LATENT"], [2, 2, 0, 3, 0, "IMAGE"]],
    "version": 0.4,
}  # fmt: skip
API = {
    "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "2": {"class_type": "VAEDecode", "inputs": {"samples": ["1", 0], "vae": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}, "_meta": {"title": "S"}},
}


@hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(mutated(BROWSER) | mutated(API) | values, st.sampled_from(["check", "show", "convert"]))
def test_mutated_files_on_the_command_line(pack, capsys, tree, command):
    file = pack / "w.json"
    file.write_text(json.dumps(tree))
    code = main([command, str(file)])
    captured = capsys.readouterr()
    assert code in (0, 2)
    assert "Traceback" not in captured.err
    if code == 2:
        assert (captured.out + captured.err).strip()
