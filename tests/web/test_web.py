"""The scripts in web/: they parse, their pure parts pass node's own tests, and they read a curve as the nodes do."""

import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from comfyui_ddim.nodes.schedules import DDIMGuidanceSchedule, parse_curve

HERE = Path(__file__).parent
WEB = HERE.parents[1] / "web"

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")


def node(*arguments, given=""):
    """What node prints; its complaints become the test's."""
    done = subprocess.run(["node", *arguments], input=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("script", sorted(WEB.rglob("*.js")), ids=lambda path: path.stem)
def test_scripts_parse(script):
    node("--check", str(script))


def test_pure_parts():
    tests = sorted(str(path) for path in HERE.glob("*.test.js"))
    assert tests
    node("--test", *tests)


def a_formula(rng, depth=0):
    """A formula that Python and the page both may find a value for, or not."""
    if depth > 3 or rng.random() < 0.25:
        return rng.choice(["u", "u", "pi", "e", "2", "0.5", ".25", "3.", "1e1", "1_0", "0"])
    part = [a_formula(rng, depth + 1) for _ in range(2)]
    kind = rng.randrange(5)
    if kind < 2:
        return f"{part[0]} {rng.choice(['+', '-', '*', '/', '**'])} {part[1]}"
    if kind == 2:
        return f"({part[0]})"
    if kind == 3:
        return rng.choice("-+") + part[0]
    one, two = ["sin", "cos", "exp", "sqrt", "log", "abs", "floor", "ceil"], ["min", "max", "log"]
    return f"{rng.choice(two)}({part[0]}, {part[1]})" if rng.random() < 0.4 else f"{rng.choice(one)}({part[0]})"


def some_points(rng):
    """Points with jumps, or out of order now and then."""
    us = sorted(rng.choice([0, 0.1, 0.25, 0.5, 0.5, 0.8, 1]) for _ in range(rng.randrange(1, 6)))
    if rng.random() < 0.1:
        us.reverse()
    return rng.choice([", ", ",", "\n", " ,\n"]).join(f"{u}:{rng.uniform(-3, 12):.3g}" for u in us)


WRITTEN = [
    *["0: 7.5, 0.5: 5, 1: 1", "1 + 6.5 * cos(pi / 2 * u)", "0:1\n0.5: 2", "0.3: 4", "0: 1_0, 1: 2e0", "0: 7, 0.5"],
    *["", ":", "0: 1, 0.5: x", "0.5: 1, 0: 2", "0: 1, 2: 3", "2 ** -u ** 2", "-2 ** 2", "u // 2", "__import__('os')"],
    *["max(u, 0.5,)", "(1 +\n u)", "1 +\n u", "1e400", "07", "00", "1__0", "log(8, 2)", "u if u else 1", "u.real"],
]


def value_of(curve, u):
    return curve(u) if callable(curve) else curve


def in_python(text, us):
    try:
        values = [value_of(parse_curve(text), u) for u in us]
    except ValueError:
        return None
    return values if all(abs(value) < float("inf") for value in values) else None


def test_a_curve_reads_the_same_in_the_page_and_in_the_node():
    rng = random.Random(5)
    us = [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.7, 0.8, 1.0]
    texts = [*WRITTEN, *(a_formula(rng) for _ in range(300)), *(some_points(rng) for _ in range(150))]
    expected = [in_python(text, us) for text in texts]
    found = json.loads(node(str(HERE / "values.mjs"), given=json.dumps([[text, us] for text in texts])))
    assert sum(values is not None for values in expected) > 200 and sum(values is None for values in expected) > 50
    for text, ours, theirs in zip(texts, expected, found, strict=True):
        assert (ours is None) == (theirs is None), text
        assert ours is None or theirs == pytest.approx(ours, rel=1e-9, abs=1e-9), text


def test_guidance_schedules_look_as_they_are():
    given = [
        (shape, 7.5, 1.0, first, last)
        for shape in ("constant", "linear", "cosine", "interval")
        for first, last in ((0.0, 1.0), (0.2, 0.7), (0.5, 0.5), (0.0, 0.4))
    ]
    us = [i / 19 for i in range(20)]
    script = f"""
        import {{ guidanceCurve }} from {json.dumps((WEB / "curve.js").as_uri())}
        const us = {json.dumps(us)}
        console.log(JSON.stringify({json.dumps(given)}.map((given) => us.map(guidanceCurve(...given).at))))
    """
    found = json.loads(node("--input-type=module", "--eval", script))
    for each, theirs in zip(given, found, strict=True):
        (curve,) = DDIMGuidanceSchedule().make(*each)
        assert theirs == pytest.approx([value_of(curve, u) for u in us], abs=1e-12), each


def test_styles_are_for_the_packs_own_elements():
    """Each selector names a class of the pack's, or its help's pictures; the page itself gets a variable of its own."""
    script = (WEB / "style.js").read_text()
    assert len(re.findall("`", script)) == 4  # two literals, and nothing is put together
    rules = [rule.split("{") for sheet in script.split("`")[1::2] for rule in sheet.split("}") if rule.strip()]
    assert len(rules) > 30
    for selectors, body in rules:
        for selector in selectors.split(","):
            if selector.strip() == ":root":
                assert re.fullmatch(r"\s*(--[\w-]*DDIM[\w-]*: [^;]+;\s*)+", body), body
            else:
                assert re.match(r"\s*\.(ddim-|node-help-content:has\([^)]*DDIM)", selector), selector


def words(language):
    """The scripts' words: English as they have them, others as the editor gives them."""
    if language == "en":
        script = (
            f"import {{ ENGLISH }} from {json.dumps((WEB / 'words.js').as_uri())}; console.log(JSON.stringify(ENGLISH))"
        )
        return json.loads(node("--input-type=module", "-e", script))
    return json.loads((WEB.parent / "locales" / language / "main.json").read_text(encoding="utf-8"))["ddimCurve"]


@pytest.mark.parametrize("language", ["ko", "zh"])
def test_the_scripts_speak_other_languages(language):
    """Every word is there, with the same gaps to fill, and the scripts ask for no other."""
    own, translated = words("en"), words(language)
    gaps = re.compile(r"\[\w+\]")
    assert {key: sorted(gaps.findall(text)) for key, text in translated.items()} == {
        key: sorted(gaps.findall(text)) for key, text in own.items()
    }
    assert not [key for key, text in translated.items() if text == own[key]]
    scripts = "".join(path.read_text() for path in WEB.glob("*.js"))
    assert set(re.findall(r"say\('(\w+)'", scripts)) <= set(own)
    assert not re.search(r"app\.canvas\.\w+ = ", scripts)  # the canvas's own functions stay its own
