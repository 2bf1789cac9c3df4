"""The fixtures, on the nodes that the package brings."""

import pytest

pytest_plugins = ["pytester"]

PACK = '''
import asyncio

class Any(str):
    def __ne__(self, other): return False

class Base:
    CATEGORY, FUNCTION, RETURN_TYPES = "toy", "go", ("INT",)

class Add(Base):
    RETURN_NAMES = ("sum",)
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT", {"default": 1, "min": 0, "max": 9}), "b": ("INT", {"default": 2})}}
    def go(self, a, b): return (a + b,)

class Count(Base):
    INPUT_IS_LIST = True
    @classmethod
    def INPUT_TYPES(cls): return {"required": {"items": (Any("*"),)}}
    def go(self, items): return (len(items),)

class Lazy(Base):
    """Takes one of two, and computes only that one."""
    @classmethod
    def INPUT_TYPES(cls):
        lazy = ("INT", {"lazy": True})
        return {"required": {"which": (["a", "b"],)}, "optional": {"a": lazy, "b": lazy}}
    def check_lazy_status(self, which, a=None, b=None): return [which]
    def go(self, which, a=None, b=None): return (a if which == "a" else b,)

class Breaks(Base):
    @classmethod
    def INPUT_TYPES(cls): return {"required": {"a": ("INT", {"default": 3})}}
    def go(self, a): raise RuntimeError(f"no {a}")

class Later(Base):
    @classmethod
    def INPUT_TYPES(cls): return {"required": {"a": ("INT", {"default": 3})}}
    async def go(self, a):
        await asyncio.sleep(0.01)
        return (a,)

class Words(Base):
    RETURN_TYPES, RETURN_NAMES = ("STRING", "FLOAT"), ("text", "number")
    @classmethod
    def INPUT_TYPES(cls): return {"required": {"text": ("STRING", {"default": "one two"})}}
    def go(self, text): return (text.upper(), len(text) / 2)

class Show(Base):
    RETURN_TYPES, OUTPUT_NODE = (), True
    @classmethod
    def INPUT_TYPES(cls): return {"required": {"value": (Any("*"),)}}
    def go(self, value): return {"ui": {"text": [str(value)]}}

NODE_CLASS_MAPPINGS = {one.__name__: one for one in (Add, Count, Lazy, Breaks, Later, Words, Show)}
'''


@pytest.fixture
def passes(pytester, run_pytest):
    """`passes(tests)`: run these on the toy pack; every one must pass."""
    pytester.makeini("[pytest]\ncomfy_packs = toys.py\n")
    (pytester.path / "toys.py").write_text(PACK)

    def run(text, *arguments):
        (pytester.path / "test_inner.py").write_text(text)
        ended = run_pytest(*arguments)
        assert ended.failures == {} and ended.passed, ended.text
        return ended

    return run


def test_single_nodes(passes):
    passes("""
import pytest, torch
from comfyui_ddim.testing import Items, WorkflowFailed, WorkflowRefused

def test_defaults(run_node):
    assert run_node("Add")["sum"] == 3 and list(run_node("Add", b=5)) == [6]

def test_lists(run_node):
    assert run_node("Add", a=Items([1, 2, 3]), b=10)[0] == [11, 12, 13]
    assert run_node("Count", items=Items([1, 2, 3]))[0] == 3
    assert run_node("Count", items=object())[0] == 1

def test_lazy_inputs_and_coroutines(run_node):
    assert run_node("Lazy", which="b", a=1, b=2)[0] == 2
    assert run_node("Later", a=4)[0] == 4

def test_an_output_node(run_node):
    assert run_node("Show", value=7).ui == {"text": ["7"]}
    assert run_node("Show", value=[7])["value"] == [7]

def test_tensors_go_in_as_they_are(run_node):
    image = torch.rand(1, 64, 64, 3)
    assert run_node("ImageInvert", image=image)["IMAGE"].allclose(1 - image)

@pytest.mark.parametrize(("kind", "given", "words"), [
    ("Add", {"a": 10}, "input a: 10 is larger than the maximum of 9"),
    ("Add", {"c": 1}, "Add has no input 'c'; it has a, b"),
    ("Count", {}, "input items: required, but missing"),
    ("Sub", {}, "unknown node class 'Sub'"),
])
def test_refused(run_node, kind, given, words):
    with pytest.raises((WorkflowRefused, WorkflowFailed), match=words):
        run_node(kind, **given)

def test_failed(run_node):
    with pytest.raises(WorkflowFailed, match=r"node 1 \\(Breaks\\): no 3 \\[RuntimeError\\]"):
        run_node("Breaks")

def test_no_such_output(run_node):
    with pytest.raises(KeyError, match="Add has no 'IMAGE'; it has sum"):
        run_node("Add")["IMAGE"]
""")


def test_graphs(passes):
    passes("""
import pytest
from comfyui_ddim.testing import WorkflowRefused

def test_only_what_is_needed(graph):
    one, other = graph.add("Add", a=1), graph.add("Breaks")
    chosen = graph.add("Lazy", which="a", a=one, b=other[0])
    shown = graph.add("Show", value=chosen["INT"], title="the end")
    result = graph.run(only=[shown])
    assert result["the end"]["value"] == 3 and result.ui[shown.id] == {"text": ["3"]}
    assert set(result.ran) == {"1", "3", "4"}
    with pytest.raises(ValueError, match="node 2 .Breaks. was not run"):
        result[other]

def test_the_output_that_fits(graph):
    words = graph.add("Words")
    graph.add("Show", value=words)
    assert graph.prompt["2"]["inputs"] == {"value": ["1", 0]}
    assert graph.run()[words]["number"] == 3.5

def test_the_shipped_model_decodes(graph, shipped_model, compare):
    latent = graph.add("EmptyLatentImage", width=64, height=64)
    decoded = graph.add("VAEDecode", samples=latent, vae=shipped_model.vae)
    image = graph.run()[decoded]["IMAGE"]
    assert image.shape == (1, 64, 64, 3)

def test_unknown_class(graph):
    with pytest.raises(WorkflowRefused, match="unknown node class 'Nope'"):
        graph.add("Nope")
""")


def test_compare_writes_and_compares(pytester, passes, run_pytest):
    test = """
import torch
def test_ramp(compare):
    compare(torch.linspace(0, {end}, 64).expand(1, 64, 64)[..., None].expand(-1, -1, -1, 3))
    compare({{"samples": torch.ones(1, 4, 8, 8).cumsum(-1) * {end}}}, "latent")
"""
    passes(test.format(end=1), "--comfy-update")
    passes(test.format(end=1.001))
    folder = pytester.path / "references" / "test_inner"
    assert sorted(path.name for path in folder.iterdir()) == ["test_ramp.latent.safetensors", "test_ramp.png"]
    (pytester.path / "test_inner.py").write_text(test.format(end=0.8))
    words = run_pytest().failures["test_ramp"]
    assert "test_ramp: PSNR 18.7, expected at least 35; largest difference of an 8 x 8 block" in words
    assert (pytester.path / "comfy-failures/test_inner/test_ramp.difference.png").is_file()
