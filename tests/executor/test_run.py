"""What a run does with its nodes: each of ComfyUI's semantics, by nodes of our own.

The expected orders, shapes and texts are those that ComfyUI 0.3.64 gave for the same graphs.
"""

import asyncio
import contextvars
import inspect
import threading
import time

import pytest
from comfyui_ddim.executor import ExecutionBlocker, Executor, WorkflowError, context


def node(function, returns=("*",), lazy=(), raw=(), hidden=None, optional=(), **attributes):
    """A node class around a function; its inputs are the function's parameters."""
    hidden = hidden or {}
    declared = {"required": {}, "optional": {}, "hidden": hidden}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in hidden or parameter.kind is parameter.VAR_KEYWORD:
            continue
        options = {"lazy": name in lazy, "rawLink": name in raw}
        declared["optional" if name in optional else "required"][name] = ("*", options)
    if inspect.iscoroutinefunction(function):

        async def work(self, **inputs):
            return await function(**inputs)

    else:

        def work(self, **inputs):
            return function(**inputs)

    members = {"INPUT_TYPES": classmethod(lambda cls: declared), "RETURN_TYPES": returns, "FUNCTION": "work"}
    return type(function.__name__, (), {**members, "work": work, **attributes})


def make_list(a, **others):
    return ([a, *others.values()],)


BASICS = {
    "Value": node(lambda value: (value,)),
    "Add": node(lambda a, b: (a + b,)),
    "Show": node(lambda value: {"ui": {"value": [value]}}, returns=(), OUTPUT_NODE=True),
    "List": node(make_list, OUTPUT_IS_LIST=(True,)),
}
BASICS["List"].INPUT_TYPES = classmethod(
    lambda cls: {"required": {"a": ("*",)}, "optional": {"b": ("*",), "c": ("*",)}}
)


def prompt(**nodes):
    """`prompt(a=("Value", {"value": 1}))` in API form."""
    return {node_id: {"class_type": kind, "inputs": inputs} for node_id, (kind, inputs) in nodes.items()}


def run(nodes, classes=None, rules="current", **options):
    return Executor({**BASICS, **(classes or {})}, rules=rules).run(prompt(**nodes), **options)


def shown(result, node_id="show"):
    assert result.error is None and result.failure is None, (result.error, result.node_errors, result.failure)
    return result.outputs[node_id]["value"]


# --- order and demand


def test_runs_what_outputs_need_and_nothing_else():
    result = run(
        {
            "unused": ("Value", {"value": 0}),
            "one": ("Value", {"value": 1}),
            "sum": ("Add", {"a": ["one", 0], "b": 2}),
            "show": ("Show", {"value": ["sum", 0]}),
        }
    )
    assert result.ran == ["one", "sum", "show"]
    assert shown(result) == [3]


def test_an_output_is_shown_before_unrelated_work_goes_on():
    result = run(
        {
            "a": ("Value", {"value": 1}),
            "b": ("Value", {"value": 2}),
            "both": ("Add", {"a": ["a", 0], "b": ["b", 0]}),
            "show": ("Show", {"value": ["both", 0]}),
            "early": ("Show", {"value": ["b", 0]}),
        }
    )
    assert result.ran.index("early") < result.ran.index("both")


@pytest.mark.parametrize("cache", ["classic", "lru", "none"])
def test_a_chain_of_5000_nodes_meets_no_recursion_limit(cache):
    nodes = {"0": ("Value", {"value": 0})}
    nodes |= {str(i): ("Add", {"a": [str(i - 1), 0], "b": 1}) for i in range(1, 5000)}
    nodes["show"] = ("Show", {"value": ["4999", 0]})
    assert shown(Executor(BASICS, cache=cache).run(prompt(**nodes))) == [4999]


