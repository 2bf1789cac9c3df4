"""ComfyUI's real editor in Chromium, for the tests that drive it: what they need, and what they open in it.

They run where COMFYUI_DIR names a ComfyUI checkout. They need, besides: COMFYUI_PYTHON, the interpreter that runs that
ComfyUI (default: this one); CHROMIUM, the browser (default: `chromium` on the PATH); node, with playwright-core on its
NODE_PATH. FRONT_END may name the folder of another front end than the one that ComfyUI brings. Nothing is installed or
fetched. The fixtures `server`, `page` and `drawn` are in conftest.py.
"""

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACK = "ComfyUI-DDIM"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")

needs_editor = pytest.mark.skipif(
    not ("COMFYUI_DIR" in os.environ and CHROMIUM and shutil.which("node") and os.environ.get("NODE_PATH")),
    reason="needs COMFYUI_DIR, chromium, node and a NODE_PATH with playwright-core",
)


@contextmanager
def browser_at(url):
    """`page(scene, given)`: a function of browser/scenes.mjs and its neighbours, in the page of the server at `url`."""
    command = ["node", HERE / "drive.mjs", url, CHROMIUM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as browser:

        def page(scene, given=None):
            print(json.dumps([scene, given]), file=browser.stdin, flush=True)
            line = browser.stdout.readline()
            assert line, "the browser has gone"
            told = json.loads(line)
            assert "error" not in told, told["error"]
            return told["answer"]

        try:
            yield page
        finally:
            browser.stdin.close()
            browser.wait(30)


def read(name):
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text())


SEEDS = count(1000)


def with_curve(curve, steps):
    """The workflow text_to_image with a DDIMCurve wired into the sampler's guidance, and that many steps.

    Each has a seed of its own, so that ComfyUI runs it and finds nothing in its cache.
    """
    workflow = read("text_to_image")
    (sampler,) = (node for node in workflow["nodes"] if node["type"] == "DDIMSampler")
    sampler["widgets_values"][0], sampler["widgets_values"][2] = next(SEEDS), steps
    workflow["last_node_id"], workflow["last_link_id"] = node, link = 99, 99
    slot = next(i for i, entry in enumerate(sampler["inputs"]) if entry["name"] == "guidance_schedule")
    sampler["inputs"][slot]["link"] = link
    workflow["links"].append([link, node, 0, sampler["id"], slot, "DDIM_CURVE"])
    workflow["nodes"].append(
        {
            "id": node,
            "type": "DDIMCurve",
            "pos": [40, 420],
            "size": [340, 300],
            "flags": {},
            "order": 0,
            "mode": 0,
            "inputs": [{"name": "values", "type": "FLOAT", "link": None, "shape": 7}],
            "outputs": [{"name": "curve", "type": "DDIM_CURVE", "links": [link]}],
            "properties": {},
            "widgets_values": [curve],
        }
    )
    return workflow
