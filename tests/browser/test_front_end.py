"""Our conversion against ComfyUI's real front end, in Chromium: runs where COMFYUI_DIR names a ComfyUI checkout.

Needs, besides: COMFYUI_PYTHON, the interpreter that runs that ComfyUI (default: this one); CHROMIUM, the browser
(default: `chromium` on the PATH); node, with playwright-core on its NODE_PATH. Nothing is installed or fetched.
FRONT_END may name the folder of another front end than the one that ComfyUI brings. With RECORD=. the pairs of
workflow and prompt are also written to tests/workflows, where reading/test_convert.py finds them; with RECORD=newer or
RECORD=current, those that newer front ends save or read otherwise, to that folder of tests/workflows. oracle.py does
the same for every class of a ComfyUI and for any files, and prints a table.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from comfyui_ddim.executor.reading import convert_workflow

from prompts import essence

HERE = Path(__file__).parent
RECORDED = HERE.parent / "workflows"
COMFYUI = os.environ.get("COMFYUI_DIR")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")

CHANGED = (
    *("promoted", "subgraph", "schema_1", "muted", "reroute", "null_values", "odd_values", "primitive_through"),
    *("type", "union", "recordings", "dynamic", "autogrow", "match", "custom_combo", "long_type", "links"),
    "group_node",
)
"""What the names of workflows begin with that newer front ends save or read otherwise."""

OLD, NEW = ((1, 0), (1, 41)), ((1, 41), (9, 0))

PAGES_OWN = {
    "renamed_types": (NEW, "they leave it to the server"),
    "long_type.given": (NEW, "1.58 takes the primitive's link away"),
    "group_node_upload": (NEW, "they can't open this group node"),
    "group_node_primitive": (NEW, "they lose a value as they open the group node"),
    "group_node_few_values.given": (NEW, "they shift values as they open the group node"),
    "group_node_hidden_input.given": (NEW, "they shift values as they open the group node"),
    "group_node_seeds.given": (NEW, "they shift values as they open the group node"),
    "group_node_linked_inside.given": (NEW, "they shift values as they open the group node"),
    "subgraph_text_inside": (OLD, "the host's value of one text takes the place of another"),
    "subgraph_host_bypassed": (OLD, "what is in a bypassed host runs"),
    "subgraph_host_muted": (OLD, "what is in a muted host runs"),
    "subgraph_nested_host_muted": (OLD, "what is in a muted host runs"),
}
"""Workflows of which front ends of some versions make what nobody means, and what."""

LOST_ON_OPENING = ("autogrow_rows_linked", "autogrow_rows_bypassed")
"""Workflows whose rows have grown, which the page reads with a value lost, or before 1.41 with an input in another
place, as it opens them again: the conversion is compared with what it queues before."""


def is_pages_own(name, version):
    """Whether that front end is known to make something else of this workflow."""
    number = tuple(int(part) for part in version.split(".")[:2])
    known = [PAGES_OWN[key][0] for key in (name, name.removesuffix(".given")) if key in PAGES_OWN]
    return any(since <= number < before for since, before in known)


pytestmark = pytest.mark.skipif(
    not (COMFYUI and CHROMIUM and shutil.which("node")), reason="needs COMFYUI_DIR, chromium and node"
)


@pytest.fixture(scope="module")
def server(run_comfyui):
    """A ComfyUI of our own on this machine, with the node pack that the workflows are made of."""
    with run_comfyui({"reading_nodes": HERE / "node_pack"}) as server:
        shutil.copytree(Path(COMFYUI) / "input", server.base / "input", dirs_exist_ok=True)
        yield server


@pytest.fixture(scope="module")
def object_info(server):
    return server.asked("/object_info")


@pytest.fixture(scope="module")
def records(server):
    command = ["node", str(HERE / "record.mjs"), server.url, CHROMIUM]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=1500)
    return json.loads(done.stdout)


def test_conversion_equals_the_front_ends(records, object_info):
    version = records.pop("version")
    assert len(records) >= 80
    pairs = {}
    for name, record in records.items():
        assert "error" not in record, (name, record)
        pairs[name] = (record["saved"], record["built" if name in LOST_ON_OPENING else "prompt"])
        # Files of earlier editors: newer ones rebuild them as they open them, group nodes under other ids.
        if "given" in record and (not record["promotes"] or "frontendVersion" in record["given"]["extra"]):
            pairs[name + ".given"] = (record["given"], record["built"])
    pairs = {name: pair for name, pair in pairs.items() if not is_pages_own(name, version)}
    if folder := os.environ.get("RECORD"):
        _write(RECORDED / folder, pairs, object_info)
    wrong = []
    for name, (workflow, prompt) in pairs.items():
        (workflow.get("extra") or workflow.setdefault("extra", {})).setdefault("frontendVersion", version)
        converted = convert_workflow(workflow, object_info)
        if essence(converted, object_info) != essence(prompt, object_info):
            wrong.append(name)
    assert not wrong


def _write(folder, pairs, object_info):
    """One file per pair, and one with the definitions of all classes in them."""
    if folder != RECORDED:
        pairs = {name: pair for name, pair in pairs.items() if name.startswith(CHANGED)}
    used = {node["class_type"] for _, prompt in pairs.values() for node in prompt.values()}
    used |= {node["type"] for workflow, _ in pairs.values() for node in workflow["nodes"]}
    for name, (workflow, prompt) in pairs.items():
        text = f'{{"workflow": {json.dumps(workflow)},\n"prompt": {json.dumps(prompt)}}}\n'
        (folder / f"{name}.json").write_text(text)
    known = {name: object_info[name] for name in sorted(used & object_info.keys())}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(info)}" for name, info in known.items())
    (folder / "object_info.json").write_text("{" + lines + "}\n")
