"""Which results are kept from run to run, and when they are let go."""

import gc
import math
import weakref

import pytest
from comfyui_ddim.executor import Executor
from comfyui_ddim.executor.cache import RAMPressureCache


class Value:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"value": ("*",)}})
    RETURN_TYPES, FUNCTION = ("*",), "work"

    def work(self, value):
        return (value,)


class Add:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"a": ("*",), "b": ("*",)}})
    RETURN_TYPES, FUNCTION = ("*",), "work"

    def work(self, a, b):
        return (a + b,)


class Show:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"value": ("*",)}})
    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "work", True

    def work(self, value):
        return {"ui": {"value": [value]}}


CLASSES = {"Value": Value, "Add": Add, "Show": Show}


def prompt(**nodes):
    return {node_id: {"class_type": kind, "inputs": inputs} for node_id, (kind, inputs) in nodes.items()}


def add_up(a=1, b=2):
    return prompt(
        a=("Value", {"value": a}), b=("Value", {"value": b}), sum=("Add", {"a": ["a", 0], "b": ["b", 0]}),
        show=("Show", {"value": ["sum", 0]}),
    )  # fmt: skip


@pytest.mark.parametrize("cache", ["classic", "lru"])
def test_nothing_runs_twice_and_the_outputs_are_still_told(cache):
    executor = Executor(CLASSES, cache=cache)
    first = executor.run(add_up())
    events = []
    second = executor.run(add_up(), on_event=lambda name, data: events.append((name, data)))
    assert first.ran == ["b", "a", "sum", "show"]  # ComfyUI's order: the last input first
    assert second.ran == []
    assert second.cached == ["a", "b", "sum", "show"]
    assert second.outputs == first.outputs == {"show": {"value": [3]}}
    assert [data["output"] for name, data in events if name == "executed"] == [{"value": [3]}]


@pytest.mark.parametrize("cache", ["classic", "lru"])
def test_a_change_runs_only_what_depends_on_it(cache):
    executor = Executor(CLASSES, cache=cache)
    executor.run(add_up())
    again = executor.run(add_up(b=5))
    assert again.ran == ["b", "sum", "show"]
    assert again.cached == ["a"]
    assert again.outputs == {"show": {"value": [6]}}


def test_results_belong_to_content_not_to_ids():
    executor = Executor(CLASSES)
    executor.run(add_up())
    renamed = prompt(
        x=("Value", {"value": 1}), y=("Value", {"value": 2}), z=("Add", {"a": ["x", 0], "b": ["y", 0]}),
        w=("Show", {"value": ["z", 0]}),
    )  # fmt: skip
    assert executor.run(renamed).ran == []


def test_identical_nodes_of_one_prompt_share_one_call():
    result = Executor(CLASSES).run(add_up(a=1, b=1))
    assert sum(node_id in result.ran for node_id in "ab") == 1
    assert result.outputs == {"show": {"value": [2]}}


def test_values_that_cannot_be_compared_are_never_equal():
    executor = Executor(CLASSES)
    nodes = add_up()
    nodes["a"]["inputs"]["value"] = {"__value__": [object()]}
    nodes["sum"]["inputs"]["b"] = {"__value__": [1]}
    assert executor.run(nodes).failure is None
    assert "a" in executor.run(nodes).ran


@pytest.mark.parametrize("cache", ["classic", "lru", "none"])
def test_outputs_run_again_where_that_is_asked_for(cache):
    executor = Executor(CLASSES, cache=cache, rerun_outputs=True)
    executor.run(add_up())
    again = executor.run(add_up())
    assert again.ran == (["b", "a", "sum", "show"] if cache == "none" else ["show"])
    assert again.outputs == {"show": {"value": [3]}}


def test_classic_forgets_what_the_next_prompt_does_not_have():
    executor = Executor(CLASSES)
    executor.run(add_up())
    executor.run(add_up(a=7, b=8))
    assert executor.run(add_up()).cached == []


def test_lru_keeps_as_many_as_it_is_told():
    executor = Executor(CLASSES, cache="lru", cache_size=100)
    executor.run(add_up())
    executor.run(add_up(a=7, b=8))
    assert executor.run(add_up()).ran == []
    small = Executor(CLASSES, cache="lru", cache_size=4)
    for a in (1, 7, 9):
        small.run(add_up(a=a, b=a + 1))
    assert small.run(add_up(a=9, b=10)).ran == []
    assert small.run(add_up(a=1, b=2)).cached == []


