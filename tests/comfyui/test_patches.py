"""ComfyUI's own patches of a model before this pack's sampler: the latents and model calls of ComfyUI's own ddim.

These tests run where COMFYUI_DIR names a ComfyUI checkout with its requirements. A patch that this ComfyUI doesn't
have yet is left out.
"""

import importlib
import os
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from comfyui_ddim.hosts.plan import Options, Plan
from comfyui_ddim.sampler import FixedPoint, Guidance, KeyedNoise, Scheme, repaint_walk
from comfyui_small import (
    LEFT,
    PICTURE,
    SHAPE,
    assert_same,
    changed,
    comfyuis,
    drawn,
    fill,
    node,
    ours,
    small_side,  # noqa: F401
)
from test_architectures import MMDIT

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")

STEPS = 8
# Name: module of comfy_extras, class, inputs after the model.
PATCHES = {
    "APG": ("nodes_apg", "APG", 0.4, 3.0, 0.0),
    "APG with momentum": ("nodes_apg", "APG", 0.4, 3.0, -0.5),
    "CFG-Zero*": ("nodes_cfg", "CFGZeroStar"),
    "CFGNorm": ("nodes_cfg", "CFGNorm", 0.9),
    "TCFG": ("nodes_tcfg", "TCFG"),
    "FreSca": ("nodes_fresca", "FreSca", 0.8, 1.6, 2),
    "Mahiro": ("nodes_mahiro", "Mahiro"),
    "RescaleCFG": ("nodes_model_advanced", "RescaleCFG", 0.7),
    "NAG": ("nodes_nag", "NAGuidance", 5.0, 0.5, 1.5),
    "EasyCache": ("nodes_easycache", "EasyCacheNode", 0.6, 0.1, 0.9, False),
    "LazyCache": ("nodes_easycache", "LazyCacheNode", 0.6, 0.1, 0.9, False),
    "CFGOverride": ("nodes_custom_sampler", "CFGOverride", 1.0, 0.3, 0.7),
}
DIT_PATCHES = {
    "SLG": ("nodes_slg", "SkipLayerGuidanceDiT", 3.0, 0.0, 0.6, "0", "", 0.3),
    "SLG, simple": ("nodes_slg", "SkipLayerGuidanceDiTSimple", 0.1, 0.8, "1", ""),
}
CACHES = ("EasyCache", "LazyCache")


def patched(side, patch):
    """A side whose model one of ComfyUI's nodes has patched, or several did, one after the other."""
    for module, name, *inputs in [patch] if isinstance(patch[0], str) else patch:
        try:
            found = hasattr(importlib.import_module(f"comfy_extras.{module}"), name)
        except ImportError:
            found = False
        if not found:
            pytest.skip(f"this ComfyUI has no {name}")
        side = changed(side, model=node(module, name, side.model, *inputs))
    return side


@contextmanager
def counted(side):
    """How many pictures go through the network, call by call."""
    calls = []
    network = side.model.model.diffusion_model
    first = getattr(network, "time_embed", None) or network.t_embedder
    hook = first.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    yield calls
    hook.remove()


def assert_as_comfyuis(comfy, side, **how):
    with counted(side) as own:
        made = ours(side, STEPS, **how)
    with counted(side) as theirs:
        assert_same(made, comfyuis(comfy, side, STEPS, **how))
    assert own == theirs
    return made, sum(own)


@pytest.fixture(scope="module")
def dit(comfy):
    """Stable Diffusion 3's network, narrow."""
    from comfyui_ddim.hosts.comfyui.host import ComfyHost

    model = comfy.supported_models.SD3({**MMDIT, "dtype": torch.float32}).get_model({}, device="cpu")
    fill(model.diffusion_model)

    def prompt(seed):
        return [[drawn(seed, 1, 6, 24), {"pooled_output": drawn(seed + 10, 1, 20)}]]

    patcher = comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))
    latent = {"samples": drawn(5, 1, 16, 8, 8) * 2}
    return SimpleNamespace(host=ComfyHost(), model=patcher, positive=prompt(1), negative=prompt(2), latent=latent)


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
def test_a_patch_is_obeyed_as_by_comfyuis_ddim(comfy, side, patch):
    more = patched(side, patch)
    made, calls = assert_as_comfyuis(comfy, more)
    assert_as_comfyuis(comfy, more, denoise=0.6)
    assert_as_comfyuis(comfy, more, cfg=1.0)
    if patch[1] in ("EasyCacheNode", "LazyCacheNode"):
        assert_as_comfyuis(comfy, more, cfg=0.0)  # what it skips hangs on both passes
    elif patch[1] != "APG":  # which divides by the scale
        assert_same(ours(more, STEPS, cfg=0.0), comfyuis(comfy, more, STEPS, cfg=0.0))
    plain, all_calls = assert_as_comfyuis(comfy, side)
    assert (made - plain).abs().max() > 0.05  # it does something
    assert (calls < all_calls) == (patch[1] in ("EasyCacheNode", "LazyCacheNode", "CFGOverride"))


