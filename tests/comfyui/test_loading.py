"""The pack's loading into ComfyUI, and what its loader gives to ComfyUI's own nodes.

These tests run where COMFYUI_DIR names a ComfyUI checkout with its requirements.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.hosts.plan import Options, Plan
from comfyui_ddim.networks import CheckpointError, load_checkpoint
from comfyui_ddim.sampler import PRESETS, DDIMSampler
from comfyui_small import (
    assert_same,
    changed,
    comfyuis,
    drawn,
    ours,
)
from safetensors.torch import save_file

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")

ROOT = Path(__file__).parents[2]
PROMPT = "a large red sphere left of a small blue cube"

START = f"""
import asyncio, importlib.abc, sys
sys.path.insert(0, {os.environ.get("COMFYUI_DIR", "")!r})
import comfy.cli_args
comfy.cli_args.args.cpu = True
import nodes

class Gone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "einops":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in [name for name in sys.modules if name.partition(".")[0] == "einops"]:
    del sys.modules[name]
sys.meta_path.insert(0, Gone())
loaded = asyncio.run(nodes.load_custom_node({str(ROOT)!r}))
print(loaded, sum(name.startswith("DDIM") for name in nodes.NODE_CLASS_MAPPINGS))
"""


def test_what_has_no_guess_mode_is_named(comfy, tmp_path):
    from comfyui_ddim.hosts.comfyui.controlnet import load_controlnet

    path = tmp_path / "lora.safetensors"
    save_file({"lora_controlnet": torch.zeros(1)}, path)
    assert type(load_controlnet(path)).__name__ == "ControlLora"
    with pytest.raises(CheckpointError, match=r"lora\.safetensors: a ControlLora has no guess mode"):
        load_controlnet(path, guess=True)


def test_a_missing_package_is_one_line_in_the_log(tmp_path):
    """ComfyUI's own loader goes on without the nodes."""
    result = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout.split() == ["True", "0"], result.stderr
    (line,) = (line for line in result.stderr.splitlines() if "DDIM" in line)
    assert "No module named 'einops'. To have it, run in ComfyUI's folder:" in line
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def shipped(comfy):
    """The shipped model in ComfyUI, with two prompts by ComfyUI's node."""
    from comfyui_ddim.hosts.comfyui.host import ComfyHost

    with torch.inference_mode():
        host = ComfyHost()
        model, clip, vae = host.load_checkpoint(SHIPPED.name)
        return prompted(
            SimpleNamespace(host=host, model=model, vae=vae, latent={"samples": torch.zeros(1, 4, 8, 8)}), clip
        )


def prompted(side, clip):
    encode = importlib.import_module("nodes").CLIPTextEncode()
    (positive,), (negative,) = encode.encode(clip, PROMPT), encode.encode(clip, "")
    return changed(side, clip=clip, positive=positive, negative=negative)


def test_comfyuis_nodes_work_on_what_the_loader_gives(comfy, shipped):
    own = importlib.import_module("nodes")
    with torch.inference_mode():
        (latent,) = own.KSampler().sample(
            shipped.model, 7, 4, 4.0, "ddim", "ddim_uniform", shipped.positive, shipped.negative, shipped.latent
        )
        (pixels,) = own.VAEDecode().decode(shipped.vae, latent)
    assert pixels.shape == (1, 64, 64, 3) and pixels.std() > 0.01
    assert_same(latent["samples"], ours(shipped, 4))


def test_a_lora_reaches_the_model_and_the_text_encoder(comfy, shipped):
    unet, text = shipped.model.model.diffusion_model, shipped.clip.cond_stage_model.clip_l.transformer.text_model
    layers = {
        "lora_unet_middle_block_1_proj_in": unet.middle_block[1].proj_in,
        "lora_te_text_model_encoder_layers_0_mlp_fc1": text.encoder.layers[0].mlp.fc1,
    }
    weights = {}
    for i, (name, layer) in enumerate(layers.items()):
        rows, columns = layer.weight.shape[:2]
        weights[f"{name}.lora_up.weight"] = drawn(i, rows, 4, *layer.weight.shape[2:])
        weights[f"{name}.lora_down.weight"] = drawn(i + 9, 4, columns, *layer.weight.shape[2:]) * 3 / columns**0.5
    with torch.inference_mode():
        model, clip = comfy.sd.load_lora_for_models(shipped.model, shipped.clip, weights, 1.0, 1.0)
        more = prompted(changed(shipped, model=model), clip)
    assert not torch.allclose(more.positive[0][0], shipped.positive[0][0], atol=0.01)
    made = ours(more)
    assert_same(made, comfyuis(comfy, more))
    for half in (changed(more, model=shipped.model), changed(shipped, model=model), shipped):
        assert (made - ours(half)).abs().max() > 0.05


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_preset_published_is_the_published_sampler(shipped, eta):
    """The drop-in on the bare network, drawing from one generator."""
    diffusion = load_checkpoint(SHIPPED, "cpu")
    plan = Plan(7, 6, scale=4.0, eta=eta, scheme=PRESETS["published"], options=Options(published_noise=True))
    torch.manual_seed(7)
    with torch.inference_mode():
        cond, uncond = (diffusion.encode_text([words]) for words in (PROMPT, ""))
        theirs, _ = DDIMSampler(diffusion).sample(
            6,
            1,
            (4, 8, 8),
            cond,
            verbose=False,
            eta=eta,
            unconditional_guidance_scale=4.0,
            unconditional_conditioning=uncond,
        )
        made = shipped.host.sample(shipped.model, shipped.positive, shipped.negative, shipped.latent, plan)
    assert_same(made[0]["samples"], theirs / 0.18215, 3e-5)


DESCRIBE = """
import json, sys
from pathlib import Path
from comfyui_ddim.executor import Context, object_info
from comfyui_ddim.executor.comfyui import load_comfyui
base, out = Path(sys.argv[2]), Path(sys.argv[3])
context = Context(input_dir=base / "input", output_dir=base / "output", temp_dir=base / "temp", device="cpu")
classes, names, _ = load_comfyui(Path(sys.argv[1]), context, base / "models")
out.write_text(json.dumps(object_info(classes, names)))
"""
LATER_KEYS = {"is_input_list", "has_intermediate_output", "search_aliases", "dev_only", "essentials_category"}
"""What classic classes say of themselves in newer ComfyUIs only."""


def test_all_classes_describe_themselves_as_in_comfyuis_server(run_comfyui, tmp_path):
    """Every key of every class but those of paid services; file lists too, for both look into the same folders."""
    with run_comfyui({}, "--disable-api-nodes") as server:
        server.asked("/object_info")  # nodes make folders when they are first asked
        made = tmp_path / "described.json"
        line = [sys.executable, "-c", DESCRIBE, os.environ["COMFYUI_DIR"], str(server.base), str(made)]
        done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
        theirs = server.asked("/object_info")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "IMPORT FAILED" not in done.stderr
    described = json.loads(made.read_text())
    assert set(described) - set(theirs) <= {"SaveImageWebsocket"}  # of ComfyUI's own custom_nodes
    assert set(theirs) <= set(described)
    different = {}
    for name, entry in theirs.items():
        own = {key: value for key, value in described[name].items() if key in entry or key not in LATER_KEYS}
        if name == "CheckpointLoader":  # it lists configs, which lie in ComfyUI's own models folder
            own["input"], entry["input"] = list(own["input"]), list(entry["input"])
        if own != entry:
            different[name] = sorted(key for key in {*own, *entry} if own.get(key) != entry.get(key))
    assert different == {}