def test_targets_run_alone_but_with_the_outputs_they_depend_on():
    pass_on = node(lambda value: (value,), OUTPUT_NODE=True)
    nodes = {
        "a": ("Value", {"value": 1}),
        "pass": ("PassOn", {"value": ["a", 0]}),
        "show": ("Show", {"value": ["pass", 0]}),
        "other": ("Show", {"value": ["a", 0]}),
    }
    result = run(nodes, {"PassOn": pass_on}, targets=["show"])
    assert result.ran == ["a", "pass", "show"]
    assert run(nodes, {"PassOn": pass_on}, targets=[]).error["type"] == "prompt_no_outputs"


# --- lists


def test_a_node_is_called_once_per_item_and_short_lists_repeat_their_last():
    result = run(
        {
            "three": ("List", {"a": 1, "b": 2, "c": 3}),
            "two": ("List", {"a": 10, "b": 20}),
            "sum": ("Add", {"a": ["three", 0], "b": ["two", 0]}),
            "show": ("Show", {"value": ["sum", 0]}),
        }
    )
    assert shown(result) == [11, 22, 23]


def test_input_is_list_gets_whole_lists_and_output_is_list_is_flattened():
    total = node(lambda values: (sum(values),), INPUT_IS_LIST=True)
    result = run(
        {
            "three": ("List", {"a": 1, "b": 2, "c": 3}),
            "nested": ("List", {"a": ["three", 0], "b": 0}),
            "total": ("Total", {"values": ["nested", 0]}),
            "show": ("Show", {"value": ["total", 0]}),
            "all": ("Show", {"value": ["nested", 0]}),
        },
        {"Total": total},
    )
    assert shown(result) == [6]
    assert shown(result, "all") == [1, 0, 2, 0, 3, 0]


def test_an_empty_list_beside_a_full_one_fails_as_in_comfyui():
    nothing = node(lambda: ([],), OUTPUT_IS_LIST=(True,))
    result = run(
        {"none": ("None", {}), "sum": ("Add", {"a": ["none", 0], "b": 1}), "show": ("Show", {"value": ["sum", 0]})},
        {"None": nothing},
    )
    assert result.failure["exception_type"] == "IndexError"
    assert result.failure["node_id"] == "sum"


def test_ui_of_several_calls_is_joined():
    result = run({"two": ("List", {"a": 1, "b": 2}), "show": ("Show", {"value": ["two", 0]})})
    assert result.outputs == {"show": {"value": [1, 2]}}


# --- inputs


def test_undeclared_links_are_passed_and_undeclared_constants_dropped():
    seen = {}

    def take(a, **others):
        seen.update(others)
        return (a,)

    run(
        {
            "one": ("Value", {"value": 1}),
            "take": ("Take", {"a": 0, "linked": ["one", 0], "constant": 5}),
            "show": ("Show", {"value": ["take", 0]}),
        },
        {"Take": node(take)},
    )
    assert seen == {"linked": 1}


def test_an_optional_input_left_out_takes_the_function_s_default():
    class AddSeven:
        INPUT_TYPES = classmethod(lambda cls: {"required": {"a": ("*",)}, "optional": {"b": ("*",)}})
        RETURN_TYPES, FUNCTION = ("*",), "work"

        def work(self, a, b=7):
            return (a + b,)

    nodes = {"d": ("AddSeven", {"a": 1}), "show": ("Show", {"value": ["d", 0]})}
    assert shown(run(nodes, {"AddSeven": AddSeven})) == [8]


def test_hidden_inputs():
    seen = {}

    def look(prompt, dynamic, info, me):
        seen.update(prompt=prompt, dynamic=dynamic, info=info, me=me)
        return {}

    hidden = {"prompt": "PROMPT", "dynamic": "DYNPROMPT", "info": "EXTRA_PNGINFO", "me": "UNIQUE_ID"}
    look_class = node(look, returns=(), hidden=hidden, OUTPUT_NODE=True)
    result = run({"x": ("Look", {})}, {"Look": look_class}, extra_data={"extra_pnginfo": {"workflow": {"nodes": []}}})
    assert result.failure is None
    assert seen["me"] == "x"
    assert seen["info"] == {"workflow": {"nodes": []}}
    assert seen["prompt"] == prompt(x=("Look", {}))
    assert seen["dynamic"].get_node("x")["class_type"] == "Look"


