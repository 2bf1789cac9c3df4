"""The run: guidance and its model calls, noise that a batch doesn't change, masks, jumps, errors."""

import itertools

import numpy as np
import pytest
import torch
from comfyui_ddim.sampler import (
    PRESETS,
    Curve,
    Guidance,
    Guided,
    Inpaint,
    Interval,
    KeyedNoise,
    NotFiniteError,
    Predictor,
    SequentialNoise,
    Threshold,
    Variation,
    cfg,
    ddim_steps,
    make_flow_schedule,
    make_predictor,
    make_schedule,
    quantizer,
    repaint_walk,
    rescale,
    slerp,
)
from models import ALPHA_BAR, ConditionedGaussian, drawn

CPU = torch.device("cpu")


X_T = drawn(2, 4, 8, 8)
C, U = torch.tensor([1.0, 2.0]), torch.tensor([0.0, -1.0])


def run(schedule, guidance=None, cond=C, uncond=U, x=X_T, model=None, noise=None, **kwargs):
    predict = make_predictor(model or ConditionedGaussian(), schedule, len(x), cond, uncond, guidance)
    return list(ddim_steps(predict, x, schedule, noise=noise, **kwargs))


# Guidance


def test_no_pass_without_weight():
    model = ConditionedGaussian()
    run(make_schedule(ALPHA_BAR, 5), Guidance([0.0, 1.0, 2.0, 1.0, 0.0]), model=model)
    assert model.asked == [(2, [0, -1]), (2, [1, 2]), (4, [0, -1, 1, 2]), (2, [1, 2]), (2, [0, -1])]


def test_guidance_in_an_interval_costs_one_pass_outside():
    model = ConditionedGaussian()
    run(make_schedule(ALPHA_BAR, 5), Guidance(Interval(4.0, 0.25, 0.5)), model=model)
    assert [batch for batch, _ in model.asked] == [2, 4, 4, 2, 2]


@pytest.mark.parametrize("uncond", [torch.zeros(2, 5), [torch.zeros(2, 5)], {"c_crossattn": [torch.zeros(2, 5)]}])
def test_conditionings_of_other_shapes_take_two_calls(uncond):
    cond = torch.ones(2, 7)
    cond = [cond] if isinstance(uncond, list) else {"c_crossattn": [cond]} if isinstance(uncond, dict) else cond
    schedule, model = make_schedule(ALPHA_BAR, 3), ConditionedGaussian()
    two = run(schedule, Guidance(3.0), cond, uncond, model=model)
    assert [batch for batch, _ in model.asked] == [2] * 6
    one = run(schedule, Guidance(3.0), torch.ones(2), torch.zeros(2))
    torch.testing.assert_close(two[-1].x, one[-1].x)


def test_a_conditioning_of_one_serves_the_batch():
    ours = run(make_schedule(ALPHA_BAR, 3), Guidance(3.0), torch.ones(1), torch.zeros(1))
    torch.testing.assert_close(
        ours[-1].x, run(make_schedule(ALPHA_BAR, 3), Guidance(3.0), torch.ones(2), torch.zeros(2))[-1].x
    )