def test_none_runs_everything_every_time():
    executor = Executor(CLASSES, cache="none")
    assert len(executor.run(add_up(1, 1)).ran) == 4  # even identical nodes
    second = executor.run(add_up(1, 1))
    assert len(second.ran) == 4 and second.cached == []


class Thing:
    """Something whose end can be seen."""


@pytest.mark.parametrize(("cache", "alive"), [("none", [False, True]), ("classic", [True, True])])
def test_none_lets_go_of_a_result_when_its_last_user_has_run(cache, alive):
    things, seen = [], []

    class Make(Value):
        def work(self, value):
            thing = Thing()
            things.append(weakref.ref(thing))
            return (thing,)

    class Use(Value):
        def work(self, value):
            gc.collect()
            seen.append([ref() is not None for ref in things])
            thing = Thing()
            things.append(weakref.ref(thing))
            return (thing,)

    nodes = prompt(
        make=("Make", {"value": 0}), use1=("Use", {"value": ["make", 0]}), use2=("Use", {"value": ["use1", 0]}),
        last=("Use", {"value": ["use2", 0]}), end=("End", {"value": ["last", 0]}),
    )  # fmt: skip

    class End(Show):
        def work(self, value):
            gc.collect()
            seen.append([ref() is not None for ref in things])
            return {}

    Executor({"Make": Make, "Use": Use, "End": End}, cache=cache).run(nodes)
    assert seen[2][1:] == alive  # when the third one runs: use1's result, use2's
    assert seen[0] == [True]


@pytest.mark.parametrize("flag", [True, False])
def test_none_lets_go_of_what_only_an_unused_lazy_input_could_have_asked_for(flag):
    things, seen = [], []

    class Make(Value):
        def work(self, value):
            thing = Thing()
            things.append(weakref.ref(thing))
            return (thing,)

    class Choose:
        INPUT_TYPES = classmethod(
            lambda cls: {"required": {"flag": ("*",), "yes": ("*", {"lazy": True}), "thing": ("*",)}}
        )
        RETURN_TYPES, FUNCTION = ("*",), "work"

        def check_lazy_status(self, flag, yes, thing):
            return ["yes"] if flag and yes is None else []

        def work(self, flag, yes, thing):
            return (1,)

    class End(Show):
        def work(self, value):
            gc.collect()
            seen.append([ref() is not None for ref in things])
            return {}

    nodes = prompt(
        make=("Make", {"value": 0}), unused=("Value", {"value": ["make", 0]}),
        choose=("Choose", {"flag": flag, "yes": ["unused", 0], "thing": ["make", 0]}),
        end=("End", {"value": ["choose", 0]}),
    )  # fmt: skip
    result = Executor({**CLASSES, "Make": Make, "Choose": Choose, "End": End}, cache="none").run(nodes)
    assert result.failure is None
    assert result.ran.count("make") == 1
    assert ("unused" in result.ran) == flag
    assert seen == [[False]]


# --- IS_CHANGED and what else counts


def changing(answer):
    class Changing(Value):
        @classmethod
        def IS_CHANGED(cls, value):
            return answer(value)

    return {**CLASSES, "Changing": Changing}


def ran_again(answer, inputs=None, cache="classic"):
    executor = Executor(changing(answer), cache=cache)
    changing_node = ("Changing", inputs or {"value": 0})
    nodes = prompt(one=("Value", {"value": 1}), c=changing_node, show=("Show", {"value": ["c", 0]}))
    executor.run(nodes)
    return "c" in executor.run(nodes).ran


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        (lambda value: float("nan"), True),
        (lambda value: math.nan, False),  # the same object is equal to itself: so it is in ComfyUI
        (lambda value: True, False),
        (lambda value: "hash of the file", False),
        (lambda value: object(), True),
        (lambda value: 1 / 0, True),
    ],
    ids=["new nan", "one nan", "true", "text", "object", "exception"],
)
@pytest.mark.parametrize("cache", ["classic", "lru"])
def test_is_changed(answer, again, cache):
    assert ran_again(answer, cache=cache) == again


