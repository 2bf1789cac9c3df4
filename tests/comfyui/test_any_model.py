"""The sampler on ComfyUI's own objects, beside ComfyUI's own samplers, with all that people attach to them.

These tests run where COMFYUI_DIR names a ComfyUI checkout with its requirements.
"""

import importlib
import os

import pytest
import torch
from comfyui_ddim.hosts.plan import Options, Plan
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS
from comfyui_ddim.sampler import PRESETS, Scheme
from comfyui_small import (
    LEFT,
    PICTURE,
    SHAPE,
    UNET,
    WIDTH,
    assert_same,
    changed,
    comfyuis,
    drawn,
    fill,
    node,
    ours,
    prompt,
    small_model,
    small_side,  # noqa: F401
)

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")


def with_area(comfy, side):
    corner = prompt(3, area=(4, 4, 0, 4), strength=0.5, set_area_to_bounds=False)
    return changed(side, positive=[*corner, *side.positive])


def with_mask(comfy, side):
    return changed(side, positive=[*prompt(3, mask=LEFT, mask_strength=0.7, set_area_to_bounds=False), *side.positive])


def with_strength(comfy, side):
    return changed(side, positive=[*prompt(3, strength=2.0), *side.positive], negative=[*prompt(4), *side.negative])


def with_timesteps(comfy, side):
    early, late = prompt(3, start_percent=0.0, end_percent=0.4), prompt(4, start_percent=0.4, end_percent=1.0)
    return changed(side, positive=[*early, *late])


def with_lora(comfy, side):
    return changed(side, model=comfy.sd.load_lora_for_models(side.model, None, lora(side), 1.0, 0.0)[0])


def lora(side, prefix="lora_unet_middle_block_1_transformer_blocks_0"):
    """A LoRA of rank 4 on two of the middle block's layers."""
    middle = side.model.model.diffusion_model.middle_block[1].transformer_blocks[0]
    weights = {}
    for name, layer in (("attn1_to_v", middle.attn1.to_v), ("attn2_to_k", middle.attn2.to_k)):
        rows, columns = layer.weight.shape
        weights[f"{prefix}_{name}.lora_up.weight"] = drawn(1, rows, 4)
        weights[f"{prefix}_{name}.lora_down.weight"] = drawn(2, 4, columns) / columns**0.5
    return weights


def with_scheduled_lora(comfy, side):
    """A LoRA on one prompt of two, that goes from full strength to a quarter halfway."""
    group = comfy.hooks.create_hook_lora(lora(side), 1.0, 0.0)
    frames = comfy.hooks.HookKeyframeGroup()
    frames.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.0))
    frames.add(comfy.hooks.HookKeyframe(strength=0.25, start_percent=0.5))
    group.set_keyframes_on_hooks(frames)
    (hooked,) = comfy.hooks.set_conds_props([side.positive], 1.0, "default", hooks=group)
    model = side.model.clone()
    model.hook_mode = comfy.hooks.EnumHookMode.MaxSpeed
    return changed(side, model=model, positive=[*hooked, *prompt(3)])


def with_controlnet(comfy, side):
    from comfy.cldm.cldm import ControlNet

    known = {key: value for key, value in UNET.items() if key not in ("out_channels", "transformer_depth_output")}
    network = fill(ControlNet(**known, num_heads=4, hint_channels=3), seed=3)
    control = comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))
    picture = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(6))
    apply = importlib.import_module("nodes").ControlNetApplyAdvanced()
    positive, negative = apply.apply_controlnet(side.positive, side.negative, control, picture, 0.8, 0.0, 0.7)
    return changed(side, positive=positive, negative=negative)


def with_image_tokens(comfy, side):
    """As IP-Adapters do it: one more attention in a layer, to an image's tokens, for a part of the run."""
    keys, values = drawn(11, 1, 4, 2 * WIDTH), drawn(12, 1, 4, 2 * WIDTH)

    def attend(q, k, v, extra):
        from comfy.ldm.modules.attention import optimized_attention

        out = optimized_attention(q, k, v, extra["n_heads"])
        if float(extra["sigmas"][0]) < 1:
            return out
        shown = [0.0 if which else 0.8 for which in extra["cond_or_uncond"]]
        each = len(q) // len(shown)
        weights = torch.tensor(shown).repeat_interleave(each)[:, None, None]
        image = optimized_attention(q, keys.expand(len(q), -1, -1), values.expand(len(q), -1, -1), extra["n_heads"])
        return out + weights * image

    model = side.model.clone()
    model.set_model_attn2_replace(attend, "middle", 0)
    return changed(side, model=model)


def with_rescale_cfg(comfy, side):
    return changed(side, model=node("nodes_model_advanced", "RescaleCFG", side.model, 0.7))


def with_pag(comfy, side):
    return changed(side, model=node("nodes_pag", "PerturbedAttentionGuidance", side.model, 3.0))


def with_sag(comfy, side):
    return changed(side, model=node("nodes_sag", "SelfAttentionGuidance", side.model, 0.5, 2.0))


