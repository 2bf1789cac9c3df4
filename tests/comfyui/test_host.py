"""The pack inside a real ComfyUI; these tests run where COMFYUI_DIR names a ComfyUI checkout with its requirements."""

import importlib.util
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.executor.context import Context, using
from comfyui_ddim.executor.reading import read_workflow
from comfyui_ddim.hosts.plan import Options, Plan
from comfyui_ddim.hosts.standalone.host import StandaloneHost
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS
from comfyui_ddim.nodes.conditioning import encode
from comfyui_ddim.nodes.latents import empty_latent
from comfyui_ddim.sampler import PRESETS, FixedPoint, Scheme
from PIL import Image
from safetensors.torch import save_file

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")

ROOT = Path(__file__).parents[2]
PROMPT = "a large red sphere left of a small blue cube on a green floor under a blue sky"
SCALE = 0.18215
PICTURES = ROOT / "workflows" / "pictures"


@pytest.fixture(scope="module")
def both(comfy):
    """The shipped model in both hosts: `host, model, vae, positive, negative` of each."""
    from comfyui_ddim.hosts.comfyui.host import ComfyHost

    def load(host):
        with using(Context(device="cpu")):
            model, clip, vae = host.load_checkpoint(SHIPPED.name)
        return SimpleNamespace(
            host=host, model=model, clip=clip, vae=vae, positive=encode(clip, PROMPT), negative=encode(clip, "")
        )

    with torch.inference_mode():
        return load(StandaloneHost()), load(ComfyHost())


@pytest.fixture(scope="module")
def picture():
    """The latent of no particular picture."""
    return torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1)) * 5


def sampled(side, latent, plan):
    with torch.inference_mode():
        return side.host.sample(side.model, side.positive, side.negative, latent, plan)


def assert_close(a, b, limit=1e-4):
    """Unscaled latents agree to `limit` as the model sees them; in proportion where they are huge."""
    assert a.shape == b.shape
    assert (a - b).abs().max() * SCALE <= limit * max(1, a.abs().max() * SCALE / 4)


def test_the_pack_loads_fast(comfy):
    """As ComfyUI loads it, under a name of its own; in seconds of the processor, which no neighbour slows down."""
    spec = importlib.util.spec_from_file_location("a_custom_node", ROOT / "__init__.py")
    pack = sys.modules["a_custom_node"] = importlib.util.module_from_spec(spec)
    start = time.process_time()
    spec.loader.exec_module(pack)
    assert set(pack.NODE_CLASS_MAPPINGS) == set(NODE_CLASS_MAPPINGS)
    assert time.process_time() - start < 0.3
    assert sys.modules["a_custom_node.hosts"].host.name == "comfyui"
    for part in ("executor", "cli", "hosts.standalone", "nodes.core", "demo.train"):  # what only the runner uses
        assert not [name for name in sys.modules if name.startswith(f"a_custom_node.{part}")]


def test_text_and_autoencoder_agree(both):
    light, comfy = both
    assert torch.allclose(light.positive[0][0], comfy.positive[0][0], atol=1e-5)
    assert not torch.allclose(light.positive[0][0], light.negative[0][0], atol=1e-2)
    pixels = torch.rand(1, 70, 64, 3)  # 70: both cut the same rows
    with torch.inference_mode():
        z = light.vae.encode(pixels)
        assert z.shape == (1, 4, 8, 8)
        assert torch.allclose(z, comfy.vae.encode(pixels), atol=1e-4)
        assert torch.allclose(light.vae.decode(z), comfy.vae.decode(z), atol=1e-4)


def test_weights_in_a_prompt_work(both):
    """(words:1.3) is ComfyUI's own doing; the words under it are the same."""
    clip = both[1].clip
    rows = clip.tokenize("a (red sphere:1.3)")["l"]
    plain = clip.tokenize("a red sphere")["l"]
    assert [[token for token, _ in row] for row in rows] == [[token for token, _ in row] for row in plain]
    assert [weight for _, weight in rows[0][:5]] == [1, 1, 1.3, 1.3, 1]
    assert [clip.tokenizer.clip_l.inv_vocab[token] for token, _ in rows[0][:5]] == "<start> a red sphere <end>".split()