def test_guidance_of_a_gaussian_moves_its_mean():
    """Both answers are linear in the mean, so guiding is sampling around uncond + scale (cond - uncond)."""
    schedule = make_schedule(ALPHA_BAR, 10)
    guided = run(schedule, Guidance(3.0))[-1].x
    torch.testing.assert_close(guided, run(schedule, None, U + 3 * (C - U))[-1].x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_cfg_plus_plus_in_closed_form(strength):
    schedule = make_schedule(ALPHA_BAR, 10)
    model, x = ConditionedGaussian(), X_T
    for i, t in enumerate(schedule.timesteps):
        t = torch.full((2,), int(t))
        cond, uncond = model.apply_model(x, t, C), model.apply_model(x, t, U)
        x0 = (x - schedule.noise[i] * (uncond + strength * (cond - uncond))) / schedule.signal[i]
        x = schedule.signal[i + 1] * x0 + schedule.noise[i + 1] * uncond
    ours = run(schedule, Guidance(strength, plus_plus=True))
    torch.testing.assert_close(ours[-1].x, x, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"CFG\+\+ has the value 7\.5, expected 0 to 1"):
        run(schedule, Guidance(7.5, plus_plus=True))


def test_rescale_gives_conds_std_back():
    cond, guided = X_T, 3 * X_T + 1
    torch.testing.assert_close(rescale(guided, cond, 1.0).std(dim=(1, 2, 3)), cond.std(dim=(1, 2, 3)))
    torch.testing.assert_close(rescale(guided, cond, 0.0), guided)
    torch.testing.assert_close(rescale(guided, cond, 0.7), 0.7 * rescale(guided, cond, 1.0) + 0.3 * guided)
    schedule = make_schedule(ALPHA_BAR, 10)
    assert not torch.equal(run(schedule, Guidance(5.0, rescale=0.7))[-1].x, run(schedule, Guidance(5.0))[-1].x)
    assert torch.equal(run(schedule, Guidance(1.0, rescale=0.7))[-1].x, run(schedule)[-1].x)
    with pytest.raises(ValueError, match=r"rescale is 1\.5"):
        Guidance(2.0, rescale=1.5)


def test_cfg():
    torch.testing.assert_close(cfg(X_T, -X_T, 7.5), 14 * X_T)


def test_threshold_per_sample_and_per_channel():
    x0 = drawn(2, 4, 16, 16) * torch.tensor([1.0, 10.0]).view(2, 1, 1, 1)
    x0[:, 1] *= 5
    for per_channel, dims in ((False, (1, 2, 3)), (True, (2, 3))):
        out = Threshold(0.9, floor=2.0, per_channel=per_channel).filter(1)(x0, 0)
        assert out.abs().amax(dims).max() == pytest.approx(2.0)
        s = np.quantile(x0.abs().numpy(), 0.9, axis=dims, keepdims=True).clip(2.0)
        np.testing.assert_allclose(out, np.clip(x0.numpy(), -s, s) * 2 / s, rtol=1e-5)
    small = drawn(1, 4, 8, 8) / 10
    torch.testing.assert_close(Threshold(1.0).filter(1)(small, 0), small)
    with pytest.raises(ValueError, match="floor is 0"):
        Threshold(0.9, floor=0.0).filter(1)


def test_the_latest_filter_decides_x0_and_eps_stays():
    schedule = make_schedule(ALPHA_BAR, 3)
    filters = [lambda x0, i: x0 + 1, lambda x0, i: x0 * (i + 2)]
    plain = make_predictor(ConditionedGaussian(), schedule, 2, C)
    changed = make_predictor(ConditionedGaussian(), schedule, 2, C, filters=filters)
    for i in range(3):
        (x0, eps), (new_x0, new_eps) = plain(X_T, i), changed(X_T, i)
        torch.testing.assert_close(new_x0, (x0 + 1) * (i + 2))
        assert torch.equal(eps, new_eps)


def test_quantizer_undoes_the_scale():
    snapped = quantizer(lambda z: (z.round(), None), scale_factor=0.25)(X_T, 0)
    torch.testing.assert_close(snapped, (X_T * 4).round() / 4)


def test_a_host_may_guide_itself():
    """Without a model: a guide that answers with x0, as ComfyUI's does."""
    schedule = make_schedule(ALPHA_BAR, 6)
    seen = []

    def guide(x, t, i):
        seen.append((int(t[0]), i))
        return Guided(torch.full_like(x, 0.5))

    end = list(ddim_steps(Predictor(guide, schedule, "x0"), X_T, schedule))[-1]
    torch.testing.assert_close(end.x, torch.full_like(X_T, 0.5))
    assert seen == list(zip(schedule.timesteps.tolist(), range(6), strict=True))


def test_unknown_parameterization():
    with pytest.raises(ValueError, match="parameterization 'score' is not one of eps, v, x0, flow"):
        Predictor(None, make_schedule(ALPHA_BAR, 3), "score")


# Noise


def test_keyed_noise_is_normal_and_repeats():
    noise = KeyedNoise.batch(7, 4)
    z = noise.normal((4, 4, 64, 64), "start", 0, CPU)
    assert torch.equal(z, noise.normal((4, 4, 64, 64), "start", 0, CPU))
    n = z.numel()
    moments = [z.mean(), z.pow(2).mean() - 1, z.pow(3).mean(), z.pow(4).mean() - 3]
    for value, sd in zip(moments, (1, 2**0.5, 15**0.5, 96**0.5), strict=True):
        assert abs(value.item()) < 4 * sd / n**0.5
    # Kolmogorov and Smirnov's distance to the normal distribution, 0.1 % level
    ordered = z.flatten().double().sort().values
    cdf = 0.5 * (1 + torch.erf(ordered / 2**0.5))
    assert (cdf - torch.arange(1, n + 1) / n).abs().max() < 1.95 / n**0.5


def test_every_key_has_noise_of_its_own():
    drawn = [
        KeyedNoise((seed,), (sample,)).normal((1, 4, 32, 32), use, step, CPU).flatten()
        for seed, sample, use, step in itertools.product((0, 1, 2**63), (0, 1), ("start", "step", "mask"), (0, 1, 999))
    ]
    correlation = torch.corrcoef(torch.stack(drawn)) - torch.eye(len(drawn))
    assert correlation.abs().max() < 5 / 4096**0.5


def test_keyed_noise_is_pinned():
    """A seed keeps its picture: Philox is numpy's (with its published test vectors), Box and Muller's is a formula."""
    words = np.random.Philox(key=[5, 6], counter=[0, 7, 1, 0]).random_raw(6).astype(object)
    u = [(int(w) // 2**11 + 1) / 2**53 for w in words]
    pairs = [(np.sqrt(-2 * np.log(u[j])), 2 * np.pi * u[3 + j]) for j in range(3)]
    expected = [r * np.cos(a) for r, a in pairs] + [r * np.sin(a) for r, a in pairs][:2]
    z = KeyedNoise((5,), (6,)).normal((1, 5), "step", 7, CPU)
    np.testing.assert_allclose(z[0], expected, rtol=1e-6)


def test_keep_has_the_chance():
    kept = KeyedNoise.batch(0, 2).keep((2, 4, 64, 64), 0.7, 3, CPU)
    assert set(kept.unique().tolist()) == {0, 1} and kept.mean().item() == pytest.approx(0.7, abs=0.01)


def test_wrong_keys():
    with pytest.raises(ValueError, match="batch of 3, expected a batch of 2"):
        KeyedNoise.batch(0, 2).normal((3, 4), "step", 0, CPU)
    with pytest.raises(ValueError, match="1 samples for 2 seeds"):
        KeyedNoise((1, 2), (0,))
    with pytest.raises(ValueError, match="-1 is not within"):
        KeyedNoise.batch(-1, 1)


MASK = (torch.arange(64).view(1, 1, 8, 8) % 8 < 4).float()


def noisy_run(noise, x0, cond, walk=None):
    schedule = make_schedule(ALPHA_BAR, 12, eta=1.0)
    x = noise.normal(x0.shape, "start", 0, CPU)
    predict = make_predictor(ConditionedGaussian(), schedule, len(x), cond, cond - 1, Guidance(2.0))
    steps = ddim_steps(
        predict, x, schedule, noise=noise, dropout=0.2, temperature=0.9, inpaint=Inpaint(MASK, x0), walk=walk
    )
    return list(steps)[-1].x


@pytest.mark.parametrize("walk", [None, repaint_walk(12, 4, 3)])
def test_a_batch_gives_each_sample_what_it_gets_alone(walk):
    x0, cond, seeds = drawn(4, 4, 8, 8, seed=9), torch.linspace(0, 1, 4), (3, 1, 4, 1)
    together = noisy_run(KeyedNoise.per_sample(seeds), x0, cond, walk)
    for j, seed in enumerate(seeds):
        alone = noisy_run(KeyedNoise.batch(seed, 1), x0[j : j + 1], cond[j : j + 1], walk)
        torch.testing.assert_close(together[j : j + 1], alone, rtol=0, atol=1e-5)
    batch = noisy_run(KeyedNoise.batch(5, 4), x0, cond, walk)
    halves = [noisy_run(KeyedNoise.batch(5, 2, first=k), x0[k : k + 2], cond[k : k + 2], walk) for k in (0, 2)]
    torch.testing.assert_close(batch, torch.cat(halves), rtol=0, atol=1e-5)


def test_a_run_taken_up_again_ends_the_same():
    schedule, noise = make_schedule(ALPHA_BAR, 12, eta=1.0), KeyedNoise.batch(0, 2)
    whole = run(schedule, noise=noise)
    rest = run(schedule, noise=noise, x=whole[6].x, walk=range(7, 12))
    assert torch.equal(rest[-1].x, whole[-1].x)


def test_slerp():
    a, b = drawn(3, 4, 64, 64, seed=1), drawn(3, 4, 64, 64, seed=2)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    middle = slerp(a, b, 0.5)
    assert middle.std(dim=(1, 2, 3)).tolist() == pytest.approx([1] * 3, abs=0.01)
    a, b = (v / v.flatten(1).norm(dim=1).view(3, 1, 1, 1) for v in (a, b))
    torch.testing.assert_close(slerp(slerp(a, b, 0.3), b, 0.5), slerp(a, b, 0.65))
    torch.testing.assert_close(slerp(a, a, 0.3), a)
    unit = torch.eye(2)[:, None]
    torch.testing.assert_close(slerp(unit[:1], unit[1:], 1 / 3), torch.tensor([[[3**0.5 / 2, 0.5]]]))
    with pytest.raises(ValueError, match="expected one shape"):
        slerp(a, b[:1], 0.5)


def test_variations():
    base, other = KeyedNoise.batch(1, 2), KeyedNoise.batch(2, 2)
    shape = (2, 4, 8, 8)
    a, b = (source.normal(shape, "start", 0, CPU) for source in (base, other))
    varied = Variation(base, other, 0.25)
    torch.testing.assert_close(varied.normal(shape, "start", 0, CPU), slerp(a, b, 0.25))
    assert torch.equal(varied.normal(shape, "step", 3, CPU), base.normal(shape, "step", 3, CPU))
    with pytest.raises(ValueError, match=r"strength is 1\.1"):
        Variation(base, other, 1.1)


def test_temperature_and_dropout_act_on_the_noise_alone():
    schedule = make_schedule(ALPHA_BAR, 5, eta=1.0)
    noise = KeyedNoise.batch(0, 2)
    z = noise.normal(X_T.shape, "step", 0, CPU)
    cold, warm = (run(schedule, noise=noise, temperature=t)[0].x for t in (0.0, 0.5))
    torch.testing.assert_close(warm - cold, 0.5 * float(schedule.sigma[0]) * z, rtol=0, atol=1e-6)
    thinned = run(schedule, noise=noise, dropout=0.5)[0].x - cold
    torch.testing.assert_close(thinned, 2 * float(schedule.sigma[0]) * z * (thinned != 0), rtol=0, atol=1e-6)
    assert (thinned == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    ramp = run(schedule, noise=noise, temperature=Curve(((0.0, 0.5), (1.0, 1.0))))
    assert torch.equal(ramp[0].x, warm)


def test_sequential_noise_follows_its_generator():
    schedule = make_schedule(ALPHA_BAR, 5, eta=0.5)
    one, two = (run(schedule, noise=SequentialNoise(torch.Generator().manual_seed(1))) for _ in range(2))
    assert torch.equal(one[-1].x, two[-1].x)
    with pytest.raises(ValueError, match="need a noise source"):
        run(schedule)


# Masks


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_the_kept_area_is_x0_bit_for_bit(dtype, eta):
    x0 = drawn(2, 4, 8, 8, seed=5).to(dtype)
    schedule = PRESETS["exact"].schedule(ALPHA_BAR, 7, eta)
    steps = run(schedule, x=X_T.to(dtype), noise=KeyedNoise.batch(0, 2), inpaint=PRESETS["exact"].inpaint(MASK, x0))
    kept = MASK.bool().expand(2, 4, 8, 8)
    assert torch.equal(steps[-1].x.to(dtype)[kept], x0[kept])
    assert (steps[-1].x[~kept] != x0[~kept]).all()


def test_a_soft_mask_mixes():
    x0, half = drawn(2, 4, 8, 8, seed=5), torch.full((1, 1, 8, 8), 0.25)
    schedule = make_schedule(ALPHA_BAR, 7)
    noise = KeyedNoise.batch(0, 2)
    unfinished = run(schedule, noise=noise, inpaint=Inpaint(half, x0, last=False))[-1].x
    finished = run(schedule, noise=noise, inpaint=Inpaint(half, x0))[-1].x
    torch.testing.assert_close(finished, 0.25 * x0 + 0.75 * unfinished)


def test_under_a_full_mask_every_call_sees_x0_at_its_level():
    x0, schedule, seen = drawn(2, 4, 8, 8, seed=5), make_schedule(ALPHA_BAR, 4), []
    noise = KeyedNoise.batch(0, 2)

    def predict(x, i):
        seen.append((x - float(schedule.signal[i]) * x0) / float(schedule.noise[i]))
        return x, x

    for fixed in (True, False):
        seen.clear()
        list(ddim_steps(predict, X_T, schedule, noise=noise, inpaint=Inpaint(torch.ones(1), x0, fixed_noise=fixed)))
        for i, z in enumerate(seen):
            expected = noise.normal(x0.shape, "mask", 0 if fixed else i, CPU)
            torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-3)


# Jumps


def test_repaint_walk():
    assert repaint_walk(5, 2, 2) == [0, 1, 0, 1, 2, 3, 2, 3, 4, 4]
    assert repaint_walk(3, 10, 1) == [0, 1, 2]
    with pytest.raises(ValueError, match="jump_length 0"):
        repaint_walk(5, 0, 2)


def test_jumping_back_is_the_forward_process():
    """A predictor that knows x0 exactly: whatever the walk, x stays x0 at its level, with unit noise."""
    schedule, x0 = make_schedule(ALPHA_BAR, 6, landing="first"), torch.full((1, 1, 256, 256), 2.0)

    def predict(x, i):
        return x0, (x - float(schedule.signal[i]) * x0) / float(schedule.noise[i])

    start = schedule.noised(x0, drawn(1, 1, 256, 256))
    for step in ddim_steps(predict, start, schedule, noise=KeyedNoise.batch(0, 1), walk=repaint_walk(6, 3, 4)):
        z = (step.x - schedule.signal[step.index + 1] * x0) / schedule.noise[step.index + 1]
        assert z.mean().item() == pytest.approx(0, abs=0.03) and z.std().item() == pytest.approx(1, abs=0.02)


def test_repaint_pulls_the_hole_toward_what_is_kept():
    """Neighbouring pixels are one: the more repeats, the more of the kept half reaches the other."""
    schedule, x0 = make_schedule(ALPHA_BAR, 20), torch.full((1, 2, 400), 1.5)
    mask = torch.tensor([1.0, 0.0]).view(1, 2, 1)
    inverse = [np.linalg.inv(a * np.array([[1, 0.9], [0.9, 1]]) + (1 - a) * np.eye(2)) for a in schedule.alpha_bar[:-1]]

    def predict(x, i):
        eps = float(schedule.noise[i]) * torch.einsum("ij,bjn->bin", torch.from_numpy(inverse[i]).float(), x)
        return (x - float(schedule.noise[i]) * eps) / float(schedule.signal[i]), eps

    means = []
    for repeats in (1, 10):
        walk = repaint_walk(20, 2, repeats)
        start = drawn(1, 2, 400)
        steps = ddim_steps(predict, start, schedule, noise=KeyedNoise.batch(0, 1), inpaint=Inpaint(mask, x0), walk=walk)
        means.append(list(steps)[-1].x[0, 1].mean().item())
    # The exact conditional mean is 0.9 x 1.5.
    assert abs(means[1] - 1.35) < 0.15 and abs(means[0] - 1.35) > 0.5


# Errors and manners


def test_nothing_runs_before_the_first_step_is_asked_for_and_a_run_can_be_left():
    model = ConditionedGaussian()
    steps = ddim_steps(make_predictor(model, make_schedule(ALPHA_BAR, 5), 2, C), X_T, make_schedule(ALPHA_BAR, 5))
    assert not model.asked
    next(steps)
    steps.close()
    assert len(model.asked) == 1


def test_the_callers_gradient_mode_is_its_own():
    steps = ddim_steps(
        make_predictor(ConditionedGaussian(), make_schedule(ALPHA_BAR, 2), 2, C),
        X_T.clone().requires_grad_(),
        make_schedule(ALPHA_BAR, 2),
    )
    step = next(steps)
    assert torch.is_grad_enabled() and not step.x.requires_grad


def test_nan_from_the_model_names_the_step():
    schedule = make_schedule(ALPHA_BAR, 10)

    def predict(x, i):
        return x, x / 0 if i == 6 else x

    with pytest.raises(NotFiniteError, match="at step 6, timestep 301"):
        list(ddim_steps(predict, X_T, schedule))


def test_states_do_not_share_memory():
    steps = run(make_schedule(ALPHA_BAR, 6))
    assert len({step.x.data_ptr() for step in steps}) == 6


def test_bad_walks_and_inputs():
    schedule, predict = make_schedule(ALPHA_BAR, 5), lambda x, i: (x, x)
    for walk in ([0, 2], [5], [-1, 0]):
        with pytest.raises(ValueError, match="the walk is"):
            next(ddim_steps(predict, X_T, schedule, walk=walk))
    with pytest.raises(ValueError, match="has NaN or infinity"):
        next(ddim_steps(predict, X_T / 0, schedule))
    with pytest.raises(ValueError, match="need a noise source"):
        next(ddim_steps(predict, X_T, schedule, walk=[0, 0]))
    with pytest.raises(ValueError, match="temperature has the value -1"):
        next(ddim_steps(predict, X_T, schedule, temperature=-1))


def test_flow_models_are_told_fractions():
    told = []
    schedule = make_flow_schedule(4, shift=3.0)
    guide = lambda x, t, i: (told.append(t[0].item()), Guided(x))[1]  # noqa: E731
    list(ddim_steps(Predictor(guide, schedule, "flow"), X_T, schedule))
    assert told == pytest.approx([1000, 900, 750, 500])