def with_free_u(comfy, side):
    return changed(side, model=node("nodes_freelunch", "FreeU_V2", side.model, 1.3, 1.4, 0.9, 0.2))


def with_post_cfg(comfy, side):
    model = side.model.clone()
    model.set_model_sampler_post_cfg_function(lambda seen: seen["denoised"] + 0.1 * seen["uncond_denoised"], True)
    model.set_model_sampler_pre_cfg_function(lambda seen: [each * 0.9 for each in seen["conds_out"]])
    return changed(side, model=model)


def with_noise_mask(comfy, side):
    return changed(side, latent={**PICTURE, "noise_mask": LEFT * 0.8})


def with_differential_diffusion(comfy, side):
    slope = torch.linspace(0, 1, 64).expand(1, 64, 64)
    model = node("nodes_differential_diffusion", "DifferentialDiffusion", side.model)
    return changed(side, model=model, latent={**PICTURE, "noise_mask": slope})


def with_batch_index(comfy, side):
    samples = drawn(6, 3, *SHAPE[1:]) * 5
    masks = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(7))
    return changed(side, latent={"samples": samples, "batch_index": [4, 0, 4], "noise_mask": masks})


def with_an_inpainting_model(comfy, side):
    """Nine channels: the mask and the picture without its hole go in beside the latent."""
    picture = {"concat_latent_image": drawn(8, *SHAPE) * 5, "concat_mask": LEFT[None]}
    latent = {**PICTURE, "noise_mask": LEFT[None]}
    positive, negative = prompt(1, **picture), prompt(2, **picture)
    model = small_model(comfy, in_channels=9)
    return changed(side, model=model, positive=positive, negative=negative, latent=latent)


ATTACHED = [
    with_area,
    with_mask,
    with_strength,
    with_timesteps,
    with_lora,
    with_scheduled_lora,
    with_controlnet,
    with_image_tokens,
    with_rescale_cfg,
    with_pag,
    with_sag,
    with_free_u,
    with_post_cfg,
    with_noise_mask,
    with_differential_diffusion,
    with_batch_index,
    with_an_inpainting_model,
]


@pytest.mark.parametrize("attach", ATTACHED, ids=lambda attach: attach.__name__.removeprefix("with_"))
def test_preset_comfyui_is_comfyuis_ddim(comfy, side, attach):
    with torch.inference_mode():
        more = attach(comfy, side)
    made = ours(more)
    assert_same(made, comfyuis(comfy, more))
    assert_same(ours(more, denoise=0.6), comfyuis(comfy, more, denoise=0.6))
    assert made.shape != SHAPE or (made - ours(side)).abs().max() > 0.05  # it does something


def with_nothing_to_compute(comfy, side):
    """A model that takes no time: many steps can be looked at."""
    model = side.model.clone()
    model.set_model_unet_function_wrapper(lambda apply_model, given: given["input"].sin() * 0.5)
    return changed(side, model=model)


@pytest.mark.parametrize("steps", [1, 7, 30, 334, 1000])
@pytest.mark.parametrize("denoise", [1.0, 0.6])
def test_preset_comfyui_has_comfyuis_steps(comfy, side, steps, denoise):
    """One step from timestep 1, 31 for 30, rounding below denoise 1, and whole noise at the model's last level."""
    free = with_nothing_to_compute(comfy, side)
    assert_same(ours(free, steps, denoise), comfyuis(comfy, free, steps, denoise))


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_eta_is_ancestral_euler(comfy, side, eta):
    """With the seed, and with the temperature that ComfyUI calls s_noise; 0.3.64 draws from the seed, not seed + 1."""
    generator = torch.Generator().manual_seed(7 + 1)
    options = {"eta": eta, "s_noise": 1.2, "noise_sampler": lambda *levels: torch.randn(SHAPE, generator=generator)}
    theirs = custom(comfy, side, comfy.samplers.ksampler("euler_ancestral", options), "ddim_uniform")
    assert_same(ours(side, eta=eta, options=Options(temperature=1.2)), theirs)


def custom(comfy, side, sampler, sigmas, steps=5, cfg=4.0):
    """What ComfyUI makes with a sampler and sigmas, or a scheduler's name, of its own."""
    if isinstance(sigmas, str):
        sigmas = comfy.samplers.calculate_sigmas(side.model.get_model_object("model_sampling"), sigmas, steps)
    samples = side.latent["samples"]
    noise = comfy.sample.prepare_noise(samples, 7)
    with torch.inference_mode():
        return comfy.sample.sample_custom(
            side.model, noise, cfg, sampler, sigmas, side.positive, side.negative, samples, disable_pbar=True, seed=7
        )


KINDS = {
    "v": ("ModelSamplingDiscrete", "v_prediction", False),
    "v, zero SNR": ("ModelSamplingDiscrete", "v_prediction", True),
    "x0": ("ModelSamplingDiscrete", "x0", False),
    "lcm": ("ModelSamplingDiscrete", "lcm", False),
    "EDM": ("ModelSamplingContinuousEDM", "edm", 120.0, 0.002),
    "continuous v": ("ModelSamplingContinuousV", "v_prediction", 500.0, 0.03),
    "Stable Cascade": ("ModelSamplingStableCascade", 2.0),
}


