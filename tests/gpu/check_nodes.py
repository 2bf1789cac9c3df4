"""Nodes and their host on a device that is not the CPU: the CPU's latents and images, on the CPU, and few waits."""

import json
from pathlib import Path

import pytest
import torch
from comfyui_ddim.demo import SHIPPED, SHIPPED_CONTROL
from comfyui_ddim.executor import Executor, object_info
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.executor.reading import read_workflow
from comfyui_ddim.hosts import host
from comfyui_ddim.hosts.standalone.host import _load_once
from comfyui_ddim.hosts.standalone.ksampler import SAMPLERS
from comfyui_ddim.hosts.standalone.schedulers import SCHEDULERS
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS, STAND_IN_CLASS_MAPPINGS
from gpu import meant
from gpu.emulated import DEVICE, emulated
from models import drawn
from PIL import Image

CLASSES = {**STAND_IN_CLASS_MAPPINGS, **NODE_CLASS_MAPPINGS}
WORKFLOWS = [Path(__file__).parents[2] / "workflows" / f"{name}.json" for name in ("text_to_image", "controlnet")]
DTYPES = ("float32", "float16", "bfloat16")
STEPS = 4


class Corrector:
    """A score corrector as the published sampler takes it."""

    def modify_score(self, model, eps, x, t, cond):
        return eps * torch.where(t > 500, 0.99, 1.0).reshape(-1, 1, 1, 1).to(eps)


class Nodes:
    """The nodes on a device, one call each: `nodes.KSampler(...)` gives its outputs."""

    def __init__(self, device, dtype, folder):
        self.context = Context(folder, folder, folder, folder, device=device, dtype=dtype)

    def __getattr__(self, name):
        node = CLASSES[name]

        def call(*given, **inputs):
            with using(self.context):
                return getattr(node(), node.FUNCTION)(*given, **defaults(node) | inputs)

        return call

    def loaded(self):
        """MODEL, two prompts and VAE of the shipped model, and a latent."""
        model, clip, vae = self.DDIMLoadModel(ckpt_name=SHIPPED.name)
        positive, negative = self.DDIMConditioning(clip=clip, positive="a (red:1.3) disc", negative="blue")
        return model, positive, negative, vae, {"samples": drawn(1, 4, 8, 8) * 5}


def defaults(node):
    """What the editor would fill in."""
    inputs = node.INPUT_TYPES()
    specs = inputs.get("required", {}) | inputs.get("optional", {})
    firsts = {name: spec[0][0] for name, spec in specs.items() if isinstance(spec[0], list)}
    return firsts | {name: spec[1]["default"] for name, spec in specs.items() if "default" in (*spec, {})[1]}


def sample(nodes, latent=None, **inputs):
    """The sampler node's latents."""
    model, positive, negative, _, own = nodes.loaded()
    given = {"model": model, "positive": positive, "negative": negative, "latent": latent or own, "steps": STEPS}
    return [each["samples"] for each in nodes.DDIMSampler(**given | inputs)]


def options(nodes, name, **inputs):
    return {"options": getattr(nodes, name)(**inputs)[0]}


def masked(nodes, **inputs):
    (mask,) = nodes.DDIMMask(width=64, height=64)
    return sample(nodes, mask=mask, x0={"samples": drawn(1, 4, 8, 8, seed=2)}, **inputs)


def scheduled(nodes, **inputs):
    return sample(nodes, eta=0.4, schedule=nodes.DDIMSchedule(**inputs)[0])


def inverted(nodes, mode):
    model, positive, negative, _, latent = nodes.loaded()
    given = {"model": model, "positive": positive, "negative": negative, "latent": latent, "steps": STEPS}
    x_T, seen, _, residuals, _ = nodes.DDIMInvert(**given, mode=mode, iterations=2, tolerance=1e-3)
    return [x_T["samples"], torch.tensor(residuals), *sample(nodes, cfg=1.0, eta=0.0, x_T=x_T, options=seen)]


def ksampled(nodes, sampler="ddim", scheduler="normal", change=lambda nodes, inputs: inputs, **inputs):
    model, positive, negative, _, latent = nodes.loaded()
    given = {"model": model, "positive": positive, "negative": negative, "latent_image": latent, "steps": STEPS}
    given |= {"sampler_name": sampler, "scheduler": scheduler}
    return [nodes.KSampler(**change(nodes, given | inputs))[0]["samples"]]