def test_the_submitted_prompt_is_left_as_it_was_and_nodes_see_the_converted_one():
    seen = {}

    def look(number, prompt):
        seen["prompt"] = prompt
        return {}

    look_class = node(look, returns=(), hidden={"prompt": "PROMPT"}, OUTPUT_NODE=True)
    look_class.INPUT_TYPES = classmethod(lambda cls: {"required": {"number": ("INT",)}, "hidden": {"prompt": "PROMPT"}})
    submitted = prompt(x=("Look", {"number": "3"}))
    Executor({"Look": look_class}).run(submitted)
    assert submitted["x"]["inputs"] == {"number": "3"}
    assert seen["prompt"]["x"]["inputs"] == {"number": 3}


def test_raw_link():
    result = run(
        {
            "one": ("Value", {"value": 1}),
            "raw": ("Raw", {"link": ["one", 0]}),
            "show": ("Show", {"value": ["raw", 0]}),
        },
        {"Raw": node(lambda link: (list(link),), raw=["link"])},
    )
    assert shown(result) == [["one", 0]]


# --- lazy inputs


def switch(ask):
    choose = node(lambda flag, yes, no: (yes if flag else no,), lazy=["yes", "no"])
    choose.check_lazy_status = ask
    return choose


def lazy_nodes(flag):
    return {
        "flag": ("Value", {"value": flag}),
        "yes": ("Value", {"value": "yes"}),
        "no": ("Value", {"value": "no"}),
        "choose": ("Choose", {"flag": ["flag", 0], "yes": ["yes", 0], "no": ["no", 0]}),
        "show": ("Show", {"value": ["choose", 0]}),
    }


def ask_for_one(self, flag, yes, no):
    wanted = "yes" if flag else "no"
    return [wanted] if {"yes": yes, "no": no}[wanted] is None else []


async def ask_later(self, flag, yes, no):
    await asyncio.sleep(0.01)
    return ask_for_one(self, flag, yes, no)


@pytest.mark.parametrize("ask", [ask_for_one, ask_later])
@pytest.mark.parametrize("cache", ["classic", "lru", "none"])
def test_lazy_inputs_run_only_when_asked_for(ask, cache):
    result = Executor({**BASICS, "Choose": switch(ask)}, cache=cache).run(prompt(**lazy_nodes(True)))
    assert shown(result) == ["yes"]
    assert result.ran == ["flag", "choose", "yes", "choose", "show"]  # announced each time, as in ComfyUI


def test_asking_for_an_input_that_is_not_linked_is_the_node_s_failure():
    result = run(lazy_nodes(True), {"Choose": switch(lambda self, flag, yes, no: ["maybe"])})
    assert result.failure["exception_type"].endswith("NodeInputError")
    assert "needs input maybe" in result.failure["exception_message"]
    assert result.failure["node_id"] == "choose"


def test_lazy_items_of_a_list_are_asked_for_together():
    nodes = lazy_nodes(True)
    nodes["flag"] = ("List", {"a": True, "b": False})
    result = run(nodes, {"Choose": switch(ask_for_one)})
    assert shown(result) == ["yes", "no"]


# --- blockers


def block(value, why):
    return (ExecutionBlocker(why),) if value == 2 else (value,)


def blocking(why):
    return {
        "three": ("List", {"a": 1, "b": 2, "c": 3}),
        "block": ("Block", {"value": ["three", 0], "why": why}),
        "after": ("Add", {"a": ["block", 0], "b": 10}),
        "show": ("Show", {"value": ["after", 0]}),
    }


def test_a_blocker_stops_only_its_item():
    assert shown(run(blocking(None), {"Block": node(block)})) == [11, 13]


