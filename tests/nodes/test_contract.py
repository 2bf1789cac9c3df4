"""What the editor is told of each node, checked without ComfyUI: declarations, help pages, languages, scripts."""

import inspect
import json
import math
import re
import runpy
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "web" / "docs"
LOCALES = ROOT / "locales"
LANGUAGES = ("ko", "zh")
"""Beside English, which the editor reads off the nodes themselves."""
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN"}
# ComfyUI's own types, and those that only this pack's nodes make.
COMFYUI = set("MODEL CLIP VAE CONDITIONING LATENT IMAGE MASK NOISE SAMPLER SIGMAS GUIDER CONTROL_NET CURVE".split())
OWN = {"DDIM_CURVE", "DDIM_SCHEDULE", "DDIM_OPTIONS", "DDIM_SCORE_CORRECTOR"}
CATEGORIES = {"DDIM", *(f"DDIM/{name}" for name in ("schedules", "options", "latents", "images", "custom sampling"))}
OPTIONS = {"default", "min", "max", "step", "round", "tooltip", "multiline", "forceInput", "advanced"} | {
    "control_after_generate"
}

every_node = pytest.mark.parametrize("key", NODE_CLASS_MAPPINGS)


def inputs(key: str) -> dict[str, tuple]:
    """Name to (kind, options), in the editor's order."""
    declared = NODE_CLASS_MAPPINGS[key].INPUT_TYPES()
    assert set(declared) <= {"required", "optional", "hidden"}
    return {**declared.get("required", {}), **declared.get("optional", {})}


def outputs(key: str) -> list[str]:
    """The names that the editor shows."""
    node = NODE_CLASS_MAPPINGS[key]
    return list(getattr(node, "RETURN_NAMES", node.RETURN_TYPES))


# --- declarations


def test_the_two_mappings_name_the_same_nodes_in_the_same_order():
    assert list(NODE_CLASS_MAPPINGS) == list(NODE_DISPLAY_NAME_MAPPINGS)
    assert all(node.__name__ == key for key, node in NODE_CLASS_MAPPINGS.items())
    names = list(NODE_DISPLAY_NAME_MAPPINGS.values())
    assert len(set(names)) == len(names) and all("DDIM" in name for name in names)


@every_node
def test_inputs_are_of_known_types_with_defaults_in_range(key):
    for name, (kind, options) in inputs(key).items():
        assert set(options) <= OPTIONS, name
        if isinstance(kind, list):
            assert not kind or options["default"] in kind, name
            assert len(set(kind)) == len(kind) and all(isinstance(each, str) for each in kind), name
        elif kind in WIDGETS and not options.get("forceInput"):
            default = options["default"]
            assert type(default) in {"INT": (int,), "FLOAT": (float,), "STRING": (str,), "BOOLEAN": (bool,)}[kind], name
            if kind in ("INT", "FLOAT"):
                low, high = options["min"], options["max"]
                assert low <= default <= high, name
                step = options.get("step", 1)
                assert math.isclose(default / step, round(default / step), abs_tol=1e-6), name
        else:
            assert set(kind.split(",")) <= COMFYUI | OWN | {"FLOAT", "INT"}, name
            assert "default" not in options, name


@every_node
def test_the_function_takes_just_these_inputs(key):
    node = NODE_CLASS_MAPPINGS[key]
    declared = node.INPUT_TYPES()
    names = [name for part in declared.values() for name in part]
    parameters = dict(inspect.signature(getattr(node(), node.FUNCTION)).parameters)
    assert not any(each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL) for each in parameters.values())
    assert set(parameters) == set(names)
    for name in (*declared.get("optional", {}), *declared.get("hidden", {})):
        assert parameters[name].default is not inspect.Parameter.empty, f"{name} may be missing, and has no default"


@every_node
def test_outputs_are_named_and_of_known_types(key):
    node = NODE_CLASS_MAPPINGS[key]
    assert set(node.RETURN_TYPES) <= COMFYUI | OWN | {"FLOAT", "INT"}
    assert len(outputs(key)) == len(node.RETURN_TYPES) == len(node.OUTPUT_TOOLTIPS)
    assert len(set(outputs(key))) == len(outputs(key))