def advanced(nodes):
    model, positive, negative, _, latent = nodes.loaded()
    given = {"model": model, "positive": positive, "negative": negative, "steps": STEPS, "sampler_name": "ddpm"}
    given |= {"scheduler": "karras", "return_with_leftover_noise": "enable", "add_noise": "enable"}
    (begun,) = nodes.KSamplerAdvanced(**given, latent_image=latent, end_at_step=2)
    given |= {"return_with_leftover_noise": "disable", "add_noise": "disable"}
    return [begun["samples"], nodes.KSamplerAdvanced(**given, latent_image=begun, start_at_step=2)[0]["samples"]]


def several(nodes, given):
    """Prompts by area, mask and time."""
    clip = nodes.CheckpointLoaderSimple(ckpt_name=SHIPPED.name)[1]
    (text,) = nodes.CLIPTextEncode(clip=clip, text="a green square and " * 20)
    (area,) = nodes.ConditioningSetArea(conditioning=text, width=32, height=32, x=0, y=32, strength=0.7)
    (mask,) = nodes.SolidMask(value=0.5, width=32, height=64)
    (second,) = nodes.ConditioningSetMask(conditioning=text, mask=mask, strength=0.5, set_cond_area="mask bounds")
    (late,) = nodes.ConditioningSetTimestepRange(conditioning=text, start=0.5, end=1.0)
    positive = given["positive"]
    for other in (area, second, late):
        (positive,) = nodes.ConditioningCombine(conditioning_1=positive, conditioning_2=other)
    return given | {"positive": positive}


def hinted(nodes, given):
    (net,) = nodes.DDIMLoadControlNet(control_net_name=SHIPPED_CONTROL.name)
    image = drawn(1, 64, 64, 3, seed=7).sigmoid()
    prompts = {"positive": given["positive"], "negative": given["negative"]}
    (once,) = nodes.ControlNetApply(conditioning=prompts["positive"], control_net=net, image=image, strength=0.4)
    both = nodes.ControlNetApplyAdvanced(
        **prompts | {"positive": once}, control_net=net, image=image, strength=0.8, start_percent=0.1, end_percent=0.7
    )
    return given | {"positive": both[0], "negative": both[1]}


def inpainted(nodes, given):
    vae, mask = nodes.DDIMLoadModel(ckpt_name=SHIPPED.name)[2], nodes.DDIMMask(width=64, height=64)[0]
    pixels = drawn(1, 64, 64, 3, seed=8).sigmoid()
    (latent,) = nodes.VAEEncodeForInpaint(pixels=pixels, vae=vae, mask=mask)
    return given | {"latent_image": latent}


def images(nodes):
    vae = nodes.DDIMLoadModel(ckpt_name=SHIPPED.name)[2]
    (latent,) = nodes.DDIMEncode(pixels=drawn(1, 25, 16, 3).sigmoid(), vae=vae)
    (bigger,) = nodes.LatentUpscaleBy(samples=latent, upscale_method="bislerp", scale_by=1.5)
    return [latent["samples"], nodes.VAEDecode(samples=bigger, vae=vae)[0]]


def noises(nodes):
    latent = nodes.DDIMEmptyLatent(width=64, height=64)[0]
    return sample(nodes, x_T=nodes.DDIMNoise(latent=latent, seed=1, variation_seed=2, strength=0.4)[0])


def parts(nodes):
    first = sample(nodes, eta=0.3, end_step=2, leftover_noise=True)[0]
    return [first, *sample(nodes, {"samples": first}, eta=0.3, start_step=2), *sample(nodes, end_step=2)]