def test_a_blocker_s_message_is_reported_once_and_the_run_succeeds():
    events = []
    result = run(blocking("two"), {"Block": node(block)}, on_event=lambda *event: events.append(event))
    errors = [data for name, data in events if name == "execution_error"]
    assert [(e["exception_type"], e["exception_message"], e["node_id"]) for e in errors] == [
        ("ExecutionBlocked", "Execution Blocked: two", "after")
    ]
    assert events[-1][0] == "execution_success"
    assert result.succeeded


def test_a_bare_blocker_blocks_all_outputs_and_list_takers_are_blocked_whole():
    result = run(
        {
            "block": ("Bare", {"value": 1}),
            "three": ("List", {"a": 1, "b": ["block", 1]}),
            "total": ("Total", {"values": ["three", 0]}),
            "show": ("Show", {"value": ["total", 0]}),
        },
        {
            "Bare": node(lambda value: ExecutionBlocker(None), returns=("*", "*")),
            "Total": node(lambda values: (sum(values),), INPUT_IS_LIST=True),
        },
    )
    assert result.failure is None
    assert "show" not in result.outputs


# --- expansion


def count_down(n, me):
    """n + (n - 1) + ... by expanding into itself."""
    if n == 0:
        return (0,)
    below, total = f"{me}.below", f"{me}.sum"
    graph = {
        below: {"class_type": "CountDown", "inputs": {"n": n - 1}},
        total: {"class_type": "Add", "inputs": {"a": [below, 0], "b": n}},
    }
    return {"expand": graph, "result": ([total, 0],)}


COUNT_DOWN = {"CountDown": node(count_down, hidden={"me": "UNIQUE_ID"})}


@pytest.mark.parametrize("cache", ["classic", "lru", "none"])
def test_nested_expansion(cache):
    executor = Executor({**BASICS, **COUNT_DOWN}, cache=cache)
    nodes = prompt(down=("CountDown", {"n": 4}), show=("Show", {"value": ["down", 0]}))
    events = []
    result = executor.run(nodes, on_event=lambda *event: events.append(event))
    assert shown(result) == [10]
    assert result.ran[:3] == ["down", "down.below", "down.below.below"]
    assert {data["display_node"] for name, data in events if name == "executing"} == {"down", "show"}


def test_an_expansion_is_cached_below_its_parent():
    executor = Executor({**BASICS, **COUNT_DOWN})
    nodes = prompt(down=("CountDown", {"n": 2}), show=("Show", {"value": ["down", 0]}))
    executor.run(nodes)
    assert executor.run(nodes).ran == []
    nodes["down"]["inputs"]["n"] = 3
    again = executor.run(nodes)
    assert shown(again) == [6]
    assert "down.below.below.below" in again.ran  # n=0 there; it was n=1's own before


def test_outputs_inside_an_expansion_run_too():
    def into_show(value, me):
        return {"expand": {f"{me}.s": {"class_type": "Show", "inputs": {"value": value}}}, "result": (value,)}

    result = run(
        {"e": ("Into", {"value": 5}), "show": ("Show", {"value": ["e", 0]})},
        {"Into": node(into_show, hidden={"me": "UNIQUE_ID"})},
    )
    assert "e.s" in result.ran
    assert result.outputs["e.s"] == {"value": [5]}


def test_mixed_returns_of_one_node():
    def mixed(n, me):
        if n == 1:
            return (10,)
        if n == 2:
            return {"result": (20,)}
        return {"expand": {f"{me}.v": {"class_type": "Value", "inputs": {"value": 30}}}, "result": ([f"{me}.v", 0],)}

    result = run(
        {
            "three": ("List", {"a": 1, "b": 2, "c": 3}),
            "mixed": ("Mixed", {"n": ["three", 0]}),
            "show": ("Show", {"value": ["mixed", 0]}),
        },
        {"Mixed": node(mixed, hidden={"me": "UNIQUE_ID"})},
    )
    assert shown(result) == [10, 20, 30]