@pytest.mark.parametrize("kind", sorted(OWN - {"DDIM_SCORE_CORRECTOR"}))
def test_every_type_of_ours_is_made_and_taken_somewhere(kind):
    assert any(kind in node.RETURN_TYPES for node in NODE_CLASS_MAPPINGS.values())
    kinds = [k for key in NODE_CLASS_MAPPINGS for k, _ in inputs(key).values() if isinstance(k, str)]
    assert any(kind in each.split(",") for each in kinds)


@every_node
def test_a_node_is_found_and_explains_itself(key):
    node = NODE_CLASS_MAPPINGS[key]
    assert node.CATEGORY in CATEGORIES
    assert len(node.SEARCH_ALIASES) >= 2 and len(set(node.SEARCH_ALIASES)) == len(node.SEARCH_ALIASES)
    assert all(isinstance(each, str) and each == each.strip() and each for each in node.SEARCH_ALIASES)
    tips = {name: options["tooltip"] for name, (_, options) in inputs(key).items()}
    for name, text in {"": node.DESCRIPTION, **tips, **dict(enumerate(node.OUTPUT_TOOLTIPS))}.items():
        assert text[0].isalnum() and text.endswith("."), name
        assert len(text) <= (240 if name == "" else 180), f"{name}: too long to read in passing"
        assert "  " not in text and text == text.strip(), name


# --- help pages


def page(key: str) -> str:
    return (DOCS / f"{key}.md").read_text()


def rows(text: str) -> dict[str, str]:
    """The entries of a page's lists by the names at their beginning."""
    found = {}
    for line in text.splitlines():
        if match := re.match(r"- `(\w+)`(?: \(.*?\))?: ", line):
            found.setdefault(match[1], line)
    return found


def test_there_are_no_pages_or_pictures_of_other_things():
    assert {path.stem for path in DOCS.glob("*.md")} == set(NODE_CLASS_MAPPINGS)
    pages = {path.parent.name for path in DOCS.glob("*/*.md")}
    assert pages == set(NODE_CLASS_MAPPINGS) and {path.stem for path in DOCS.glob("*/*.md")} == set(LANGUAGES)
    assert {path.stem for path in (DOCS / "pictures").iterdir()} <= set(NODE_CLASS_MAPPINGS)


@every_node
def test_a_help_page_names_every_input_and_output(key):
    text, name = page(key), NODE_DISPLAY_NAME_MAPPINGS[key]
    assert text.startswith(f"# {name}\n\n") and f"\n\n![{name}](pictures/{key}.png)\n\n" in text
    ins, outs = text.split("## Outputs")
    assert list(rows(ins.split("## Inputs")[1])) == list(inputs(key))
    assert list(rows(outs))[: len(outputs(key))] == outputs(key)


@every_node
def test_a_help_page_has_the_ranges_and_choices_of_the_node(key):
    text = page(key)
    of_inputs = rows(text.split("## Outputs")[0])
    optional = NODE_CLASS_MAPPINGS[key].INPUT_TYPES().get("optional", {})
    for name, (kind, options) in inputs(key).items():
        row = of_inputs[name]
        if isinstance(kind, list):
            if name not in ("ckpt_name", "control_net_name", "image", "file"):
                assert all(f"`{each}`" in text for each in kind), name
        elif kind in ("INT", "FLOAT") and "default" in options:
            assert f"default {options['default']:g}" in row, name
            if not options.get("control_after_generate") and options["max"] < 2**63:
                assert f"{options['min']:g} to {options['max']} ".replace(".0 ", " ").strip() in row, name
        elif kind == "BOOLEAN":
            assert f"default {'on' if options['default'] else 'off'}" in row, name
        elif kind not in WIDGETS or options.get("forceInput"):
            assert kind.replace(",", " or ") in row, name
        if name in optional and "default" not in options:
            assert "` (optional, " in row, name


@every_node
def test_a_help_page_has_a_picture_of_its_node(key):
    with Image.open(DOCS / "pictures" / f"{key}.png") as picture:
        assert picture.width >= 180 and picture.height >= 60


@every_node
def test_help_pages_name_only_nodes_and_workflows_that_there_are(key):
    text = page(key)
    shown = {f"{name[1]}" for name in re.finditer(r"\*([A-Z][\w ]+ \(DDIM\))\*", text)}
    assert shown <= set(NODE_DISPLAY_NAME_MAPPINGS.values())
    for name in re.findall(r"workflow \*(\w+)\*", text):
        assert (ROOT / "workflows" / f"{name}.json").is_file(), name


