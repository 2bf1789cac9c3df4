"""What was drawn stays, whatever is done with its node and its page. editor.py says what these tests need."""

import pytest
from editor import needs_editor, with_curve

pytestmark = needs_editor

WRITTEN = "0: 7.5, 0.5: 5, 1: 1"
READABLE = {"line": 2, "point": 2, "step": 4.5, "value": 4.5, "foot": 4.5, "axis": 2.5, "button": 4.5}
"""The least contrast of lines, small text, and hints that matter less."""


@pytest.fixture
def curve(page, drawn):
    """`curve()` tells how it is there; an editor with a curve of three points and four steps."""
    if page("frontEnd") < [1, 49]:
        pytest.skip("not tried on this front end")
    page("open", {"workflow": with_curve(WRITTEN, 4), "view": [40, 420]})
    return lambda nth=0: page("nthCurve", {"nth": nth})


def moved(at, right, down):
    return [at[0] + right, at[1] + down]


def draw(page, curve, right=24, down=16):
    """Drags the middle point; the text that this makes."""
    before = curve()
    at = before["points"][1]
    page("drag", {"from": at, "to": moved(at, right, down)})
    after = curve()
    assert after["text"] != before["text"]
    assert after["points"][1] == pytest.approx(moved(at, right, down), abs=3)  # the point is under the mouse
    return after["text"]


def queued(page):
    """The curves that would be queued, in the order of their nodes."""
    output = page("save")["output"]
    return [node["inputs"]["curve"] for node in output.values() if node["class_type"] == "DDIMCurve"]


def test_a_copy_has_the_curve_and_its_own_life(page, curve):
    text = draw(page, curve)
    page("select")
    page("press", ["Control+c", "Control+v"])
    assert page("count") == 2
    page("move", {"nth": 1, "to": [440, 300]})
    copy = curve(1)
    assert (copy["text"], len(copy["points"]), copy["shown"]) == (text, 3, True)
    at = copy["points"][1]
    page("drag", {"from": at, "to": moved(at, -20, 10)})
    assert curve(1)["text"] != text and curve()["text"] == text
    assert curve(1)["points"][1] == pytest.approx(moved(at, -20, 10), abs=3)


def test_a_deleted_curve_comes_back_by_undo(page, curve):
    text = draw(page, curve)
    page("select")
    page("press", ["Delete"])
    assert page("count") == 0
    page("press", ["Control+z"])
    assert page("count") == 1 and curve()["text"] == text and curve()["shown"]
    assert draw(page, curve, -20, -10) != text


def test_what_undo_takes_back_redo_brings(page, curve):
    text = draw(page, curve)
    page("press", ["Control+z"])
    assert curve()["text"] == WRITTEN
    page("press", ["Control+y"])
    assert curve()["text"] == text and queued(page) == [text]


def test_collapsed_and_back(page, curve):
    text = draw(page, curve)
    page("select")
    page("command", "Comfy.Canvas.ToggleSelectedNodes.Collapse")
    assert not curve()["shown"]
    saved = page("save")["workflow"]
    page("open", {"workflow": saved, "view": [40, 420]})
    assert queued(page) == [text]
    page("select")
    page("command", "Comfy.Canvas.ToggleSelectedNodes.Collapse")
    assert curve()["text"] == text and curve()["shown"]
    assert draw(page, curve, -20, -10) != text


def test_inside_a_subgraph(page, curve):
    """Drawn before, seen inside, drawn there, and queued from outside; undo inside too."""
    text = draw(page, curve)
    page("fold", ["DDIMCurve"])
    assert queued(page) == [text]
    page("enter", True)
    inside = curve()
    assert (inside["text"], len(inside["points"]), inside["shown"]) == (text, 3, True)
    again = draw(page, curve, -30, 20)
    page("enter", False)
    assert queued(page) == [again]
    page("enter", True)
    assert curve()["text"] == again and curve()["shown"]
    page("press", ["Control+z"])
    assert queued(page) == [text]


def test_steps_are_found_through_subgraphs(page, curve):
    assert curve()["foot"] == "4 steps"
    page("fold", ["DDIMCurve"])
    page("enter", True)
    assert (curve()["foot"], curve()["steps"]) == ("4 steps", 4)
    page("open", {"workflow": with_curve(WRITTEN, 3), "view": [40, 420]})
    page("fold", ["DDIMSampler"])
    page("move", {"to": [40, 420]})
    assert (curve()["foot"], curve()["steps"]) == ("3 steps", 3)