def expanding_into(graph, result):
    return {"Bad": node(lambda: {"expand": graph, "result": result})}


def test_a_cycle_made_by_expansion_is_blamed_on_the_node_that_made_it():
    graph = prompt(x=("Add", {"a": ["y", 0], "b": 1}), y=("Add", {"a": ["x", 0], "b": 1}))
    result = run({"bad": ("Bad", {}), "show": ("Show", {"value": ["bad", 0]})}, expanding_into(graph, (["y", 0],)))
    assert result.failure["node_id"] == "bad"
    assert result.failure["exception_type"] == "graph.DependencyCycleError"
    assert "x -> y -> x" in result.failure["exception_message"] or "y -> x -> y" in result.failure["exception_message"]


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (prompt(show=("Value", {"value": 1})), "duplicate node show"),
        (prompt(x=("Nonesuch", {})), "unknown node class 'Nonesuch'"),
        (prompt(x=("Value", {"value": ["nowhere", 0]})), "node nowhere"),
    ],
)
def test_a_bad_expansion_is_the_node_s_failure(graph, text):
    nodes = {"bad": ("Bad", {}), "show": ("Show", {"value": ["bad", 0]})}
    result = run(nodes, expanding_into(graph, (["x", 0],)), rules="0.3.64", prompt_id="this one")
    assert (result.failure["node_id"], result.failure["prompt_id"]) == ("bad", "this one")
    assert text in result.failure["exception_message"]


def test_today_an_expansion_may_bring_an_id_twice_and_the_last_one_counts():
    def twice(n):
        return {"expand": {"x": {"class_type": "Value", "inputs": {"value": 10 * n}}}, "result": (["x", 0],)}

    nodes = {
        "two": ("List", {"a": 1, "b": 2}),
        "twice": ("Twice", {"n": ["two", 0]}),
        "show": ("Show", {"value": ["twice", 0]}),
    }
    assert shown(run(nodes, {"Twice": node(twice)})) == [20, 20]
    assert "duplicate node x" in run(nodes, {"Twice": node(twice)}, rules="0.3.64").failure["exception_message"]


def test_what_a_cached_node_shows_is_announced_again_where_its_class_wants_that():
    peek = {"Peek": node(lambda value: {"ui": {"seen": [value]}, "result": (value,)}, HAS_INTERMEDIATE_OUTPUT=True)}
    peek["Quiet"] = node(lambda value: {"ui": {"seen": [value]}, "result": (value,)})
    executor, told = Executor({**BASICS, **peek}), []
    for value in (1, 2):
        nodes = prompt(
            peek=("Peek", {"value": 5}), quiet=("Quiet", {"value": ["peek", 0]}),
            sum=("Add", {"a": ["quiet", 0], "b": value}), show=("Show", {"value": ["sum", 0]}),
        )  # fmt: skip
        told.clear()
        result = executor.run(nodes, on_event=lambda name, data: told.append((name, data)))
    assert result.ran == ["sum", "show"]
    announced = {data["node"]: data["output"] for name, data in told if name == "executed"}
    assert announced == {"show": {"value": [7]}, "peek": {"seen": [5]}}


def test_failures_inside_an_expansion_are_blamed_on_the_prompt_s_own_node():
    def fail(value):
        raise ValueError("no good")

    graph = prompt(x=("Fail", {"value": 1}))
    classes = {**expanding_into(graph, (["x", 0],)), "Fail": node(fail)}
    result = run({"bad": ("Bad", {}), "show": ("Show", {"value": ["bad", 0]})}, classes)
    assert (result.failure["node_id"], result.failure["node_type"]) == ("bad", "Bad")


# --- coroutines


async def sleep(value, seconds):
    await asyncio.sleep(seconds)
    return (value,)


