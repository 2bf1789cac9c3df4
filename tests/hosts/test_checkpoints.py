"""Workflows on checkpoints shaped as Stable Diffusion 1.x, in the light runner and in ComfyUI: the same latents.

They run where COMFYUI_DIR names a ComfyUI checkout. The UNet is narrow, as far as ComfyUI still recognises it; the text
encoder and the autoencoder have their full size. All weights are random, in float16 files.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_ddim.executor import Executor, object_info
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.executor.reading import read_workflow
from comfyui_ddim.networks import ControlNet, LatentDiffusion, ModelConfig, UNetConfig
from comfyui_ddim.nodes import STAND_IN_CLASS_MAPPINGS
from PIL import Image
from safetensors.torch import save_file

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")

SCALE = 0.18215
DEFAULT = Path(__file__).parents[1] / "workflows" / "default_text_to_image.json"


def narrow(in_channels: int) -> UNetConfig:
    """Two levels of the published UNet's first width, a block each."""
    return UNetConfig(in_channels=in_channels, channels=(320, 320), blocks=1, attention=(True, False))


def save(network: torch.nn.Module, prefix: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({prefix + name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}, path)


def save_loras(model: LatentDiffusion, folder: Path) -> None:
    """One as kohya trains it, over UNet and text encoder with convolutions, one as diffusers does, over attention."""
    kohya, diffusers = {}, {}
    g = torch.Generator().manual_seed(4)
    for name, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Linear | torch.nn.Conv2d) or "first_stage" in name:
            continue
        rows, columns, *kernel = layer.weight.shape
        up = torch.randn(rows, 4, *(1 for _ in kernel), generator=g)
        down = torch.randn(4, columns, *kernel, generator=g) / layer.weight[0].numel() ** 0.5
        own = name.removeprefix("model.diffusion_model.").removeprefix("cond_stage_model.transformer.")
        theirs = f"lora_{'te' if 'cond_stage' in name else 'unet'}_{own.replace('.', '_')}"
        kohya |= {f"{theirs}.lora_up.weight": up, f"{theirs}.lora_down.weight": down}
        kohya[f"{theirs}.alpha"] = torch.tensor(2.0)
        if own.startswith("input_blocks.1.1.transformer_blocks.0.attn"):
            there = own.replace("input_blocks.1.1", "unet.down_blocks.0.attentions.0").replace(".to_", ".processor.to_")
            there = there.removesuffix(".0")
            diffusers |= {f"{there}_lora.up.weight": up.flip(0), f"{there}_lora.down.weight": down}
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in kohya.items()}, folder / "kohya.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in diffusers.items()}, folder / "diffusers.safetensors")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A models folder with two checkpoints, a ControlNet, and an autoencoder of its own."""
    folder, seed = tmp_path_factory.mktemp("models"), torch.random.get_rng_state()
    torch.manual_seed(0)
    plain = LatentDiffusion(ModelConfig(unet=narrow(4)))
    save(plain, "", folder / "checkpoints" / "sd15" / "plain.safetensors")
    save_loras(plain, folder / "loras")
    control = ControlNet.copy_of(plain.model.diffusion_model)
    for layer in (*control.zero_convs, control.middle_block_out, control.input_hint_block[-1]):
        for weights in layer.parameters():
            torch.nn.init.normal_(weights, std=0.05)
    save(control, "control_model.", folder / "controlnet" / "control_sd15.safetensors")
    plain.model.diffusion_model = type(plain.model.diffusion_model)(narrow(9))
    save(plain, "", folder / "checkpoints" / "inpainting.safetensors")
    save(plain.first_stage_model, "", folder / "vae" / "other.safetensors")
    torch.random.set_rng_state(seed)
    return folder


class Keep:
    """Takes the latents out of a run."""

    RETURN_TYPES, FUNCTION, OUTPUT_NODE, CATEGORY = (), "keep", True, "test"
    kept: list = []

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"samples": ("LATENT",)}}

    def keep(self, samples):
        Keep.kept.append(samples)
        return {}


