"""Against a real ComfyUI: its own execution tests run on our Executor, and checks that need its modules.

They run where COMFYUI_DIR names a ComfyUI checkout whose requirements are installed.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from comfyui_ddim.executor.reading import convert_workflow
from PIL import Image

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")
HERE = Path(__file__).parent


def run_pytest(folder, *arguments):
    """In a process of its own: ComfyUI can be loaded only once."""
    comfyui = os.environ["COMFYUI_DIR"]
    paths = [str(HERE), comfyui, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout or " skipped" in done.stdout


def test_comfyui_s_execution_tests(tmp_path):
    # Newer checkouts also test their server's list of jobs here: that is no executor's.
    arguments = ["-p", "comfyui_adapter", "--output_dir", str(tmp_path), "-k", "not job", "tests/execution"]
    run_pytest(os.environ["COMFYUI_DIR"], *arguments)


def test_the_same_runs_side_by_side():
    run_pytest(HERE.parent, str(HERE / "comfyui_side_by_side.py"))


def test_checks_with_comfyui_s_modules():
    run_pytest(HERE.parent, str(HERE / "comfyui_checks.py"))


def test_what_only_today_s_comfyui_has():
    run_pytest(HERE.parent, str(HERE / "comfyui_today.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where ComfyUI's default workflow lies, two steps of 64 pixels, and a checkpoint of chance weights for it.

    It is Stable Diffusion 1.x but for the UNet, of which only the first level is there.
    """
    import torch
    from comfyui_ddim.networks.latent_diffusion import LatentDiffusion, ModelConfig
    from comfyui_ddim.networks.loading.checkpoint import save_checkpoint
    from comfyui_ddim.networks.unet import UNetConfig

    folder = tmp_path_factory.mktemp("default")
    pair = json.loads((HERE.parent / "workflows" / "default_text_to_image.json").read_text())
    values = {node["type"]: node["widgets_values"] for node in pair["workflow"]["nodes"]}
    values["KSampler"][2] = 2
    values["EmptyLatentImage"][:2] = [64, 64]
    (folder / "default.json").write_text(json.dumps(pair["workflow"]))
    torch.manual_seed(0)
    model = LatentDiffusion(ModelConfig(unet=UNetConfig(channels=(320,), blocks=1, attention=(True,))))
    checkpoint = folder / "models" / "checkpoints" / values["CheckpointLoaderSimple"][0]
    checkpoint.parent.mkdir(parents=True)
    save_checkpoint(model, checkpoint)
    return folder


def command(folder, *arguments):
    """The `run` command on the default workflow with ComfyUI's nodes, in a process of its own."""
    options = ["--comfyui", os.environ["COMFYUI_DIR"], "--models", "models", "--device", "cpu", *arguments]
    line = [sys.executable, "-m", "comfyui_ddim", "run", "default.json", *options]
    return subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_default_workflow_gives_the_picture_that_comfyui_s_server_gives(folder, run_comfyui):
    run = command(folder, "--output", "ours", "--quiet")
    paths, errors = run.communicate()
    assert run.returncode == 0, errors
    (ours,) = (Image.open(folder / path) for path in paths.splitlines())
    workflow = json.loads((folder / "default.json").read_text())
    with run_comfyui({}) as server:
        (checkpoint,) = (folder / "models" / "checkpoints").iterdir()
        (server.base / "models" / "checkpoints" / checkpoint.name).symlink_to(checkpoint)
        (theirs,) = server.pictures(server.queued(convert_workflow(workflow, server.asked("/object_info"))))
    assert json.loads(ours.text["prompt"]) == json.loads(theirs.text["prompt"])
    assert np.array_equal(np.asarray(ours), np.asarray(theirs)) and np.asarray(ours).std() > 1
    assert json.loads(ours.text["workflow"]) == workflow


def test_ctrl_c_stops_comfyui_s_sampler_at_its_next_step(folder):
    run = command(folder, "--output", "stopped", "--set", "KSampler.steps=10000", "--json")
    events = (json.loads(line) for line in run.stdout)
    step = next((event["data"]["value"] for event in events if event["type"] == "progress"), None)
    asked = time.monotonic()
    run.send_signal(signal.SIGINT)
    rest, errors = run.communicate()
    assert run.returncode == 130, errors
    assert errors.endswith("comfyui-ddim: default.json: stopped at node 3 (KSampler)\n")
    assert time.monotonic() - asked < 20
    with contextlib.suppress(FileNotFoundError):
        assert not list((folder / "stopped").iterdir())
    rest = [json.loads(line) for line in rest.splitlines()]
    assert [event["type"] for event in rest if event["type"] != "progress"] == ["execution_interrupted"]
    assert max((event["data"]["value"] for event in rest if event["type"] == "progress"), default=step) < step + 50