@pytest.mark.parametrize("patch", DIT_PATCHES.values(), ids=DIT_PATCHES)
def test_a_transformer_s_patch_is_obeyed_as_by_comfyuis_ddim(comfy, dit, patch):
    more = patched(dit, patch)
    made, _ = assert_as_comfyuis(comfy, more)
    assert_as_comfyuis(comfy, more, cfg=1.0)
    assert (made - ours(dit, STEPS)).abs().max() > 0.01


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
def test_a_patch_is_obeyed_under_a_mask(comfy, side, patch):
    more = patched(changed(side, latent={**PICTURE, "noise_mask": LEFT[None]}), patch)
    assert_as_comfyuis(comfy, more, denoise=0.7)


def overrides(*ranges):
    return [("nodes_custom_sampler", "CFGOverride", *each) for each in ranges]


def test_the_override_nearest_the_sampler_wins(comfy, side):
    more = patched(side, overrides((1.0, 0.0, 0.6), (2.5, 0.3, 1.0)))
    assert_as_comfyuis(comfy, more)


def test_a_schedule_counts_where_nothing_overrides_it(comfy, side):
    """Outside the override's stretch each step has its own scale again; inside it the override's, whatever is asked."""
    more = patched(side, overrides((1.0, 0.25, 0.75)))
    sigmas = side.host.sigmas(side.model, Scheme(), 8, 1.0)
    times = side.model.get_model_object("model_sampling")
    low, high = times.percent_to_sigma(0.75), times.percent_to_sigma(0.25)
    scale = [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1.0, 3.0]
    joined = [1.0 if low <= s <= high else c for s, c in zip(sigmas.tolist(), scale, strict=False)]
    assert 2 < sum(a != b for a, b in zip(joined, scale, strict=True)) < 6
    with counted(side) as calls:
        made = sampled(more, Plan(7, 8, scale=scale))
    assert_same(made, sampled(side, Plan(7, 8, scale=joined)))
    assert calls == [1 if c == 1 else 2 for c in joined]


def sampled(side, plan):
    with torch.inference_mode():
        return side.host.sample(side.model, side.positive, side.negative, side.latent, plan)[0]["samples"]


def through(side, guider, steps=6):
    """A run of our sampler in a guider."""
    noise = drawn(3, *SHAPE)
    sampler = side.host.sampler(0.0, Scheme(), Options(), "auto", None)
    sigmas = side.host.sigmas(side.model, Scheme(), steps, 1.0)
    with torch.inference_mode():
        return guider.sample(noise, torch.zeros(SHAPE), sampler, sigmas, disable_pbar=True, seed=1)


def guider(side, scale):
    return side.host.guider(side.model, side.positive, side.negative, Guidance(scale))


def test_who_sets_cfg_on_the_guider_decides(comfy, side):
    """Before the run for all of it, even to a value that the schedule has too; inside, until it is set back."""
    constant = through(side, guider(side, 4.0))
    late = guider(side, [1.0, 4.0, 2.0, 3.0, 3.0, 3.0])
    late.set_cfg(4.0)
    assert_same(through(side, late), constant)

    def outer(executor, *inputs, **named):
        before, executor.class_obj.cfg = executor.class_obj.cfg, 4.0
        try:
            return executor(*inputs, **named)
        finally:
            executor.class_obj.cfg = before

    wrapped = side.model.clone()
    wrapped.add_wrapper(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, outer)
    used = guider(changed(side, model=wrapped), [1.0] * 6)
    assert_same(through(side, used), constant)
    assert used.cfg == 1.0


def test_a_wrapper_may_read_and_scale_the_step_s_own_cfg(comfy, side):
    def half(executor, *inputs, **named):
        before = executor.class_obj.cfg
        executor.class_obj.cfg = before * 0.5
        try:
            return executor(*inputs, **named)
        finally:
            executor.class_obj.cfg = before

    wrapped = side.model.clone()
    wrapped.add_wrapper(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, half)
    scale = [2.0, 4.0, 6.0, 8.0, 3.0, 5.0]
    made = through(side, guider(changed(side, model=wrapped), scale))
    assert_same(made, through(side, guider(side, [c / 2 for c in scale])))


def test_a_wrapper_may_take_sigmas_away(comfy, side):
    """The schedule is then that of the steps which are run."""

    def fewer(executor, guider, sigmas, *others):
        return executor(guider, sigmas[::2], *others)

    wrapped = side.model.clone()
    wrapped.add_wrapper(comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, fewer)
    made = through(side, guider(changed(side, model=wrapped), lambda u: 2 + 3 * u))
    sigmas = side.host.sigmas(side.model, Scheme(), 6, 1.0)[::2]
    with torch.inference_mode():
        sampler = side.host.sampler(0.0, Scheme(), Options(), "auto", None)
        own = guider(side, [2.0, 3.5, 5.0])
        wanted = own.sample(drawn(3, *SHAPE), torch.zeros(SHAPE), sampler, sigmas, disable_pbar=True, seed=1)
    assert_same(made, wanted)