@pytest.fixture(scope="module")
def runners(models, tmp_path_factory):
    """Node classes by host: the stand-ins, and ComfyUI's own; with the input folder that both look into."""
    from comfyui_ddim.executor.comfyui import load_comfyui

    base, before = tmp_path_factory.mktemp("base"), sys.path.copy()
    (base / "input").mkdir()
    pixels = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(3)).mul(255).byte().numpy()
    Image.fromarray(pixels).save(base / "input" / "picture.png")
    mask = torch.zeros(64, 64, dtype=torch.uint8)
    mask[16:, :40] = 255
    # in colour: ComfyUI 0.33 reads the white of a grey file as 0.9961
    Image.fromarray(mask.numpy()).convert("RGB").save(base / "input" / "mask.png")
    context = Context(
        input_dir=base / "input",
        output_dir=base / "output",
        temp_dir=base / "temp",
        models_dir=models,
        device="cpu",
        dtype="float32",
    )
    comfyui, _, seen = load_comfyui(Path(os.environ["COMFYUI_DIR"]), context, models)
    yield {
        "light": ({**STAND_IN_CLASS_MAPPINGS, "Keep": Keep}, context),
        "ComfyUI": ({**comfyui, "Keep": Keep}, seen),
    }
    sys.path[:] = before


def latents(runners, host, prompt):
    """What Keep is given when a host runs a prompt."""
    classes, context = runners[host]
    Keep.kept.clear()
    with using(context), torch.inference_mode():
        result = Executor(classes, cache="none", context=context).run(prompt)
    assert result.succeeded, (result.error, result.failure)
    (kept,) = Keep.kept
    return kept["samples"].float().cpu()


def text(clip, words):
    return {"class_type": "CLIPTextEncode", "inputs": {"clip": clip, "text": words}}


def prompt_of(checkpoint, more=None, **sampler):
    """Text to image by KSampler: ddim, 5 steps, 64 x 64 pixels."""
    inputs = {"seed": 7, "steps": 5, "cfg": 6.0, "sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0}
    inputs |= {"model": ["load", 0], "positive": ["yes", 0], "negative": ["no", 0], "latent_image": ["empty", 0]}
    size = {"width": 64, "height": 64, "batch_size": 1}
    return {
        "load": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "yes": text(["load", 1], "a (red:1.3) cube"),
        "no": text(["load", 1], "blurry"),
        "empty": {"class_type": "EmptyLatentImage", "inputs": size},
        "sampler": {"class_type": "KSampler", "inputs": {**inputs, **sampler}},
        "keep": {"class_type": "Keep", "inputs": {"samples": ["sampler", 0]}},
        **(more or {}),
    }


def agree(runners, prompt, limit=1e-3):
    """Both hosts' latents; they agree to a limit as the model sees them."""
    ours, theirs = (latents(runners, host, prompt) for host in runners)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() * SCALE <= limit
    return ours


def matters(ours, others):
    """Whether two latents differ by much more than the hosts may."""
    return (ours - others).abs().max() * SCALE > 0.02


def test_the_default_workflow_as_the_browser_saved_it(runners):
    classes, context = runners["light"]
    with using(context):
        saved = json.dumps(json.loads(DEFAULT.read_text())["workflow"]).encode()
        nodes = read_workflow(saved, object_info(classes)).nodes
    by_class = {node["class_type"]: (node_id, node["inputs"]) for node_id, node in nodes.items()}
    by_class["CheckpointLoaderSimple"][1]["ckpt_name"] = "sd15/plain.safetensors"
    by_class["EmptyLatentImage"][1].update(width=64, height=64)
    by_class["KSampler"][1].update(sampler_name="ddim", scheduler="ddim_uniform", steps=5)
    nodes["keep"] = {"class_type": "Keep", "inputs": {"samples": [by_class["KSampler"][0], 0]}}
    made = agree(runners, json.loads(json.dumps(nodes)))
    by_class["KSampler"][1].update(positive=by_class["KSampler"][1]["negative"])
    assert matters(made, latents(runners, "light", nodes))
    pictures = sorted((context.output_dir).glob("*.png"))
    ours, theirs = (np.asarray(Image.open(path)).astype(int) for path in pictures[:2])
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("sampler", ["euler_ancestral", "ddpm"])
def test_other_samplers(runners, sampler, monkeypatch):
    import comfy.k_diffusion.sampling as k

    def noise_of_steps(x, seed=None):  # as of 0.8
        generator = torch.Generator().manual_seed(seed + 1)
        return lambda sigma, following: torch.randn(x.shape, generator=generator)

    monkeypatch.setattr(k, "default_noise_sampler", noise_of_steps)
    agree(runners, prompt_of("sd15/plain.safetensors", sampler_name=sampler, scheduler="karras"))


@pytest.mark.parametrize("apply", ["ControlNetApply", "ControlNetApplyAdvanced"])
def test_controlnet(runners, apply):
    plain = prompt_of("sd15/plain.safetensors")
    hint = {"control_net": ["control", 0], "image": ["picture", 0], "strength": 0.8}
    if apply == "ControlNetApply":
        inputs, outputs = {"conditioning": ["yes", 0]}, {"positive": ["apply", 0]}
    else:
        inputs = {"positive": ["yes", 0], "negative": ["no", 0], "start_percent": 0.0, "end_percent": 0.6}
        outputs = {"positive": ["apply", 0], "negative": ["apply", 1]}
    more = {
        "control": {"class_type": "ControlNetLoader", "inputs": {"control_net_name": "control_sd15.safetensors"}},
        "picture": {"class_type": "LoadImage", "inputs": {"image": "picture.png"}},
        "apply": {"class_type": apply, "inputs": {**inputs, **hint}},
    }
    made = agree(runners, prompt_of("sd15/plain.safetensors", more, **outputs))
    assert matters(made, latents(runners, "light", plain))


@pytest.mark.parametrize("noise_mask", [True, False])
def test_inpainting_model(runners, noise_mask):
    checkpoint = "inpainting.safetensors"
    shown = {"positive": ["yes", 0], "negative": ["no", 0], "vae": ["load", 2]}
    shown |= {"pixels": ["picture", 0], "mask": ["mask", 0], "noise_mask": noise_mask}
    more = {
        "picture": {"class_type": "LoadImage", "inputs": {"image": "picture.png"}},
        "mask": {"class_type": "LoadImageMask", "inputs": {"image": "mask.png", "channel": "red"}},
        "show": {"class_type": "InpaintModelConditioning", "inputs": shown},
    }
    outputs = {"positive": ["show", 0], "negative": ["show", 1], "latent_image": ["show", 2]}
    made = agree(runners, prompt_of(checkpoint, more, **outputs))
    unseen = agree(runners, prompt_of(checkpoint))  # the model is then shown grey
    assert matters(made, unseen)


def test_another_autoencoder_and_an_earlier_layer(runners):
    """VAELoader, VAEEncode, CLIPSetLastLayer, and a latent upscaled and sampled again."""
    more = {
        "skip": {"class_type": "CLIPSetLastLayer", "inputs": {"clip": ["load", 1], "stop_at_clip_layer": -2}},
        "yes": text(["skip", 0], "a small blue ball, (very:0.8) far away"),
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "other.safetensors"}},
        "picture": {"class_type": "LoadImage", "inputs": {"image": "picture.png"}},
        "code": {"class_type": "VAEEncode", "inputs": {"pixels": ["picture", 0], "vae": ["vae", 0]}},
        "grow": {
            "class_type": "LatentUpscaleBy",
            "inputs": {"samples": ["code", 0], "upscale_method": "bislerp", "scale_by": 1.5},
        },
    }
    agree(runners, prompt_of("sd15/plain.safetensors", more, latent_image=["grow", 0], denoise=0.6))