def test_coroutine_nodes_overlap():
    nodes = {f"s{i}": ("Sleep", {"value": i, "seconds": 0.5}) for i in range(4)}
    nodes |= {f"show{i}": ("Show", {"value": [f"s{i}", 0]}) for i in range(4)}
    start = time.perf_counter()
    result = run(nodes, {"Sleep": node(sleep)})
    assert time.perf_counter() - start < 1.5  # 2 one after the other
    assert [shown(result, f"show{i}") for i in range(4)] == [[0], [1], [2], [3]]


def test_items_of_one_coroutine_node_overlap_and_keep_their_order():
    start = time.perf_counter()
    result = run(
        {
            "three": ("List", {"a": 0.6, "b": 0.5, "c": 0.4}),
            "sleep": ("Sleep", {"value": ["three", 0], "seconds": ["three", 0]}),
            "show": ("Show", {"value": ["sleep", 0]}),
        },
        {"Sleep": node(sleep)},
    )
    assert time.perf_counter() - start < 1.3  # 1.5 one after the other
    assert shown(result) == [0.6, 0.5, 0.4]


def test_a_failure_beside_a_sleeping_coroutine_ends_the_run_and_cancels_it():
    cancelled = threading.Event()

    async def sleep_long(value):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def fail(value):
        await asyncio.sleep(0.05)
        raise RuntimeError("async failure")

    start = time.perf_counter()
    result = run(
        {
            "sleep": ("Long", {"value": 1}),
            "fail": ("Fail", {"value": 1}),
            "show": ("Show", {"value": ["sleep", 0]}),
            "show2": ("Show", {"value": ["fail", 0]}),
        },
        {"Long": node(sleep_long), "Fail": node(fail)},
    )
    assert time.perf_counter() - start < 5
    assert result.failure["exception_message"] == "async failure\n"
    assert cancelled.is_set()


def test_run_works_inside_a_running_event_loop_and_keeps_context_variables():
    flavour = contextvars.ContextVar("flavour")

    async def notebook():
        flavour.set("salt")
        return run({"v": ("V", {}), "show": ("Show", {"value": ["v", 0]})}, {"V": node(lambda: (flavour.get(),))})

    assert shown(asyncio.run(notebook())) == ["salt"]


# --- failure, interruption, progress


def test_failure_payload():
    def fail(a, b):
        raise ValueError("a is bad")

    events = []
    result = run(
        {
            "one": ("Value", {"value": 1}),
            "fail": ("Fail", {"a": ["one", 0], "b": {"x": 1}}),
            "show": ("Show", {"value": ["fail", 0]}),
        },
        {"Fail": node(fail)},
        on_event=lambda *event: events.append(event),
    )
    failure = result.failure
    assert failure["node_id"] == "fail"
    assert failure["node_type"] == "Fail"
    assert failure["executed"] == ["one"]
    assert failure["exception_message"] == "a is bad\n"
    assert failure["exception_type"] == "ValueError"
    assert failure["current_inputs"] == {"a": [1], "b": ["{'x': 1}"]}
    assert any("raise ValueError" in line for line in failure["traceback"])
    assert isinstance(result.exception, ValueError)
    assert events[-1][0] == "execution_error"
    assert "show" not in result.ran


def count_to_100(seen):
    for i in range(100):
        seen.append(i)
        context.progress(i + 1, 100, preview=f"preview {i}")
    return (0,)


def test_interrupt_stops_at_the_next_progress_report():
    events = []

    def on_event(name, data):
        events.append(name)
        if name == "progress" and data["value"] == 3:
            executor.interrupt()

    executor = Executor({**BASICS, "Count": node(count_to_100)})
    steps = []
    nodes = prompt(count=("Count", {"seen": {"__value__": steps}}), show=("Show", {"value": ["count", 0]}))
    result = executor.run(nodes, on_event=on_event)
    assert result.interrupted and result.failure is None
    assert steps == [0, 1, 2, 3]
    assert events[-1] == "execution_interrupted"
    steps.clear()
    nodes["count"]["inputs"]["seen"] = {"__value__": []}
    assert executor.run(nodes).succeeded  # the next run isn't stopped