def test_cfg_plus_plus_has_scales_within_0_and_1(side):
    more = patched(side, overrides((4.0, 0.5, 1.0)))
    with pytest.raises(ValueError, match=r"guidance scale with CFG\+\+ was set to 4.0, expected 0 to 1"):
        sampled(more, Plan(7, 6, scale=0.6, options=Options(plus_plus=True)))


REPAINT = Options(repeats=2, jump_length=3)


def comfyuis_repaint(comfy, side, steps=9, seed=7, cfg=4.0):
    """RePaint's walk in ComfyUI's own guider, in its units: a step of Euler's method, or noise on the way back."""
    noise = KeyedNoise.batch(seed, 1)
    visits = dict.fromkeys(range(steps), 0)

    def walk(model, x, sigmas, extra_args, callback=None, disable=None):
        level = 0
        for i in repaint_walk(steps, REPAINT.jump_length, REPAINT.repeats):
            if i != level:
                z = noise.normal(x.shape, "jump", i + visits[i] * steps, x.device)
                x = x + (sigmas[i] ** 2 - sigmas[level] ** 2).sqrt() * z
            visits[i] += 1
            x0 = model(x, sigmas[i].expand(len(x)), **extra_args)
            x = x0 + (x - x0) * sigmas[i + 1] / sigmas[i]
            level = i + 1
        return x

    own = comfy.samplers.CFGGuider(side.model)
    own.set_conds(side.positive, side.negative)
    own.set_cfg(cfg)
    sigmas = side.host.sigmas(side.model, Scheme(), steps, 1.0)
    x_T = comfy.sample.prepare_noise(side.latent["samples"], seed) * (1 + sigmas[0] ** 2).sqrt() / sigmas[0]
    with torch.inference_mode():
        empty = torch.zeros(SHAPE)
        return own.sample(x_T, empty, comfy.samplers.KSAMPLER(walk), sigmas, disable_pbar=True, seed=seed)


@pytest.mark.parametrize("name", [name for name in PATCHES if name not in CACHES])
def test_a_patch_is_obeyed_in_repaint_s_walk(comfy, side, name):
    more = patched(side, PATCHES[name])
    with counted(side) as own:
        made = sampled(more, Plan(7, 9, scale=4.0, options=REPAINT))
    with counted(side) as theirs:
        assert_same(made, comfyuis_repaint(comfy, more), 3e-5)  # 18 steps, and the numbers grow past 400
    assert own == theirs


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_is_refused_where_repaint_goes_back(side, name):
    more = patched(side, PATCHES[name])
    with counted(side) as calls, pytest.raises(ValueError, match=f"{name} on the model .* without {name}, or repeats"):
        sampled(more, Plan(7, 9, scale=4.0, options=REPAINT))
    assert not calls


def inverted(side, steps=5):
    plan = Plan(7, steps, scale=4.0)
    with torch.inference_mode():
        return side.host.invert(side.model, side.positive, side.negative, side.latent, plan, FixedPoint(1))


def comfyuis_inversion(comfy, side, steps=5, cfg=4.0):
    """DDIM's way back in ComfyUI's own guider: each step undone along the eps that its level sees in the state."""

    def back(model, x, sigmas, extra_args, callback=None, disable=None):
        signal = 1 / (1 + sigmas**2).sqrt()
        x = model.latent_image
        for i in reversed(range(steps)):
            x0 = model(x / signal[i], sigmas[i].expand(len(x)), **extra_args)
            eps = (x / signal[i] - x0) / sigmas[i]
            x = signal[i] * (x / signal[i + 1] + (sigmas[i] - sigmas[i + 1]) * eps)
        return x

    own = comfy.samplers.CFGGuider(side.model)
    own.set_conds(side.positive, side.negative)
    own.set_cfg(cfg)
    sigmas = side.host.sigmas(side.model, Scheme(), steps, 1.0)
    with torch.inference_mode():
        samples = side.latent["samples"]
        sampler = comfy.samplers.KSAMPLER(back)
        return own.sample(torch.zeros(SHAPE), samples, sampler, sigmas, disable_pbar=True, seed=0) * 0.18215


@pytest.mark.parametrize("name", [name for name in PATCHES if name not in (*CACHES, "APG with momentum")])
def test_a_patch_is_obeyed_on_the_way_back(comfy, side, name):
    more = patched(side, PATCHES[name])
    with counted(side) as own:
        found = inverted(more).x_T
    with counted(side) as theirs:
        # CFG-Zero* divides by the difference of nearly equal numbers at the lowest levels
        assert_same(found, comfyuis_inversion(comfy, more), 1e-3 if name == "CFG-Zero*" else 1e-5)
    assert own == theirs
    assert (found - inverted(side).x_T).abs().max() > 0.01


@pytest.mark.parametrize("name", [*CACHES, "APG with momentum"])
def test_what_remembers_is_refused_on_the_way_back(side, name):
    more = patched(side, PATCHES[name])
    with counted(side) as calls, pytest.raises(ValueError, match=f"{name} on the model makes each prediction depend"):
        inverted(more)
    assert not calls