def test_is_changed_sees_constants_only():
    seen = []
    ran_again(seen.append, {"value": ["one", 0]})
    assert set(seen) == {None}


def test_is_changed_is_not_written_into_the_prompt_and_a_stale_one_is_not_believed():
    executor = Executor(changing(lambda value: 5))
    nodes = prompt(c=("Changing", {"value": 0}), show=("Show", {"value": ["c", 0]}))
    executor.run(nodes)
    assert "is_changed" not in nodes["c"]
    nodes["c"]["is_changed"] = [math.nan]
    assert executor.run(nodes).ran == []


@pytest.mark.parametrize("attributes", [{"NOT_IDEMPOTENT": True}, {"hidden": {"me": "UNIQUE_ID"}}])
def test_what_depends_on_its_id_is_not_shared(attributes):
    hidden = attributes.pop("hidden", {})

    class Own(Value):
        INPUT_TYPES = classmethod(lambda cls: {"required": {"value": ("*",)}, "hidden": hidden})

        def work(self, value, me=None):
            return (value,)

    for name, value in attributes.items():
        setattr(Own, name, value)
    nodes = prompt(
        a=("Own", {"value": 1}), b=("Own", {"value": 1}), sum=("Add", {"a": ["a", 0], "b": ["b", 0]}),
        show=("Show", {"value": ["sum", 0]}),
    )  # fmt: skip
    executor = Executor({**CLASSES, "Own": Own})
    assert {"a", "b"} <= set(executor.run(nodes).ran)
    assert executor.run(nodes).ran == []


def test_a_failed_run_keeps_what_it_had_done():
    class Fail(Value):
        def work(self, value):
            raise RuntimeError("no")

    executor = Executor({**CLASSES, "Fail": Fail})
    nodes = prompt(a=("Value", {"value": 1}), f=("Fail", {"value": ["a", 0]}), show=("Show", {"value": ["f", 0]}))
    executor.run(nodes)
    assert executor.run(nodes).cached == ["a"]


def test_the_table_of_signatures_does_not_grow_for_ever():
    executor = Executor(CLASSES)
    for i in range(1100):  # two signatures each
        executor.run(prompt(a=("Value", {"value": i}), show=("Show", {"value": ["a", 0]})))
    assert len(executor._memory.table) < 2200


@pytest.mark.parametrize(("cache", "size"), [("fifo", 0), ("lru", -1)])
def test_bad_cache_arguments(cache, size):
    with pytest.raises(ValueError, match="expected"):
        Executor(CLASSES, cache=cache, cache_size=size)


class Weight:
    """Something that takes up so many bytes, as a tensor does."""

    device = type("device", (), {"type": "cpu"})

    def __init__(self, size):
        self._size = size

    def element_size(self):
        return 1

    def numel(self):
        return self._size


class Heavy(Value):
    INPUT_TYPES = classmethod(lambda cls: {"required": {"value": ("INT",)}})

    def work(self, value):
        return (Weight(value),)


def test_under_memory_pressure_the_largest_and_longest_unused_results_go():
    executor = Executor({**CLASSES, "Heavy": Heavy})

    def available():
        sizes = [result.outputs[0][0].numel() for result in cache._results.values() if result.outputs]
        return 2**30 + 1000 - sum(sizes)

    cache = RAMPressureCache(1, available)
    executor._memory.cache = cache

    def run(size):
        return executor.run(prompt(heavy=("Heavy", {"value": size}), show=("Show", {"value": ["heavy", 0]}))).ran

    assert [run(size) for size in (200, 100, 300)] == [["heavy", "show"]] * 3
    assert (run(200), run(100), run(300)) == ([], [], [])  # 600 of 1000: all are kept
    run(500)  # 1100: last used three runs ago, 200 counts as 439, more than 300 of the run before, which is 390
    assert (run(500), run(300), run(100)) == ([], [], [])
    assert run(200) == ["heavy"]


def test_no_pressure_touches_what_the_run_needs():
    executor = Executor(CLASSES)
    executor._memory.cache = RAMPressureCache(1, available=lambda: 0)
    assert executor.run(add_up()).outputs == {"show": {"value": [3]}}
    assert executor.run(add_up()).ran == []
    assert executor.run(add_up(a=5)).outputs == {"show": {"value": [7]}}
    assert len(executor.run(add_up()).ran) > 0
