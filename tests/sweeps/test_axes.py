"""What `--over` and `--rows` take, and the one line that each bad one gets."""

import random
from pathlib import Path

import pytest
from comfyui_ddim.executor import Executor, WorkflowError, object_info
from comfyui_ddim.sweeps.axes import AxisReader
from comfyui_ddim.sweeps.cells import Cells
from comfyui_ddim.sweeps.check import check_cells
from comfyui_ddim.sweeps.values import Kind, Source, parse_steps
from hypothesis import given
from hypothesis import strategies as st
from toy_nodes import NODE_CLASS_MAPPINGS, adding

INFO = object_info(NODE_CLASS_MAPPINGS)
SOURCE = Source(Path("input"), random.Random(0))
INT, FLOAT, STRING, BOOLEAN = Kind("INT", (), 0, 100), Kind("FLOAT", (), 0.0, 1.0), Kind("STRING"), Kind("BOOLEAN")
COMBO = Kind("COMBO", ("red", "green", "dark green", "a10", "a9"))


def values(text, kind=INT):
    return [step[0] for step in parse_steps(text, [kind], SOURCE)]


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("0, 0.5, 1", FLOAT, [0.0, 0.5, 1.0]),
        ("1..8", INT, [1, 2, 3, 4, 5, 6, 7, 8]),
        ("3..1", INT, [3, 2, 1]),
        ("-2..2 by 2", INT, [-2, 0, 2]),
        ("0..1 by 0.25", FLOAT, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("0..0.3 by 0.1", FLOAT, [0.0, 0.1, 0.2, 0.3]),
        ("0..1 by 0.4", FLOAT, [0.0, 0.4, 0.8]),
        ("1, 2, .., 5", INT, [1, 2, 3, 4, 5]),
        ("9, 6, ..., 0", INT, [9, 6, 3, 0]),
        ("7, 1..3, 9", INT, [7, 1, 2, 3, 9]),
        ("1e3", INT, [1000]),
        ("a red cube, a blue cone", STRING, ["a red cube", "a blue cone"]),
        ('"a cube, red", plain, \'say "hi"\'', STRING, ["a cube, red", "plain", 'say "hi"']),
        (r'"a \"b\" c\n", x', STRING, ['a "b" c\n', "x"]),
        ('"quoted" and more, x', STRING, ['"quoted" and more', "x"]),
        ("it's a cube, y", STRING, ["it's a cube", "y"]),
        ("max(0, t), [1, 2], {a, (b, c)}", STRING, ["max(0, t)", "[1, 2]", "{a, (b, c)}"]),
        ('"", x', STRING, ["", "x"]),
        ("1..3, random*2, *", STRING, ["1..3", "random*2", "*"]),  # a text is a text
        ("*", COMBO, ["red", "green", "dark green", "a10", "a9"]),
        ("@*green", COMBO, ["dark green", "green"]),
        ("@a*", COMBO, ["a9", "a10"]),
        ('"*"', COMBO, ["*"]),  # which validation refuses
        ("on, off", BOOLEAN, [True, False]),
        ("*", BOOLEAN, [False, True]),
        ('{"a": 1}, 2, word', Kind("*"), [{"a": 1}, 2, "word"]),
    ],
)
def test_values(text, kind, expected):
    found = values(text, kind)
    assert found == expected and [type(each) for each in found] == [type(each) for each in expected]


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        ("", INT, 'a value is missing; an empty text is written ""'),
        ("1,,2", INT, "a value is missing"),
        ("one", INT, "'one' is not an INT"),
        ("1.5", INT, "'1.5' is not an INT"),
        ("0..2 by 0.5", INT, "'0.5' is not an INT"),
        ("nan", FLOAT, "'nan' is not a FLOAT"),
        ("1..3 by 0", INT, "1..3 by 0 never ends"),
        ("1..99999999999", INT, "1..99999999999 by 1 is 99999999999 values, at most 10000000 are taken"),
        ("1, .., 3", INT, "expected two numbers before and one after it"),
        ("1, 2, ..", INT, "expected two numbers before and one after it"),
        ("1, 2, .., 0", INT, "steps of 1 from 2 never reach 0"),
        ("1, 3, .., 6", INT, "steps of 2 from 3 never reach 6"),
        ("1, 2, 1", INT, "1 comes twice"),
        ("1, 1..2", INT, "1 comes twice"),
        ("maybe", BOOLEAN, "'maybe' is neither true nor false"),
        ("max(0, t", STRING, "a ')' is missing in 'max(0, t'"),
        ("random*200", INT, "there are only 101 numbers from 0 to 100"),
        ("random*2", Kind("FLOAT"), "has no minimum and maximum"),
        ("@", STRING, "expected a pattern"),
        ("@nowhere/*.png", STRING, "no file in the input folder (input) matches"),
        ("@/*.png", STRING, "no file in the input folder (input) matches"),
        ("@blue*", COMBO, "no choice of the input and no file in the input folder"),
        ("@nowhere.txt", STRING, "@nowhere.txt: can't be read: No such file"),
        ("*", Kind("COMBO"), "nothing to choose from"),
        ("random*0", INT, "has no values"),
    ],
)
def test_bad_values_get_one_line(text, kind, line):
    with pytest.raises(WorkflowError) as error:
        values(text, kind)
    assert line in str(error.value) and "\n" not in str(error.value)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r")), min_size=1, max_size=5, unique=True))
