"""Our conversion against ComfyUI's real front end, in Chromium: runs where COMFYUI_DIR names a ComfyUI checkout.

Needs, besides: COMFYUI_PYTHON, the interpreter that runs that ComfyUI (default: this one); CHROMIUM, the browser
(default: `chromium` on the PATH); node, with playwright-core on its NODE_PATH. Nothing is installed or fetched.
FRONT_END may name the folder of another front end than the one that ComfyUI brings. With RECORD=. the pairs of
workflow and prompt are also written to tests/workflows, where reading/test_convert.py finds them; with RECORD=newer,
those that newer front ends save or read otherwise, to tests/workflows/newer.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from comfyui_ddim.executor.reading import convert_workflow

HERE = Path(__file__).parent
RECORDED = HERE.parent / "workflows"
COMFYUI = os.environ.get("COMFYUI_DIR")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")

CHANGED = ("promoted", "subgraph", "schema_1", "muted", "reroute", "null_values")
"""What the names of workflows begin with that newer front ends save or read otherwise."""

pytestmark = pytest.mark.skipif(
    not (COMFYUI and CHROMIUM and shutil.which("node")), reason="needs COMFYUI_DIR, chromium and node"
)


@pytest.fixture(scope="module")
def server(run_comfyui):
    """A ComfyUI of our own on this machine, with the node pack that the workflows are made of."""
    other = ["--front-end-root", os.environ["FRONT_END"]] if "FRONT_END" in os.environ else []
    with run_comfyui({"reading_nodes": HERE / "node_pack"}, *other) as server:
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
    assert len(records) >= 80
    pairs = {}
    for name, record in records.items():
        assert "error" not in record, (name, record)
        pairs[name] = (record["saved"], record["prompt"])
        # Files of earlier editors: newer ones rebuild them as they open them, group nodes under other ids.
        if "given" in record and (not record["promotes"] or "frontendVersion" in record["given"]["extra"]):
            pairs[name + ".given"] = (record["given"], record["built"])
    if folder := os.environ.get("RECORD"):
        _write(RECORDED / folder, pairs, object_info)
    wrong = [
        name
        for name, (workflow, prompt) in pairs.items()
        if essence(convert_workflow(workflow, object_info), object_info) != essence(prompt, object_info)
    ]
    assert not wrong


def essence(prompt, object_info):
    """Class and inputs of every node, without the players and viewers that no class declares (they hold "")."""
    return {
        key: (node["class_type"], {n: v for n, v in node["inputs"].items() if v != "" or n in declared})
        for key, node in prompt.items()
        for declared in [{n for group in object_info[node["class_type"]]["input"].values() for n in group}]
    }


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