@pytest.mark.parametrize("name", ["red-sphere", "blue-cube-and-yellow-cone", "white-cylinder"])
def test_live_previews_have_the_pictures_colours(both, name):
    """The colours that a previewer makes of a picture's latent, against the picture itself made small."""
    _, side = both
    known = side.model.model.latent_format
    with Image.open(PICTURES / f"{name}.png") as picture:
        pixels = torch.from_numpy(np.asarray(picture.convert("RGB")) / np.float32(255))[None]
    with torch.inference_mode():
        latent = side.vae.encode(pixels) * SCALE
    factors, bias = torch.tensor(known.latent_rgb_factors), torch.tensor(known.latent_rgb_factors_bias)
    guess = (torch.einsum("bchw,ck->bkhw", latent, factors) + bias[:, None, None]).clamp(-1, 1)
    shown = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1) * 2 - 1, 8)
    assert (guess - shown).square().mean().sqrt() < 0.45 * shown.std()


def test_a_missing_or_broken_checkpoint_is_named(both, tmp_path):
    from comfyui_ddim.hosts.comfyui.checkpoint import load_checkpoint

    with pytest.raises(ValueError, match=r"gone\.safetensors: no such file"):
        load_checkpoint(tmp_path / "gone.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "odd.safetensors", {"comfyui_ddim": "{}"})
    with pytest.raises(ValueError, match=r"odd\.safetensors: no tensor 'model\.diffusion_model"):
        load_checkpoint(tmp_path / "odd.safetensors")


TOP = torch.zeros(1, 128, 128)
TOP[:, :48] = 1
PLANS = {
    "text to image": Plan(3, 8, scale=5.0),
    "no guidance": Plan(3, 4),
    "guidance schedule": Plan(3, 6, scale=[0, 1, 2, 5, 0, 1]),
    "eta": Plan(3, 6, scale=5.0, eta=1.0),
    "eta schedule": Plan(3, 4, scale=3.0, eta=[1, 0.5, 0, 0.3]),
    "denoise": Plan(3, 6, scale=4.0, denoise=0.5),
    "mask": Plan(3, 6, scale=4.0, mask=TOP),
    "mask and x0": Plan(3, 6, scale=4.0, mask=TOP, x0=torch.full((1, 4, 16, 16), 2.0), eta=0.5),
    "x_T": Plan(3, 4, scale=4.0, x_T=torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2))),
    "rescale": Plan(3, 5, scale=[0, 1, 7, 7, 7], options=Options(rescale=0.7)),
    "CFG++": Plan(3, 5, scale=[0, 0.3, 0.6, 0.9, 1], options=Options(plus_plus=True)),
    "RePaint": Plan(3, 4, scale=3.0, mask=TOP, options=Options(jump_length=2, repeats=2)),
    "published": Plan(3, 6, scale=4.0, eta=0.5, scheme=PRESETS["published"], options=Options(published_noise=True)),
    "as diffusers, masked": Plan(3, 6, scale=4.0, mask=TOP, scheme=PRESETS["diffusers"]),
    "timesteps": Plan(3, 3, scale=4.0, scheme=Scheme(timesteps=(900, 500, 100))),
    "seeds": Plan(3, 4, scale=4.0, eta=0.8, options=Options(seeds=(9, 4))),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_both_hosts_agree(both, picture, plan):
    latent = {"samples": torch.cat([picture, -picture]), "batch_index": [3, 1]}
    for a, b in zip(sampled(both[0], latent, plan), sampled(both[1], latent, plan), strict=True):
        assert_close(a["samples"], b["samples"])


def test_a_latent_brings_its_mask(both, picture):
    latent = {"samples": picture, "noise_mask": TOP[None]}
    plan = Plan(3, 4, scale=4.0)
    light, inside = (sampled(side, latent, plan)[0]["samples"] for side in both)
    assert_close(light, inside)
    assert torch.allclose(inside[:, :, 6:], picture[:, :, 6:], atol=1e-5)
    assert not torch.allclose(inside[:, :, :6], picture[:, :, :6], atol=1)


def test_x0_wants_a_mask(both, picture):
    for side in both:
        with pytest.raises(ValueError, match="expected a mask"):
            sampled(side, {"samples": picture}, Plan(1, 2, x0=picture))