@pytest.mark.parametrize("language", LANGUAGES)
@every_node
def test_a_help_page_is_there_in_every_language(key, language):
    """Where the editor looks before it takes the English one: the same inputs, outputs, ranges, names and sources."""
    own, text = page(key), (DOCS / key / f"{language}.md").read_text(encoding="utf-8")
    name = locale(language)[key]["display_name"]
    assert text.startswith(f"# {name}\n\n") and f"\n\n![{name}](pictures/{key}.png)\n\n" in text
    sections = [re.split(r"^## .*$", each, flags=re.M) for each in (own, text)]
    for english, translated in zip(*(each[1:3] for each in sections), strict=True):
        assert list(rows(english)) == list(rows(translated))
    assert len(sections[0]) == len(sections[1])
    for name, row in rows(sections[1][1]).items():
        bounds = re.search(r"\((?:optional, )?(-?[\d.]+) to ([\d.]+)", rows(sections[0][1])[name])
        assert not bounds or all(each in row for each in bounds.groups()), name
    told = ["\n".join(each[3:]) for each in sections]
    for kind, (english, translated) in {
        r"\b\d{4}\.\d{4,5}\b": (own, text),
        r"\*(\w+_\w+)\*": (own, text),
        r"`[a-z_0-9+]+`": told,
    }.items():
        assert set(re.findall(kind, english)) == set(re.findall(kind, translated)), kind
    shown = set(re.findall(r"\*([^*\n`]+ \(DDIM\))\*", text))
    assert shown <= {node["display_name"] for node in locale(language).values()}


def test_every_node_occurs_in_a_shipped_workflow():
    files = (ROOT / "workflows").glob("*.json")
    used = {node["type"] for file in files for node in json.loads(file.read_text())["nodes"]}
    assert not set(NODE_CLASS_MAPPINGS) - used