def test_any_texts_can_be_quoted(texts):
    quoted = ['"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts]
    assert values(", ".join(quoted), STRING) == texts


@given(st.text(max_size=40), st.sampled_from([INT, FLOAT, STRING, BOOLEAN, COMBO]))
def test_any_text_is_values_or_one_error(text, kind):
    try:
        assert values(text, kind)
    except WorkflowError as error:
        assert str(error)


def test_random_numbers_are_in_range_and_distinct():
    found = values("random*50", INT)
    assert len(set(found)) == 50 and all(0 <= each <= 100 for each in found)
    assert all(0 <= each <= 1 for each in values("random*50", FLOAT))


def test_files_and_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in" / "sub"
    folder.mkdir(parents=True)
    for name in ("b10.png", "b9.png", "c.txt"):
        (folder / name).touch()
    (tmp_path / "lines.txt").write_text("\ufeffone\n\n  two, and three \n", encoding="utf-8")
    source = Source(tmp_path / "in", random.Random(0))
    assert parse_steps("@sub/*.png", [COMBO], source) == [("sub/b9.png",), ("sub/b10.png",)]
    assert parse_steps("@lines.txt", [STRING], source) == [("one",), ("two, and three",)]


# --- axes over a workflow


def reader(prompt=None, **options):
    return AxisReader(prompt or adding(), INFO, Path("input"), **options)


def test_names_may_hold_commas_dots_and_equal_signs():
    prompt = adding()
    prompt["2"]["_meta"]["title"] = "a.b=c, d"
    axes = reader(prompt).read(["Number, the first.value , a.b=c, d.seed=(1, 2), (3, 4)", "3.kind=text"])
    assert [axis.targets for axis in axes] == [(("1", "value"), ("2", "seed")), (("3", "kind"),)]
    assert axes[0].steps == [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["9.value=1"], "--over \"9.value=1\": no node '9'; there are 1 (Number, the first)"),
        (["Add.sed=1"], "--over \"Add.sed=1\": ToyAdd has no input 'sed'; it has number, seed, factor"),
        (["value=1"], '--over "value=1": expected NODE.INPUT=VALUES'),
        (["Add.seed"], '--over "Add.seed": expected NODE.INPUT=VALUES'),
        (["Add.seed=x"], "--over \"Add.seed=x\": 'x' is not an INT"),
        (["Add.seed=1", "2.seed=2"], "2.seed is in two axes, 'Add.seed=1' and '2.seed=2'"),
        (["Add.seed, Add.seed=(1, 2)"], "Add.seed comes twice"),
        (["Add.seed, Add.factor=1"], "'1': expected 2 values in brackets, such as (a, b)"),
        (["Add.seed, Add.factor=(1, 2, 3)"], "'(1, 2, 3)' has 3: expected 2 values in brackets"),
        ([], "nothing varies: expected at least one --over"),
    ],
)
def test_bad_axes_get_one_line(texts, line):
    with pytest.raises(WorkflowError) as error:
        reader().read(texts)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_a_title_that_two_nodes_have():
    prompt = adding()
    prompt["1"]["_meta"]["title"] = "Add"
    prompt["1"]["inputs"]["seed"] = 0
    with pytest.raises(WorkflowError, match="2 nodes are called 'Add': choose one by its id, 1, 2"):
        reader(prompt).read(["Add.seed=1"])


def test_a_table(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text('Add.seed,"Number, the first.sign"\n1,plus\n\n2,minus\n')
    (axis,) = reader().read([], [table])
    assert axis.targets == (("2", "seed"), ("1", "sign")) and axis.steps == [(1, "plus"), (2, "minus")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "expected a first line of NODE.INPUT names"),
        ("Add.seed\n", "expected a first line of NODE.INPUT names"),
        ("Add.seed,nix\n1,2\n", "expected NODE.INPUT=VALUES"),
        ("Add.seed\n1,2\n", "line 2 has 2 values, expected 1"),
        ("Add.seed\nx\n", "line 2: 'x' is not an INT"),
        ("Add.seed\n1\n1\n", "1 comes twice"),
    ],
)
def test_bad_tables_get_one_line(tmp_path, text, line):
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises(WorkflowError, match=f"^--rows {table}: .*{line}"):
        reader().read([], [table])