@pytest.mark.parametrize("denoise", [1.0, 0.5])
@pytest.mark.parametrize("solve", [FixedPoint(), FixedPoint(2, measure=True)], ids=["plain", "exact"])
def test_inversion_agrees(both, picture, solve, denoise):
    plan = Plan(0, 5, scale=2.0, denoise=denoise)
    with torch.inference_mode():
        light, inside = (
            side.host.invert(side.model, side.positive, side.negative, {"samples": picture}, plan, solve)
            for side in both
        )
    assert_close(light.x_T / SCALE, inside.x_T / SCALE)
    assert_close(light.eps / SCALE, inside.eps / SCALE)
    assert light.calls == inside.calls
    back = replace(plan, x_T=inside.x_T if denoise == 1 else inside.eps, options=Options(replay=inside.replay))
    if solve.measure:
        assert_close(sampled(both[1], {"samples": picture}, back)[0]["samples"], picture, 1e-5)


def counted(model):
    """A copy of a ComfyUI MODEL, and a list of how many prompts each pass of its UNet had."""
    copy, passes = model.clone(), []

    def count(apply_model, arguments):
        passes.append(arguments["cond_or_uncond"])
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    copy.set_model_unet_function_wrapper(count)
    return copy, passes


@pytest.mark.parametrize(
    ("scales", "options", "passes"),
    [
        ([1, 1, 1], Options(), [[0], [0], [0]]),
        ([0, 1, 5], Options(), [[1], [0], [0, 1]]),
        ([0, 0.5, 1], Options(plus_plus=True), [[1], [0, 1], [0, 1]]),
    ],
    ids=["off", "schedule", "CFG++"],
)
def test_no_pass_without_weight(both, scales, options, passes):
    """ComfyUI marks the prompt with 0 and the negative one with 1."""
    model, seen = counted(both[1].model)
    side = SimpleNamespace(**{**vars(both[1]), "model": model})
    sampled(side, empty_latent(128, 128, 1), Plan(1, 3, scale=scales, options=options))
    assert [sorted(each) for each in seen] == passes


def test_a_patch_of_guidance_gets_both_predictions(both):
    model, seen = counted(both[1].model)
    model.set_model_sampler_post_cfg_function(lambda given: given["denoised"], disable_cfg1_optimization=True)
    side = SimpleNamespace(**{**vars(both[1]), "model": model})
    sampled(side, empty_latent(128, 128, 1), Plan(1, 2, scale=[0, 1]))
    assert [sorted(each) for each in seen] == [[0, 1], [0, 1]]


def test_interruption_stops_within_a_step(both, comfy):
    management = comfy.model_management
    model, seen = both[1].model.clone(), []

    def stop_at_third(apply_model, arguments):
        seen.append(1)
        if len(seen) == 3:
            management.interrupt_current_processing()
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(stop_at_third)
    side = SimpleNamespace(**{**vars(both[1]), "model": model})
    with pytest.raises(management.InterruptProcessingException):
        sampled(side, empty_latent(128, 128, 1), Plan(1, 20))
    assert len(seen) == 3


def comfyuis_own(comfy, side, latent, steps, denoise=1.0, sampler="ddim"):
    """What ComfyUI's KSampler makes of it, with the seed 7 and cfg 4."""
    noise = comfy.sample.prepare_noise(latent, 7)
    with torch.inference_mode():
        return comfy.sample.sample(
            side.model,
            noise,
            steps,
            4.0,
            sampler,
            "ddim_uniform",
            side.positive,
            side.negative,
            latent,
            denoise,
            seed=7,
        )


def with_nothing(side):
    return side


def with_area_and_range(side):
    """Two prompts together: one in a corner at half strength, one for the beginning only."""
    (cond, extra), (other, _) = *side.positive, *encode(side.clip, "a small yellow cone")
    corner = [cond, {**extra, "area": (8, 8, 0, 8), "strength": 0.5, "set_area_to_bounds": False}]
    early = [other, {**extra, "start_percent": 0.0, "end_percent": 0.6}]
    return SimpleNamespace(**{**vars(side), "positive": [corner, early, *side.positive]})


