"""Public node packs through the runner, beside ComfyUI's server: the same classes, the same pictures.

They run where COMFYUI_DIR names a ComfyUI checkout with packs in its custom_nodes, and their requirements are
installed. The workflows need nine packs: essentials, KJNodes, Impact, Inspire, Easy-Use, Custom-Scripts, rgthree, WAS
and VideoHelperSuite.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CUSTOM_NODES = Path(os.environ.get("COMFYUI_DIR", "nowhere")) / "custom_nodes"
PACKS = {path.name: path for path in sorted(CUSTOM_NODES.glob("*/")) if (path / "__init__.py").exists()}

pytestmark = pytest.mark.skipif(not PACKS, reason="COMFYUI_DIR names no ComfyUI checkout with packs in custom_nodes")

QUIETLY = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "HF_HUB_OFFLINE": "1"}
"""Some packs install or fetch something as they are imported."""


def prompt(**nodes):
    """A prompt in API form, of id=(class, inputs)."""
    return {node_id: {"class_type": name, "inputs": inputs} for node_id, (name, inputs) in nodes.items()}


def plain(color, count=2, width=64, height=48):
    return "EmptyImage", {"width": width, "height": height, "batch_size": count, "color": color}


WORKFLOWS = {
    "edits": prompt(
        a=plain(0xC04020),
        b=plain(0x2060C0),
        side=(
            "ImageConcanate",
            {"image1": ["a", 0], "image2": ["b", 0], "direction": "right", "match_image_size": True},
        ),
        n=("ImpactInt", {"value": 60}),
        e=("easy int", {"value": 8}),
        width=("MathExpression|pysssss", {"expression": "a*2+b", "a": ["n", 0], "b": ["e", 0]}),
        big=(
            "ImageResize+",
            {"image": ["side", 0], "width": ["width", 0], "height": 96, "interpolation": "bicubic", "method": "stretch"}
            | {"condition": "always", "multiple_of": 8},
        ),
        levels=(
            "Image Levels Adjustment",
            {"image": ["big", 0], "black_level": 10.0, "mid_level": 120.0, "white_level": 240.0},
        ),
        any=("Any Switch (rgthree)", {"any_02": ["levels", 0]}),
        grey=("ImageDesaturate+", {"image": ["any", 0], "factor": 0.5, "method": "average"}),
        out=("SaveImage", {"images": ["grey", 0], "filename_prefix": "edits"}),
    ),
    "switches": prompt(
        a=plain(0x804000),
        b=plain(0x00FF80),
        choice=("ImpactSwitch", {"select": 2, "sel_mode": False, "input1": ["a", 0], "input2": ["b", 0]}),
        branch=("ImpactConditionalBranch", {"cond": True, "tt_value": ["choice", 0], "ff_value": ["a", 0]}),
        other=("easy ifElse", {"boolean": False, "on_true": ["a", 0], "on_false": ["branch", 0]}),
        context=("Context (rgthree)", {"images": ["other", 0], "seed": 5}),
        split=("VHS_SplitImages", {"images": ["context", 7], "split_index": 1}),
        count=("VHS_GetImageCount", {"images": ["split", 2]}),
        columns=("easy mathInt", {"a": ["count", 0], "b": 1, "operation": "add"}),
        tile=(
            "ImageTile+",
            {"image": ["split", 2], "rows": 2, "cols": ["columns", 0], "overlap": 0.0, "overlap_x": 0, "overlap_y": 0},
        ),
        out=("SaveImage", {"images": ["tile", 0], "filename_prefix": "switches"}),
    ),
    "masks": prompt(
        red=plain(0xFF0000, 1, 24, 16),
        a=(
            "ImagePadForOutpaint",
            {"image": ["red", 0], "left": 16, "top": 24, "right": 24, "bottom": 8, "feathering": 0},
        ),
        dark=plain(0x101010, 1),
        depth=(
            "ColorMaskToDepthMask //Inspire",
            {"color_mask": ["a", 0], "spec": "#FF0000:0.6\n#000000:1.0", "base_value": 0.1, "dilation": 0}
            | {"flatten_method": "override"},
        ),
        grown=(
            "GrowMaskWithBlur",
            {"mask": ["depth", 0], "expand": 4, "incremental_expandrate": 0.5, "tapered_corners": True}
            | {"flip_input": False, "blur_radius": 2.0, "lerp_alpha": 1.0, "decay_factor": 1.0, "fill_holes": False},
        ),
        soft=("MaskBlur+", {"mask": ["grown", 0], "amount": 5, "device": "cpu"}),
        picture=("MaskToImage", {"mask": ["soft", 0]}),
        mixed=(
            "Image Blending Mode",
            {"image_a": ["picture", 0], "image_b": ["dark", 0], "mode": "screen", "blend_percentage": 0.8},
        ),
        matched=(
            "ColorMatch",
            {"image_ref": ["a", 0], "image_target": ["mixed", 0], "method": "reinhard", "strength": 0.5}
            | {"multithread": False},
        ),
        signal=("RandomGeneratorForList //Inspire", {"signal": ["matched", 0], "seed": 7}),
        turned=("ImageFlip+", {"image": ["signal", 0], "axis": "x"}),
        out=("SaveImage", {"images": ["turned", 0], "filename_prefix": "masks"}),
    ),
}


@pytest.fixture(scope="module")
def server(run_comfyui):
    """ComfyUI's server with every pack of the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIETLY.items():
            patch.setenv(name, value)
        with run_comfyui(PACKS, "--disable-api-nodes") as server:
            yield server


def runner(folder, *arguments):
    """What the command line prints, with ComfyUI's nodes and the packs."""
    line = [sys.executable, "-m", "comfyui_ddim", *arguments, "--comfyui", str(CUSTOM_NODES.parent), "--device", "cpu"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_the_packs_classes_are_those_of_the_server(server, tmp_path):
    done = runner(tmp_path, "object-info")
    ours, theirs = set(json.loads(done.stdout)), set(server.asked("/object_info"))
    more = {name for name in ours - theirs if not name.startswith("DDIM")}
    assert theirs - ours == set() and more <= {"SaveImageWebsocket"}  # of ComfyUI's own custom_nodes
    assert ("IMPORT FAILED" in done.stderr) <= ("IMPORT FAILED" in server.log.read_text())
    print(f"{len(PACKS)} packs, {len(theirs)} classes")


def test_their_nodes_give_the_server_s_pictures(server, tmp_path):
    known = set(server.asked("/object_info"))
    missing = {node["class_type"] for nodes in WORKFLOWS.values() for node in nodes.values()} - known
    if missing:
        pytest.skip(f"no pack here has {', '.join(sorted(missing))}")
    for name, nodes in WORKFLOWS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(nodes))
    done = runner(tmp_path, "run", *(f"{name}.json" for name in WORKFLOWS), "--output", "out", "--quiet")
    paths = [tmp_path / line for line in done.stdout.splitlines()]
    for name, nodes in WORKFLOWS.items():
        ours = [np.asarray(Image.open(path)) for path in paths if path.name.startswith(name)]
        theirs = [np.asarray(picture) for picture in server.pictures(server.queued(nodes))]
        assert len(ours) == len(theirs) > 0
        assert all(np.array_equal(one, other) and one.std() > 5 for one, other in zip(ours, theirs, strict=True)), name