@pytest.mark.parametrize("how", KINDS.values(), ids=KINDS)
def test_models_of_every_kind(comfy, side, how):
    more = changed(side, model=node("nodes_model_advanced", how[0], side.model, *how[1:]))
    limit = 3e-5 if "x0" in how else 1e-5  # of ComfyUI's own result, when its input changes in the last bit
    assert_same(ours(more, cfg=2.0), comfyuis(comfy, more, cfg=2.0), limit)
    made = ours(more, cfg=2.0, scheme="exact", denoise=0.5)
    assert_same(made, custom(comfy, more, euler(comfy), tail(more, "exact", 0.5), cfg=2.0), limit)


def test_zero_terminal_snr_starts_from_noise_alone(comfy, side):
    """At sigma 4518, in whose units ComfyUI's float32 is good to 1e-4."""
    more = changed(
        side, model=node("nodes_model_advanced", *KINDS["v, zero SNR"][:1], side.model, "v_prediction", True)
    )
    more = changed(more, latent={"samples": torch.zeros(SHAPE)})
    made = ours(more, scheme=Scheme(spacing="trailing"))
    assert_same(made, custom(comfy, more, euler(comfy), tail(more, Scheme(spacing="trailing"))), 3e-4)


def euler(comfy):
    return comfy.samplers.sampler_object("euler")


def tail(side, scheme, denoise=1.0, steps=5):
    """Sigmas of a scheme."""
    return side.host.sigmas(side.model, PRESETS[scheme] if isinstance(scheme, str) else scheme, steps, denoise)


FLOWS = {
    "SD3": ("ModelSamplingSD3", 3.0),
    "AuraFlow": ("ModelSamplingAuraFlow", 1.73),
    "Flux": ("ModelSamplingFlux", 1.15, 0.5, 512, 512),
}


@pytest.mark.parametrize("how", FLOWS.values(), ids=FLOWS)
def test_flow_models(comfy, side, how):
    """Euler's method is DDIM's flow form at eta 0; "exact" has even strides through the model's own time."""
    if how[0] == "ModelSamplingAuraFlow":
        from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow

        model = ModelSamplingAuraFlow().patch_aura(side.model, how[1])[0]
    else:
        model = node("nodes_model_advanced", how[0], side.model, *how[1:])
    more = changed(side, model=model)
    times = model.get_model_object("model_sampling")
    even = torch.tensor([times.percent_to_sigma(i / 5) for i in range(6)])
    assert_same(ours(more, scheme="exact"), custom(comfy, more, euler(comfy), even))
    assert_same(ours(more), comfyuis(comfy, more))
    masked = with_noise_mask(comfy, more)
    assert_same(ours(masked, denoise=0.6), comfyuis(comfy, masked, denoise=0.6))
    for scheme in (Scheme(spacing="trailing"), Scheme(spacing="quad"), Scheme(spacing="karras"), PRESETS["published"]):
        sigmas = tail(more, scheme)
        assert torch.isfinite(sigmas).all() and (sigmas.diff() < 0).all()


@pytest.mark.parametrize("denoise", [1.0, 0.6])
def test_what_a_preset_chooses_may_be_chosen_by_hand(comfy, side, denoise):
    """The node's own spacing and landing in place of "as preset": the same levels, on a flow model too."""
    flow = changed(side, model=node("nodes_model_advanced", "ModelSamplingSD3", side.model, 3.0))
    by_hand = NODE_CLASS_MAPPINGS["DDIMSchedule"]().make("exact", "uniform", "clean", "")[0]
    first = NODE_CLASS_MAPPINGS["DDIMSchedule"]().make("exact", "uniform", "first", "")[0]
    for more in (side, flow):
        assert torch.equal(tail(more, by_hand, denoise), tail(more, "exact", denoise))
        assert torch.equal(tail(more, first, denoise)[:-1], tail(more, "exact", denoise)[:-1])
        assert tail(more, first, denoise)[-1] == more.model.get_model_object("model_sampling").sigmas[0]


def test_eta_on_a_flow_model_keeps_the_marginals(comfy, side):
    """A model that knows the one picture there is: whatever noise goes in, the level's share of noise comes out."""
    model = node("nodes_model_advanced", "ModelSamplingSD3", side.model, 3.0)
    more = changed(side, model=model, latent={"samples": torch.zeros(1, 4, 32, 32)})
    picture = drawn(9, 1, 4, 32, 32)
    model.set_model_unet_function_wrapper(lambda apply_model, given: picture.expand_as(given["input"]))
    with torch.inference_mode():
        made = more.host.sample(model, more.positive, more.negative, more.latent, Plan(3, 6, eta=1.0))
    states = made[2]["samples"] * 0.18215
    assert torch.allclose(states[-1:], picture, atol=1e-5)
    for x, t in zip(states[:-1], tail(more, "exact", steps=6)[1:], strict=False):
        assert (x - (1 - t) * picture[0]).std() == pytest.approx(float(t), rel=0.05)