def lora(name, strength, model, clip=None):
    """A LoRA over a model, and at half its strength over the text encoder if there is one."""
    inputs = {"model": model, "lora_name": name, "strength_model": strength}
    if clip is None:
        return {"class_type": "LoraLoaderModelOnly", "inputs": inputs}
    return {"class_type": "LoraLoader", "inputs": {**inputs, "clip": clip, "strength_clip": strength / 2}}


def test_loras_over_model_and_text_encoder(runners):
    """One after the other, one of them twice, and each part alone."""
    checkpoint = "sd15/plain.safetensors"
    first = lora("kohya.safetensors", 0.02, ["load", 0], ["load", 1])
    more = {"first": first, "second": lora("diffusers.safetensors", -0.3, ["first", 0])}
    more["third"] = lora("kohya.safetensors", 0.01, ["second", 0], ["first", 1])
    more["yes"] = text(["third", 1], "a (red:1.3) cube")
    # ComfyUI keeps the text encoder, with the LoRA in it, in float16 here.
    made = agree(runners, prompt_of(checkpoint, more, model=["third", 0]), 5e-3)
    halves = [
        agree(runners, prompt_of(checkpoint, more, model=["load", 0]), 5e-3),
        agree(runners, prompt_of(checkpoint, more, model=["third", 0], positive=["no", 0]), 1e-4),
        latents(runners, "light", prompt_of(checkpoint)),
    ]
    assert all(matters(made, half) for half in halves)