def with_a_weight_patch(side):
    """Weights changed as a LoRA changes them."""
    model = side.model.clone()
    key = "diffusion_model.middle_block.1.proj_in.weight"
    weight = model.model.state_dict()[key]
    change = torch.randn(weight.shape, generator=torch.Generator().manual_seed(4)) * weight.std()
    assert model.add_patches({key: ("diff", (change,))}, 3.0) == [key]
    return SimpleNamespace(**{**vars(side), "model": model})


@pytest.mark.parametrize("attach", [with_nothing, with_area_and_range, with_a_weight_patch])
@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_preset_comfyui_is_comfyuis_ddim(both, comfy, picture, attach, denoise):
    side = attach(both[1])
    latent = picture if denoise < 1 else torch.zeros_like(picture)
    plan = Plan(7, 8, scale=4.0, denoise=denoise, scheme=PRESETS["comfyui"])
    assert_close(
        sampled(side, {"samples": latent}, plan)[0]["samples"], comfyuis_own(comfy, side, latent, 8, denoise), 1e-5
    )
    if attach is not with_nothing:
        plain = sampled(both[1], {"samples": latent}, plan)[0]["samples"]
        assert (plain - sampled(side, {"samples": latent}, plan)[0]["samples"]).abs().max() > 0.1


def test_eta_is_ancestral_euler(both, comfy):
    """On the same levels, with the noise that newer versions draw from the same seed (0.3.64 forgets the 1)."""
    side, plan = both[1], Plan(7, 8, scale=4.0, eta=0.7, scheme=PRESETS["comfyui"])
    latent = torch.zeros(1, 4, 16, 16)
    ours = sampled(side, {"samples": latent}, plan)[0]["samples"]
    generator = torch.Generator().manual_seed(7 + 1)

    def noise_sampler(sigma, sigma_next):
        return torch.randn(latent.shape, generator=generator)

    sampler = comfy.samplers.ksampler("euler_ancestral", {"eta": 0.7, "noise_sampler": noise_sampler})
    sigmas = comfy.samplers.ddim_scheduler(side.model.get_model_object("model_sampling"), 8)
    with torch.inference_mode():
        theirs = comfy.sample.sample_custom(
            side.model,
            comfy.sample.prepare_noise(latent, 7),
            4.0,
            sampler,
            sigmas,
            side.positive,
            side.negative,
            latent,
            seed=7,
        )
    assert_close(ours, theirs, 1e-5)
    assert_close(ours, sampled(both[0], {"samples": latent}, plan)[0]["samples"])


def as_another_kind(comfy, side, sampling, prediction, **settings):
    """The model taken for one of another kind: only the mathematics around it is looked at."""
    model_sampling = comfy.model_sampling

    class Sampling(getattr(model_sampling, sampling), getattr(model_sampling, prediction)):
        pass

    model = side.model.clone()
    kind = Sampling(model.model.model_config, **settings)
    model.add_object_patch("model_sampling", kind)
    return SimpleNamespace(**{**vars(side), "model": model}), kind


def euler(comfy, side, levels, latent):
    with torch.inference_mode():
        return comfy.sample.sample_custom(
            side.model,
            comfy.sample.prepare_noise(latent, 7),
            4.0,
            comfy.samplers.sampler_object("euler"),
            torch.tensor(levels),
            side.positive,
            side.negative,
            latent,
            seed=7,
        )


def test_flow_models_run_along_their_own_time(both, comfy, picture):
    """At eta 0 DDIM's flow form is Euler's method."""
    side, kind = as_another_kind(comfy, both[1], "ModelSamplingDiscreteFlow", "CONST")
    kind.set_parameters(shift=3.0)
    levels = [3 * t / (1 + 2 * t) for t in (1, 0.8, 0.6, 0.4, 0.2, 0)]
    ours = sampled(side, {"samples": torch.zeros_like(picture)}, Plan(7, 5, scale=4.0))
    assert_close(ours[0]["samples"], euler(comfy, side, levels, torch.zeros_like(picture)), 1e-5)
    part = sampled(side, {"samples": picture}, Plan(7, 3, scale=4.0, denoise=0.6))
    assert_close(part[0]["samples"], euler(comfy, side, levels[2:], picture), 1e-5)
    trailing = sampled(side, {"samples": picture}, Plan(7, 5, scale=4.0, scheme=Scheme(spacing="trailing")))
    assert_close(trailing[0]["samples"], ours[0]["samples"], 1e-5)