def test_a_mapping():
    (one, two) = reader().mapping({"Add.factor": [0, 1], "Add.seed, 1.value": [(1, 2)]})
    assert one.steps == [(0.0,), (1.0,)] and two.steps == [(1, 2)]
    for bad, line in [
        ({"Add.seed": [1, 1]}, "comes twice"),
        ({"Add.seed": []}, "no values"),
        ({"Add.seed": [{1}]}, "expected a number"),
        ({"Add.seed, 1.value": [1]}, "expected a tuple of 2"),
        ({}, "nothing varies"),
    ]:
        with pytest.raises(WorkflowError, match=line):
            reader().mapping(bad)


# --- the check says what checking every cell would


def judging():
    prompt = adding()
    prompt["4"] = {"class_type": "ToyJudge", "inputs": {"number": ["2", 0], "a": 0, "b": 0}}
    prompt["3"]["inputs"]["number"] = ["4", 0]
    return prompt


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["Add.seed=1..5"], None),
        (["Add.factor=0..10 by 2.5", "1.value=0..1000 by 250", "1.sign=*", "Add.broken=a, b, c"], None),
        (
            ["1.value=5, 7, 1001, 3"],
            '--over "1.value=5, 7, 1001, 3": node 1 .*, input value: 1001 is larger than the maximum of 1000',
        ),
        (["1.value=5, -1"], "-1 is smaller than the minimum of 0"),
        (["Add.factor=1, 11"], "11.0 is larger than the maximum of 10.0"),
        (["1.sign=plus, mines"], "'mines' is not one of plus, minus; did you mean 'minus'?"),
        (["ToyJudge.a=1..3", "ToyJudge.b=1"], None),
        (["ToyJudge.a=1..3", "ToyJudge.b=1..2"], "3 times 2 is six"),
        (["ToyJudge.a, ToyJudge.b=(1, 1), (2, 3)"], "2 times 3 is six"),
    ],
)
def test_the_check_agrees_with_checking_every_cell(texts, line):
    prompt = judging()
    executor = Executor(NODE_CLASS_MAPPINGS)
    cells = Cells(prompt, reader(prompt).read(texts))
    bad = [index for index in range(len(cells)) if executor.check(cells.nodes(index)).node_errors]
    assert bool(bad) == (line is not None)
    if line is None:
        check_cells(cells, executor, None, INFO)
    else:
        with pytest.raises(WorkflowError, match=line.replace("?", r"\?")):
            check_cells(cells, executor, None, INFO)


def test_an_axis_that_changes_nothing_is_refused():
    prompt = adding()
    prompt["4"] = {"class_type": "ToyNumber", "inputs": {"value": 0, "sign": "plus"}}
    cells = Cells(prompt, reader(prompt).read(["4.value=1, 2"]))
    with pytest.raises(WorkflowError, match=r"4\.value changes nothing: no output that is run depends on node 4"):
        check_cells(cells, Executor(NODE_CLASS_MAPPINGS), None, INFO)


# --- cells


def test_a_cell_is_named_by_what_it_is():
    """The hash is the same for the same cell in another sweep, and another for any other."""
    one = Cells(adding(), reader().read(["Add.seed=1..3", "Add.factor=0, 1"]))
    other = Cells(adding(), reader().read(["Add.factor=1, 2", "1.value=1..3", "Add.seed=0..3"]))
    plain = Cells(adding(), reader().read(["Add.seed=1, 2"]))  # the factor is 1 in the workflow

    def by_content(cells):
        return {cells.key(index): str(cells.nodes(index)) for index in range(len(cells))}

    keys = {**by_content(one), **by_content(other), **by_content(plain)}
    assert len(keys) == len(set(keys.values()))
    assert plain.key(0) == one.key(one.index((0, 1))) == other.key(other.index((0, 2, 1)))
    assert plain.name(1, plain.key(1)).startswith("1_")


def test_a_file_is_part_of_the_hash():
    axes = reader().read(["Add.broken=a.png, b.png"])
    plain, hashed = Cells(adding(), axes), Cells(adding(), axes, {"b.png": "12"})
    assert plain.key(0) == hashed.key(0) and plain.key(1) != hashed.key(1)