RUNS = {
    "DDIM": lambda n: sample(n),
    "eta, denoise": lambda n: sample(n, eta=0.6, denoise=0.7),
    "curves": lambda n: sample(
        n, guidance_schedule=[1.0, 3.0, 0.0, 2.0], eta_schedule=n.DDIMCurve(curve=["0: 0, 1: 0.5"])[0][0]
    ),
    "batch": lambda n: sample(n, {"samples": drawn(2, 4, 8, 8), "batch_index": [3, 1]}),
    "x_T": noises,
    "mask": lambda n: masked(n, eta=0.2),
    "mask, repeated": lambda n: masked(n, **options(n, "DDIMOptions", repaint_repeats=2, repaint_jump_length=2)),
    "mask, part": lambda n: masked(n, end_step=2),
    "options": lambda n: sample(
        n, eta=0.5, **options(n, "DDIMOptions", temperature=0.9, noise_dropout=0.1, log_every_t=2, seeds="3")
    ),
    "published noise": lambda n: sample(n, eta=0.5, **options(n, "DDIMOptions", noise="published")),
    "threshold": lambda n: sample(n, **options(n, "DDIMThreshold", percentile=0.9)),
    "rescale": lambda n: sample(n, **options(n, "DDIMRescale", rescale=0.7)),
    "CFG++": lambda n: sample(n, cfg=0.6, **options(n, "DDIMRescale", cfg_plus_plus=True)),
    "score corrector": lambda n: sample(n, **options(n, "DDIMScoreCorrector", score_corrector=Corrector())),
    "inversion, plain": lambda n: inverted(n, "plain"),
    "inversion, fixed point": lambda n: inverted(n, "fixed point"),
    "inversion, exact": lambda n: inverted(n, "exact"),
    "parts": parts,
    "images": images,
    "KSampler, several prompts": lambda n: ksampled(n, change=several),
    "KSampler, a prompt alone": lambda n: ksampled(n, change=several, cfg=1.0),
    "KSampler, hints": lambda n: ksampled(n, change=hinted),
    "KSampler, a mask": lambda n: ksampled(n, change=inpainted),
    "KSampler, a mask, some denoise": lambda n: ksampled(n, change=inpainted, denoise=0.6),
    "KSamplerAdvanced": advanced,
}
RUNS |= {f"KSampler, {name}": (lambda n, name=name: ksampled(n, name, denoise=0.8)) for name in SAMPLERS}
RUNS |= {f"KSampler, {name}": (lambda n, name=name: ksampled(n, scheduler=name, steps=2)) for name in SCHEDULERS}
RUNS |= {
    f"preset {name}": (lambda n, name=name: scheduled(n, preset=name))
    for name in ("exact", "published", "diffusers", "comfyui")
}
RANDOM = ("KSampler, euler_ancestral", "KSampler, ddpm", "KSamplerAdvanced", "preset comfyui")
"""ComfyUI's noise, which on a device is another than on a CPU."""


def compare(got, expected, dtype):
    """Whether these are the CPU's numbers, as far as the dtype tells."""
    close = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.15}[dtype]
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.device.type == "cpu" and ours.dtype == theirs.dtype and ours.isfinite().all()
        ours, theirs = ours.double(), theirs.double()
        assert (ours - theirs).pow(2).mean().sqrt() <= close * theirs.pow(2).mean().sqrt() + 1e-6


@pytest.mark.parametrize("name", RUNS)
def test_numbers_and_waits(name, tmp_path):
    expected = RUNS[name](Nodes("cpu", "float32", tmp_path))
    with emulated() as gpu:
        got = RUNS[name](Nodes(str(DEVICE), "float32", tmp_path))
        meant.check(gpu, alone=False)
    if name in RANDOM:
        assert all(each.isfinite().all() for each in got)
    else:
        compare(got, expected, "float32")


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("name", ["DDIM", "mask", "images", "inversion, exact", "KSampler, several prompts"])
def test_half_precision(name, dtype, tmp_path):
    expected = RUNS[name](Nodes("cpu", dtype, tmp_path))
    with emulated():
        compare(RUNS[name](Nodes(str(DEVICE), dtype, tmp_path)), expected, dtype)


@pytest.mark.parametrize("name", ["mask", "inversion, exact", "KSampler, several prompts", "KSampler, hints", "images"])
def test_devices_without_float64(name, tmp_path):
    with emulated(doubles=False):
        RUNS[name](Nodes(str(DEVICE), "float32", tmp_path))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_shipped_workflows(path, tmp_path):
    """From the file to the saved images, which look as on the CPU."""
    _load_once.cache_clear()  # weights loaded outside of inference mode can't be used inside it on this device
    info = object_info(CLASSES)
    prompt = read_workflow(path, info).nodes
    for node in prompt.values():
        if isinstance(node["inputs"].get("steps"), int):
            node["inputs"]["steps"] = min(node["inputs"]["steps"], 5)
    saved = []
    for device in ("cpu", str(DEVICE)):
        folder = tmp_path / device.partition(":")[0]
        context = Context(tmp_path, folder, folder, device=device, dtype="float32")
        with emulated():
            result = Executor(CLASSES, context=context).run(json.loads(json.dumps(prompt)))
        assert result.succeeded, result
        saved.append([Image.open(file).convert("RGB") for file in sorted(folder.rglob("*.png"))])
    assert len(saved[0]) == len(saved[1]) > 0
    for one, other in zip(*saved, strict=True):
        one, other = (torch.tensor(list(image.tobytes())).double() for image in (one, other))
        assert (one - other).abs().mean() < 1


def test_the_host_finds_a_device():
    with using(Context(device=str(DEVICE))):
        assert host.device() == str(DEVICE)