@pytest.mark.parametrize("workflow", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_a_shipped_workflow_is_an_app(workflow):
    """What the editor's app mode shows of it: some widgets that no wire sets, each once, and what is saved."""
    document = json.loads(workflow.read_text())
    nodes = {str(node["id"]): node for node in document["nodes"]}
    app = document["extra"]["linearData"]
    assert 2 <= len(app["inputs"]) <= 8 and len(set(map(tuple, app["inputs"]))) == len(app["inputs"])
    for node, widget in app["inputs"]:
        (entry,) = (entry for entry in nodes[node]["inputs"] if entry.get("widget") == {"name": widget})
        assert entry["link"] is None, (node, widget)
    assert app["outputs"] == [node for node, each in nodes.items() if each["type"] == "SaveImage"]


# --- languages


def english() -> dict:
    """The texts of the nodes themselves, as the editor's translations have them."""
    texts = {}
    for key, node in NODE_CLASS_MAPPINGS.items():
        ins = {}
        for name, (_, options) in inputs(key).items():
            ins[name] = {"name": name, "tooltip": options["tooltip"]}
            if options.get("control_after_generate"):  # a widget that the editor adds
                ins["control_after_generate"] = {"name": "control after generate"}
        named = zip(outputs(key), node.OUTPUT_TOOLTIPS, strict=True)
        outs = {str(i): {"name": name, "tooltip": tooltip} for i, (name, tooltip) in enumerate(named)}
        texts[key] = {
            "display_name": NODE_DISPLAY_NAME_MAPPINGS[key],
            "description": node.DESCRIPTION,
            "inputs": ins,
            "outputs": outs,
        }
    return texts


def locale(language: str, file: str = "nodeDefs.json") -> dict:
    return json.loads((LOCALES / language / file).read_text(encoding="utf-8"))


def leaves(texts: dict, path: tuple = ()) -> dict[tuple, str]:
    if isinstance(texts, str):
        return {path: texts}
    return {at: leaf for key, value in texts.items() for at, leaf in leaves(value, (*path, key)).items()}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_text_and_no_other(language):
    expected, found = leaves(english()), leaves(locale(language))
    assert not set(expected) - set(found), "missing"
    assert not set(found) - set(expected), "left over"
    for path, text in found.items():
        assert text.strip() == text and text, path
        assert not set(text) & set("{}@$|"), f"{path}: the editor's translations read these characters as commands"


@pytest.mark.parametrize(("language", "script"), [("ko", r"[\uac00-\ud7a3]"), ("zh", r"[\u4e00-\u9fff]")])
def test_descriptions_and_tooltips_are_translated(language, script):
    own = leaves(english())
    for path, text in leaves(locale(language)).items():
        if path[-1] in ("description", "tooltip"):
            assert re.search(script, text), path
            assert text[-1] in ".。", path
        # Numbers are facts: those of the English text are there, and no others.
        digits = [set(re.findall(r"\d+(?:\.\d+)?", each)) for each in (own[path], text)]
        assert digits[0] <= digits[1] | {"2023"}, path


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_same_text_is_translated_in_the_same_way(language):
    own, seen = leaves(english()), {}
    for path, text in leaves(locale(language)).items():
        if path[-1] == "tooltip":
            assert seen.setdefault(own[path], text) == text, path


@pytest.mark.parametrize("language", LANGUAGES)
def test_categories_are_translated(language):
    parts = {part for node in NODE_CLASS_MAPPINGS.values() for part in node.CATEGORY.split("/")} - {"DDIM"}
    assert set(locale(language, "main.json")["nodeCategories"]) == parts
    assert {path.name for path in LOCALES.iterdir()} == set(LANGUAGES)


# --- scripts and package


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("script", sorted((ROOT / "web").rglob("*.js")), ids=lambda path: path.name)
def test_the_browsers_scripts_parse(script):
    result = subprocess.run(["node", "--check", str(script)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_registry_finds_what_it_asks_for():
    """What docs.comfy.org asks of a pack; the publisher's name and the address come with publishing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    about, comfy = project["project"], project["tool"]["comfy"]
    assert re.fullmatch(r"[A-Za-z](?:[A-Za-z0-9]|[-_.](?![-_.])){0,98}", about["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", about["version"]) and about["description"]
    assert "Operating System :: OS Independent" in about["classifiers"]
    assert {"PublisherId", "DisplayName"} <= set(comfy) and "ComfyUI" not in comfy["DisplayName"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    assert not comfy["PublisherId"] or about["urls"]["Repository"].startswith("https://")
    for name, fits in (("Icon", lambda w, h: w == h <= 400), ("Banner", lambda w, h: 9 * w == 21 * h)):
        assert not comfy[name] or comfy[name].endswith(f"/docs/{name.lower()}.png")
        with Image.open(ROOT / "docs" / f"{name.lower()}.png") as picture:
            assert fits(*picture.size)


def test_icon_and_banner_are_what_their_script_draws(tmp_path):
    script = runpy.run_path(str(ROOT / "benchmarks" / "icon_and_banner.py"))
    for name in ("icon", "banner"):
        script[name]().save(tmp_path / "drawn.png")
        with Image.open(tmp_path / "drawn.png") as drawn, Image.open(ROOT / "docs" / f"{name}.png") as kept:
            assert kept.size == drawn.size
            apart = [np.asarray(each.convert("RGB"), dtype=float) for each in (drawn, kept)]
        assert abs(apart[0] - apart[1]).mean() < 1  # other versions of Pillow may set type otherwise


def test_comfyui_has_all_that_the_pack_needs():
    """ComfyUI's own requirements; installing a pack must not change what is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", each)[0] for each in project["dependencies"]}
    assert names <= {"torch", "numpy", "pillow", "safetensors", "einops", "tqdm"}
    assert not (ROOT / "requirements.txt").exists() and not (ROOT / "install.py").exists()


def test_what_the_registry_leaves_out_is_not_needed():
    """Nothing that ComfyUI loads or shows lies under .comfyignore."""
    lines = (ROOT / ".comfyignore").read_text().splitlines()
    left_out = {line.rstrip("/") for line in lines if line and not line.startswith("#")}
    needed = {
        "__init__.py",
        "nodes",
        "sampler",
        "networks",
        "hosts",
        "web",
        "locales",
        "subgraphs",
        "workflows",
        "demo",
        "README.md",
    }
    assert not left_out & needed and all((ROOT / each).exists() for each in left_out)