def test_promoted_to_the_host(page, curve):
    """What the host shows is what is queued, and the picture inside says whose it is."""
    text = draw(page, curve)
    page("fold", ["DDIMCurve"])
    assert page("promote", "curve") == text
    assert queued(page) == [text]
    page("setOnHost", {"name": "curve", "value": "0: 3, 1: 2"})
    assert queued(page) == ["0: 3, 1: 2"]
    page("enter", True)
    inside = curve()
    assert inside["shown"]
    assert inside["text"] == "0: 3, 1: 2" or "is connected" in inside["notice"]
    assert bool(inside["points"]) == (inside["notice"] == "")


def test_converted_to_an_input_and_back(page, curve):
    text = draw(page, curve)
    page("wireText", {"input": "curve", "text": "0: 2, 1: 3"})
    wired = curve()
    assert wired["notice"] == "'curve' is connected: its value is known once the workflow runs."
    assert wired["points"] == []
    page("tryPreset", "constant")  # nothing is drawn over that
    page("wireText", {"input": "curve", "text": None})
    free = curve()
    assert (free["text"], len(free["points"]), free["notice"]) == (text, 3, "")
    assert queued(page) == [text]


@pytest.mark.parametrize("scale", [0.8, 1.7])
def test_the_editor_s_zoom(page, curve, scale):
    page("zoom", scale)
    assert curve()["shown"]
    draw(page, curve)


@pytest.mark.parametrize("factor", [0.75, 1.5])
def test_the_browser_s_zoom(page, curve, factor):
    page("pageZoom", factor)
    try:
        page("zoom", 1)
        assert curve()["shown"]
        draw(page, curve)
    finally:
        page("pageZoom", 1)


def test_by_touch(page, curve):
    at = curve()["points"][1]
    page("touchDrag", {"from": at, "to": moved(at, 30, -20)})
    assert curve()["points"][1] == pytest.approx(moved(at, 30, -20), abs=3)
    text = curve()["text"]
    at = curve()["points"][1]
    page("touchDrag", {"from": at, "to": moved(at, -20, 10), "rest": 1200})  # a long press is no right click
    assert curve()["points"][1] == pytest.approx(moved(at, -20, 10), abs=3)
    page("touchDrag", {"from": curve()["points"][1], "to": moved(curve()["points"][1], 0, -250)})
    assert len(curve()["points"]) == 2
    page("press", ["Control+z"])
    assert len(curve()["points"]) == 3 and curve()["text"] != text
    assert page("count") == 1


def test_a_click_changes_nothing(page, drawn):
    """Numbers that were typed stay as they are, though the mouse trembles and misses the point by a little."""
    page("open", {"workflow": with_curve("0: 7.512345, 0.333333: 5.98765, 1: 1", 4), "view": [40, 420]})
    before = page("curve")
    for at in before["points"]:
        page("drag", {"from": moved(at, 3, -2), "to": moved(at, 4, -1)})
        page("click", {"at": moved(at, -3, 2)})
    assert page("curve")["text"] == before["text"]
    at = before["points"][1]
    page("drag", {"from": moved(at, 4, 3), "to": moved(at, 34, 23)})
    assert page("curve")["points"][1] == pytest.approx(moved(at, 30, 20), abs=2)  # it doesn't jump to the mouse


def test_keys_in_the_picture_are_no_shortcuts_of_the_editor(page, curve):
    """Delete takes a point, never the node; other keys of the editor do nothing to it either."""
    page("select")
    page("click", {"at": curve()["points"][1]})
    page("press", ["Delete", "Delete", "Backspace", "Delete"])
    assert page("count") == 1 and curve()["text"] == "0: 7.5, 1: 1"
    page("press", ["Tab", "ArrowDown", "Delete"])
    assert page("count") == 1 and curve()["text"].endswith(", 1: 1") and len(curve()["points"]) == 2
    page("press", ["Control+z", "Control+z"])
    assert curve()["text"] == WRITTEN


def test_another_tab_and_back(page, curve):
    text = draw(page, curve)
    page("otherTabAndBack")
    page("move", {"to": [40, 420]})
    assert curve()["text"] == text and curve()["shown"] and queued(page) == [text]


@pytest.mark.parametrize("theme", ["light", "dark", "solarized", "github"])
def test_themes(page, curve, theme):
    try:
        seen = page("contrasts", theme)
    finally:
        page("contrasts", "dark")
    assert (seen.pop("behind") > 0.3) == (theme == "light")
    assert {part: value for part, value in seen.items() if value < READABLE[part]} == {}