def test_interrupt_stops_a_sleeping_coroutine():
    executor = Executor({**BASICS, "Sleep": node(sleep)})
    threading.Timer(0.1, executor.interrupt).start()
    start = time.perf_counter()
    nodes = prompt(sleep=("Sleep", {"value": 1, "seconds": 30}), show=("Show", {"value": ["sleep", 0]}))
    result = executor.run(nodes)
    assert result.interrupted
    assert time.perf_counter() - start < 5


def test_what_the_listener_raises_ends_the_run_and_is_raised():
    def on_event(name, data):
        if name == "progress":
            raise BrokenPipeError("nobody reads")

    swallowing = node(lambda seen: count_to_100(seen))
    nodes = {"count": ("Count", {"seen": {"__value__": []}}), "show": ("Show", {"value": ["count", 0]})}
    with pytest.raises(BrokenPipeError, match="nobody reads"):
        run(nodes, {"Count": swallowing}, on_event=on_event)


def test_a_class_without_a_function_is_its_node_s_failure():
    class Empty:
        INPUT_TYPES = classmethod(lambda cls: {"required": {}})
        RETURN_TYPES = ("*",)

    result = run({"empty": ("Empty", {}), "show": ("Show", {"value": ["empty", 0]})}, {"Empty": Empty})
    assert result.failure["node_id"] == "empty"
    assert "FUNCTION" in result.failure["exception_message"]


def test_a_link_to_nowhere_that_validation_does_not_look_at():
    nodes = {"one": ("Value", {"value": 1, "undeclared": ["nowhere", 0]}), "show": ("Show", {"value": ["one", 0]})}
    assert "node one is linked to node nowhere" in run(nodes).failure["exception_message"]


def test_progress_events_name_the_node_and_carry_the_preview():
    events = []
    run(
        {"count": ("Count", {"seen": {"__value__": []}}), "show": ("Show", {"value": ["count", 0]})},
        {"Count": node(count_to_100)},
        on_event=lambda *event: events.append(event),
    )
    progress = [data for name, data in events if name == "progress"]
    assert [(d["node"], d["value"], d["max"], d["preview"]) for d in progress[:2]] == [
        ("count", 1, 100, "preview 0"),
        ("count", 2, 100, "preview 1"),
    ]
    names = [name for name, _ in events]
    assert names[:3] == ["execution_start", "execution_cached", "executing"]
    assert names[-2:] == ["executed", "execution_success"]


def test_nodes_run_in_torch_s_inference_mode():
    torch = pytest.importorskip("torch")
    result = run(
        {"v": ("V", {}), "show": ("Show", {"value": ["v", 0]})},
        {"V": node(lambda: (torch.is_inference_mode_enabled(),))},
    )
    assert shown(result) == [True]
    assert not torch.is_inference_mode_enabled()


def test_a_node_s_object_lives_on_between_runs():
    class Counter:
        INPUT_TYPES = classmethod(lambda cls: {"required": {"n": ("INT",)}})
        RETURN_TYPES, FUNCTION = ("*",), "count"

        def __init__(self):
            self.calls = 0

        def count(self, n):
            self.calls += 1
            return (self.calls,)

    executor = Executor({**BASICS, "Counter": Counter})
    nodes = prompt(c=("Counter", {"n": 1}), show=("Show", {"value": ["c", 0]}))
    executor.run(nodes)
    nodes["c"]["inputs"]["n"] = 2
    assert shown(executor.run(nodes)) == [2]
    executor.run(prompt(other=("Counter", {"n": 5}), show=("Show", {"value": ["other", 0]})))
    assert shown(executor.run(nodes)) == [1]  # it was gone for one prompt, so it is new


def test_a_prompt_must_be_a_dict():
    with pytest.raises(WorkflowError, match="dict of nodes"):
        Executor(BASICS).run([])