def test_v_prediction_with_zero_terminal_snr(both, comfy, picture):
    """From the last timestep, at sigma 4518, in whose units the float32 of ComfyUI's Euler is good to 1e-4."""
    side, kind = as_another_kind(comfy, both[1], "ModelSamplingDiscrete", "V_PREDICTION", zsnr=True)
    table = (999, 700, 400, 100)
    ours = sampled(side, {"samples": torch.zeros_like(picture)}, Plan(7, 4, scale=4.0, scheme=Scheme(timesteps=table)))
    levels = [*kind.sigmas[list(table)].tolist(), 0.0]
    assert_close(ours[0]["samples"], euler(comfy, side, levels, torch.zeros_like(picture)), 3e-4)


@pytest.fixture(scope="module")
def server(run_comfyui):
    """A ComfyUI on loopback with the pack linked in."""
    with run_comfyui({"ComfyUI-DDIM": ROOT}) as server:
        yield server


def test_every_node_appears(server):
    info = server.asked("/object_info")
    assert set(NODE_CLASS_MAPPINGS) <= set(info)
    assert info["DDIMLoadModel"]["input"]["required"]["ckpt_name"][0][0] == SHIPPED.name
    assert all(info[name]["description"] for name in NODE_CLASS_MAPPINGS)


@pytest.mark.parametrize("workflow", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_shipped_workflows_become_pictures(server, workflow):
    prompt = read_workflow(workflow, server.asked("/object_info")).nodes
    made = list(server.pictures(server.queued(prompt), {"output"}))
    assert made
    for picture in made:
        carried = json.loads(picture.text["prompt"])
        for node in carried.values():
            node.pop("is_changed", None)  # older ComfyUIs write it down
        assert picture.format == "PNG" and carried == prompt
        assert np.asarray(picture).std() > 0


def test_comfyuis_own_nodes_run_on_the_shipped_model(server):
    prompt = {
        "model": {"class_type": "DDIMLoadModel", "inputs": {"ckpt_name": SHIPPED.name}},
        "yes": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["model", 1], "text": PROMPT}},
        "no": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["model", 1], "text": ""}},
        "empty": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
        "sampler": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["model", 0],
                "positive": ["yes", 0],
                "negative": ["no", 0],
                "latent_image": ["empty", 0],
                "seed": 5,
                "steps": 4,
                "cfg": 4.0,
                "sampler_name": "ddim",
                "scheduler": "ddim_uniform",
                "denoise": 1.0,
            },
        },
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sampler", 0], "vae": ["model", 2]}},
        "again": {"class_type": "VAEEncode", "inputs": {"pixels": ["decode", 0], "vae": ["model", 2]}},
        "twice": {"class_type": "VAEDecode", "inputs": {"samples": ["again", 0], "vae": ["model", 2]}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["twice", 0], "filename_prefix": "own"}},
    }
    (picture,) = server.pictures(server.queued(prompt))
    assert picture.size == (128, 128) and np.asarray(picture).std() > 0


def test_an_error_says_what_is_wrong(server):
    prompt = read_workflow(ROOT / "workflows" / "text_to_image.json", server.asked("/object_info")).nodes
    (sampler,) = (node for node in prompt.values() if node["class_type"] == "DDIMSampler")
    sampler["inputs"] |= {"steps": 1000, "denoise": 0.5}
    history = server.queued(prompt)
    (message,) = (data for kind, data in history["status"]["messages"] if kind == "execution_error")
    assert message["node_type"] == "DDIMSampler"
    assert "need a table of 2000, expected at most 1000" in message["exception_message"]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_masks_of_another_number_than_the_latents(both, count):
    """One rule in the runner and in the editor: cut, or begun again from the first."""
    latent = {"samples": torch.randn(3, 4, 16, 16, generator=torch.manual_seed(1)) * 5}
    mask = (torch.rand(count, 128, 128, generator=torch.manual_seed(2)) > 0.5).float()
    plan = Plan(3, 2, scale=4.0, mask=mask)
    ours, theirs = (sampled(side, latent, plan)[0]["samples"] for side in both)
    assert_close(ours, theirs)
