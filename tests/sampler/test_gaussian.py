"""Gaussian data: the model, every DDIM step and the exact solution are known in closed form."""

import numpy as np
import pytest
import torch
from comfyui_ddim.sampler import (
    SPACINGS,
    FixedPoint,
    Predictor,
    Replay,
    ddim_steps,
    invert_steps,
    make_flow_schedule,
    make_predictor,
    make_schedule,
    zero_terminal_snr,
)
from models import ALPHA_BAR, MEAN, VAR, GaussianOnLevels


class Given:
    """Noise known beforehand."""

    sequential = False

    def __init__(self, z):
        self.z = z

    def normal(self, shape, use, step, device):
        return self.z[step]


def run(schedule, x, parameterization="eps", **kwargs):
    predict = make_predictor(GaussianOnLevels(schedule, parameterization), schedule, len(x), None)
    return list(ddim_steps(predict, x, schedule, **kwargs))


def x_T(dtype=torch.float64):
    return torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)).to(dtype)


def closed_form(schedule, x, z=None):
    """x - s m shrinks at every step by (s s' v + n d) / (s^2 v + n^2)."""
    for i in range(len(schedule)):
        s, n, s_prev = schedule.signal[i], schedule.noise[i], schedule.signal[i + 1]
        a_prev, a_t = s_prev**2, s**2
        sigma = schedule.eta[i] * np.sqrt((1 - a_prev) / (1 - a_t) * (1 - a_t / a_prev))
        d = np.sqrt(1 - a_prev - sigma**2)
        x = s_prev * MEAN + (x - s * MEAN) * (s * s_prev * VAR + n * d) / (a_t * VAR + n**2)
        x = x if z is None else x + sigma * z[i]
    return x


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("landing", ["clean", "first"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_runs_end_where_the_closed_form_does(spacing, landing, eta):
    schedule = make_schedule(ALPHA_BAR, 23, spacing=spacing, landing=landing, eta=eta)
    z = torch.randn(len(schedule), 3, 4, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    end = run(schedule, x_T(), noise=Given(z))[-1].x
    torch.testing.assert_close(end, closed_form(schedule, x_T(), z), rtol=0, atol=1e-10)


@pytest.mark.parametrize("parameterization", ["v", "x0"])
def test_parameterizations_agree(parameterization):
    schedule = make_schedule(ALPHA_BAR, 20)
    steps = run(schedule, x_T(), parameterization)
    for ours, eps in zip(steps, run(schedule, x_T()), strict=True):
        for a, b in zip(ours[2:], eps[2:], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def order(schedules):
    """The slope of the error against S in logarithms; the exact flow keeps (x - s m) / sqrt(s^2 v + n^2)."""
    errors = []
    for schedule in schedules:
        (s, s_end), (n, n_end) = schedule.signal[[0, -1]], schedule.noise[[0, -1]]
        exact = s_end * MEAN + (x_T() - s * MEAN) * np.sqrt((s_end**2 * VAR + n_end**2) / (s**2 * VAR + n**2))
        kind = "flow" if s + n == 1 else "eps"
        errors.append((run(schedule, x_T(), kind)[-1].x - exact).pow(2).mean().sqrt().item())
    return -np.polyfit(np.log([len(s) for s in schedules]), np.log(errors), 1)[0]


def test_first_order_of_convergence():
    counts = (25, 50, 100, 200)
    even = [make_schedule(ALPHA_BAR, count, spacing="karras", landing="first") for count in counts]
    assert order(even) == pytest.approx(1, abs=0.02)
    assert order([make_flow_schedule(count) for count in counts]) == pytest.approx(1, abs=0.02)
    # Strides that are even in t are coarse in log sigma at the clean end, which hides part of the slope.
    assert order([make_schedule(ALPHA_BAR, count, spacing="trailing") for count in counts]) == pytest.approx(1, abs=0.1)


def test_flow_at_eta_0_is_eulers_method():
    schedule = make_flow_schedule(12, shift=2.0)
    x = x_T()
    for i in range(12):
        t, t_next = schedule.noise[i], schedule.noise[i + 1]
        s, n = 1 - t, t
        off = (x - s * MEAN) / (VAR * s**2 + n**2)
        x = x + (t_next - t) * (n * off - MEAN - VAR * s * off)
    torch.testing.assert_close(run(schedule, x_T(), "flow")[-1].x, x, rtol=0, atol=1e-12)


def test_flow_with_eta_keeps_the_distribution():
    schedule = make_flow_schedule(100, eta=1.0)
    x = torch.randn(1, 50_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    z = torch.randn(100, 1, 50_000, generator=torch.Generator().manual_seed(4))
    end = run(schedule, x, "flow", noise=Given(z))[-1].x
    assert end.mean().item() == pytest.approx(MEAN, abs=0.02) and end.var().item() == pytest.approx(VAR, abs=0.05)


def test_zero_terminal_snr_starts_from_nothing():
    schedule = make_schedule(zero_terminal_snr(ALPHA_BAR), 20, spacing="trailing")
    end = run(schedule, x_T(), "v")[-1].x
    # From no signal at all the first prediction is the mean, whatever x_T.
    torch.testing.assert_close(run(schedule, x_T(), "v")[0].x0, torch.full_like(end, MEAN))
    torch.testing.assert_close(end, closed_form(schedule, x_T()), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="timestep 999 without any signal"):
        Predictor(lambda x, t, i: None, schedule, "eps")


def round_trip(schedule, x, solve=None, parameterization="eps", replay=False):
    predict = make_predictor(GaussianOnLevels(schedule, parameterization), schedule, len(x), None)
    kept = Replay()
    steps = []
    for step in invert_steps(predict, x, schedule, solve):
        kept.see(step)
        steps.append(step)
    back = list(ddim_steps(predict, steps[-1].x, schedule, after=kept.correct if replay else None))[-1].x
    return (back.double() - x.double()).pow(2).mean().sqrt().item(), steps, predict


def data(dtype=torch.float32):
    return (MEAN + VAR**0.5 * x_T()).to(dtype)


@pytest.mark.parametrize("landing", ["clean", "first"])
@pytest.mark.parametrize("kind", ["eps", "v"])
def test_round_trips(kind, landing):
    schedule = make_schedule(ALPHA_BAR, 50, landing=landing)
    plain, steps, predict = round_trip(schedule, data(), None, kind)
    assert 0.005 < plain <= 0.015
    assert sum(step.calls for step in steps) == predict.guide.calls - 50 == 50
    assert round_trip(schedule, data(), FixedPoint(5), kind)[0] <= 1e-6
    exact, steps, _ = round_trip(schedule, data(), FixedPoint(1, measure=True), kind, replay=True)
    assert exact == 0 and sum(step.calls for step in steps) == 100


def test_fixed_point_converges_to_the_exact_inverse():
    schedule = make_schedule(ALPHA_BAR, 10)
    rms, steps, _ = round_trip(schedule, data(torch.float64), FixedPoint(100, tolerance=1e-12))
    assert rms < 1e-10
    assert max(step.residual.max() for step in steps) <= 1e-12
    x = closed = data(torch.float64)
    for i in reversed(range(10)):
        s, n, s_prev, n_prev = schedule.signal[i], schedule.noise[i], schedule.signal[i + 1], schedule.noise[i + 1]
        closed = s * MEAN + (closed - s_prev * MEAN) * (s**2 * VAR + n**2) / (s * s_prev * VAR + n * n_prev)
    torch.testing.assert_close(steps[-1].x, closed, rtol=0, atol=1e-9)
    damped = round_trip(schedule, x, FixedPoint(100, tolerance=1e-12, damping=0.6))
    assert damped[0] < 1e-10 and sum(s.calls for s in damped[1]) > sum(s.calls for s in steps)


def test_a_sample_within_the_tolerance_is_left_alone():
    schedule = make_schedule(ALPHA_BAR, 10)
    together = round_trip(schedule, data(torch.float64), FixedPoint(50, tolerance=1e-6))[1][-1].x
    for j in range(3):
        alone = round_trip(schedule, data(torch.float64)[j : j + 1], FixedPoint(50, tolerance=1e-6))[1][-1].x
        assert torch.equal(alone[0], together[j])


def test_what_cannot_be_inverted_is_refused():
    noisy = make_schedule(ALPHA_BAR, 10, eta=0.5)
    with pytest.raises(ValueError, match="expected 0: noise can't be undone"):
        next(invert_steps(None, data(), noisy))
    with pytest.raises(ValueError, match="has no signal"):
        next(invert_steps(None, data(), make_flow_schedule(4)))
    for bad in ({"iterations": 0}, {"tolerance": -1}, {"damping": 0}, {"damping": 1.5}):
        with pytest.raises(ValueError, match="expected iterations at least 1"):
            FixedPoint(**bad)
