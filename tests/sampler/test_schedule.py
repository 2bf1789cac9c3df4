import re

import numpy as np
import pytest
import torch
from comfyui_ddim.sampler import (
    BETA_SCHEDULES,
    PRESETS,
    SPACINGS,
    Curve,
    Interval,
    alphas_cumprod,
    make_betas,
    make_flow_schedule,
    make_schedule,
    resolve,
    zero_terminal_snr,
)
from models import ALPHA_BAR

EXACT = [name for name in SPACINGS if not name.startswith("published")]


@pytest.mark.parametrize("spacing", EXACT)
def test_every_number_of_steps_is_kept(spacing):
    for steps in range(1, 1001):
        t = make_schedule(ALPHA_BAR, steps, spacing=spacing).timesteps
        assert len(t) == steps
        assert (np.diff(t) < 0).all()
        assert t[-1] >= 0 and t[0] <= 999


@pytest.mark.parametrize("spacing", EXACT)
def test_odd_training_lengths(spacing):
    for total in (1, 2, 3, 7, 100, 4000):
        alpha_bar = alphas_cumprod(make_betas(num_timesteps=total)) if total > 1 else np.array([0.5])
        for steps in {1, 2, total // 2, total - 1, total} & set(range(1, total + 1)):
            t = make_schedule(alpha_bar, steps, spacing=spacing).timesteps
            assert len(t) == steps and (np.diff(t) < 0).all() and t[-1] >= 0 and t[0] < total


TABLES = {  # printed by the projects' own functions for 10 steps
    "uniform": [901, 801, 701, 601, 501, 401, 301, 201, 101, 1],
    "leading": [901, 801, 701, 601, 501, 401, 301, 201, 101, 1],
    "trailing": [999, 899, 799, 699, 599, 499, 399, 299, 199, 99],
    "linspace": [999, 888, 777, 666, 555, 444, 333, 222, 111, 0],
    "published": [901, 801, 701, 601, 501, 401, 301, 201, 101, 1],
    "published_quad": [801, 633, 484, 356, 247, 159, 89, 40, 10, 1],
}


@pytest.mark.parametrize("spacing", TABLES)
def test_tables_of_ten_steps(spacing):
    assert make_schedule(ALPHA_BAR, 10, spacing=spacing).timesteps.tolist() == TABLES[spacing]


def test_uniform_is_the_published_table_where_that_has_as_many_steps():
    same = []
    for steps in range(1, 1001):
        a = make_schedule(ALPHA_BAR, steps).timesteps
        b = make_schedule(ALPHA_BAR, steps, spacing="published").timesteps
        same += [steps] if a.tolist() == b.tolist() else []
    # 999's divisors are among those on which the published code itself crashes; 1 begins at 999.
    assert same == [s for s in range(2, 1000) if 1000 % s == 0 or 999 % s == 0]


def test_karras_is_even_in_the_seventh_root_of_sigma():
    schedule = make_schedule(ALPHA_BAR, 12, spacing="karras")
    sigma = np.sqrt((1 - schedule.alpha_bar[:-1]) / schedule.alpha_bar[:-1])
    strides = np.diff(sigma ** (1 / 7))
    assert strides.std() < 0.05 * -strides.mean()


@pytest.mark.parametrize("steps", [0, -1, 1001, 2.5, True, "10"])
def test_steps_out_of_range(steps):
    with pytest.raises(ValueError, match=r"steps is .*expected a whole number from 1 to 1000|timesteps are"):
        make_schedule(ALPHA_BAR, steps)


def test_explicit_timesteps():
    schedule = make_schedule(ALPHA_BAR, [700, 300, 40])
    assert schedule.timesteps.tolist() == [700, 300, 40]
    np.testing.assert_array_equal(schedule.alpha_bar[:-1], ALPHA_BAR[[700, 300, 40]])
    for bad in ([1, 2, 3], [5, 5], [1000, 1], [3, -1], [], [2.5, 1.5]):
        with pytest.raises(ValueError, match="timesteps are"):
            make_schedule(ALPHA_BAR, bad)


def test_levels_chain_and_land():
    clean, first = make_schedule(ALPHA_BAR, 20), make_schedule(ALPHA_BAR, 20, landing="first")
    assert clean.alpha_bar[-1] == 1 and first.alpha_bar[-1] == pytest.approx(0.99915, abs=1e-12)
    np.testing.assert_allclose(clean.alpha_bar[:-1], ALPHA_BAR[clean.timesteps], rtol=1e-15)
    with pytest.raises(ValueError, match="landing 'soft' is not one of clean, first"):
        make_schedule(ALPHA_BAR, 20, landing="soft")


def test_sigma_is_equation_16_and_direction_that_of_12():
    schedule = make_schedule(ALPHA_BAR, 37, landing="first", eta=0.7)
    a_t, a_prev = schedule.alpha_bar[:-1], schedule.alpha_bar[1:]
    sigma = 0.7 * np.sqrt((1 - a_prev) / (1 - a_t)) * np.sqrt(1 - a_t / a_prev)
    np.testing.assert_allclose(schedule.sigma, sigma, rtol=1e-9)
    np.testing.assert_allclose(schedule.direction, np.sqrt(1 - a_prev - sigma**2), rtol=1e-9)


def test_no_noise_on_a_step_that_lands_clean():
    assert make_schedule(ALPHA_BAR, 20, eta=1.0).sigma[-1] == 0


# Where the published code first gives NaN, found by running it.
@pytest.mark.parametrize(("steps", "bound"), [(5, 1.0026), (10, 1.0072), (20, 1.0168), (50, 1.0456), (100, 1.0920)])
def test_eta_above_its_bound_is_refused_with_the_bound(steps, bound):
    make_schedule(ALPHA_BAR, steps, landing="first", eta=bound - 1e-4)
    with pytest.raises(ValueError, match="expected at most") as refusal:
        make_schedule(ALPHA_BAR, steps, landing="first", eta=bound + 1e-4)
    assert float(re.search(r"at most ([\d.]+)", str(refusal.value))[1]) == pytest.approx(bound, abs=1e-4)
    with pytest.raises(ValueError, match=r"eta has the value -0\.1"):
        make_schedule(ALPHA_BAR, steps, eta=-0.1)


def test_a_list_of_etas_is_refused_with_the_bound_of_its_step():
    bounds = []
    for i in range(9):  # the last of ten steps lands clean, so there any eta adds nothing
        with pytest.raises(ValueError, match=f"eta is 9.0 at step {i}, expected at most") as refusal:
            make_schedule(ALPHA_BAR, 10, eta=[0.0] * i + [9.0] + [0.0] * (9 - i))
        bounds.append(float(re.search(r"at most ([\d.]+) there", str(refusal.value))[1]))
    schedule = make_schedule(ALPHA_BAR, 10, eta=[*(b - 1e-5 for b in bounds), 9.0])
    # At the bound all of the next level's noise is fresh.
    np.testing.assert_allclose(schedule.sigma, schedule.noise[1:], rtol=1e-4)


def test_denoise_runs_the_end_of_a_longer_table():
    schedule = make_schedule(ALPHA_BAR, 20, denoise=0.4, eta=[0.0] * 19 + [1.0])
    assert schedule.timesteps.tolist() == make_schedule(ALPHA_BAR, 50).timesteps[-20:].tolist()
    assert schedule.eta.tolist() == [0.0] * 19 + [1.0]
    with pytest.raises(ValueError, match="need a table of 2000"):
        make_schedule(ALPHA_BAR, 20, denoise=0.01)
    with pytest.raises(ValueError, match="denoise is 0"):
        make_schedule(ALPHA_BAR, 20, denoise=0)


def test_the_given_alpha_bar_is_checked():
    for bad in (ALPHA_BAR[::-1], [[0.5]], [1.0, 0.5], [0.5, float("nan")]):
        with pytest.raises(ValueError, match="alphas_cumprod"):
            make_schedule(np.array(bad), 1)


def test_a_schedule_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        make_schedule(ALPHA_BAR, 4).signal[0] = 1


def test_presets():
    def table(name, steps):
        return PRESETS[name].schedule(ALPHA_BAR, steps)

    assert [len(table(name, 30)) for name in ("exact", "published", "diffusers", "comfyui")] == [30, 31, 30, 31]
    assert [len(table(name, 1000)) for name in ("exact", "published", "diffusers", "comfyui")] == [1000, 999, 1000, 999]
    assert [table(name, 7).alpha_bar[-1] == 1 for name in ("exact", "published", "diffusers", "comfyui")] == [
        1,
        0,
        0,
        1,
    ]
    assert table("diffusers", 30).timesteps[:2].tolist() == [958, 925]


def test_flow_levels_and_shift():
    schedule = make_flow_schedule(4, shift=3.0)
    t = np.array([1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(schedule.noise, 3 * t / (1 + 2 * t))
    np.testing.assert_allclose(schedule.signal + schedule.noise, 1)
    np.testing.assert_allclose(schedule.timesteps, 1000 * schedule.noise[:-1])


def test_betas_have_the_published_ends():
    assert ALPHA_BAR[[0, 1, -1]] == pytest.approx([0.99915, 0.998296, 0.00466010], abs=1e-6)
    linear = make_betas("linear", 1000, 1e-4, 0.02)
    assert linear[[0, -1]] == pytest.approx([1e-4, 0.02]) and np.ptp(np.diff(linear)) < 1e-15
    np.testing.assert_allclose(make_betas("sqrt", 1000, 1e-4, 0.02) ** 2, linear)
    cosine = alphas_cumprod(make_betas("cosine"))
    u = np.arange(1, 990) / 1000
    expected = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(cosine[:989], expected, rtol=1e-9)
    assert make_betas("cosine")[-1] == 0.999
    for kind in BETA_SCHEDULES:
        assert ((make_betas(kind) > 0) & (make_betas(kind) < 1)).all()
    with pytest.raises(ValueError, match="beta schedule 'cubic' is not one of"):
        make_betas("cubic")


def test_zero_terminal_snr():
    rescaled = zero_terminal_snr(ALPHA_BAR)
    assert rescaled[-1] == 0 and rescaled[0] == pytest.approx(ALPHA_BAR[0], rel=1e-12)
    assert (np.diff(rescaled) < 0).all()
    assert make_schedule(rescaled, 10, spacing="trailing").signal[0] == 0


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("kind", BETA_SCHEDULES)
def test_one_function_makes_a_schedule_of_any_betas(kind, zero_snr):
    alpha_bar = np.cumprod(1 - make_betas(kind))
    root = np.sqrt(alpha_bar)
    rescaled = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    schedule = make_schedule(kind, 20, spacing="trailing", zero_snr=zero_snr)
    expected = (rescaled if zero_snr else alpha_bar)[schedule.timesteps]
    np.testing.assert_allclose(schedule.alpha_bar[:-1], expected, rtol=1e-12, atol=1e-30)
    assert schedule.alpha_bar.dtype == np.float64 and (schedule.signal[0] == 0) == zero_snr
    with pytest.raises(ValueError, match="beta schedule 'cubic' is not one of"):
        make_schedule("cubic", 20)


def test_values_per_step():
    assert resolve(2, 3, "eta") == (2.0, 2.0, 2.0)
    assert resolve([1, 2, 3], 3, "eta") == (1.0, 2.0, 3.0)
    assert resolve(np.array(2.5), 2, "eta") == resolve(torch.tensor(2.5), 2, "eta") == (2.5, 2.5)
    assert resolve(np.array([1, 2]), 2, "eta") == resolve(torch.tensor([1.0, 2.0]), 2, "eta") == (1.0, 2.0)
    for bad in ("fast", None, [1, "x"], torch.ones(2, 2), [[1, 2], [3, 4]]):
        with pytest.raises(ValueError, match=r"eta is [^$]*, expected a number, 2 numbers or a curve"):
            resolve(bad, 2, "eta")
    assert resolve(lambda u: u, 5, "eta") == (0, 0.25, 0.5, 0.75, 1)
    assert resolve(lambda u: u, 1, "eta") == (0.0,)
    assert resolve(Curve(((0.25, 1.0), (0.75, 3.0))), 5, "eta") == (1, 1, 2, 3, 3)
    assert resolve(Curve(((0.5, 1.0), (0.5, 3.0))), 3, "eta") == (1, 3, 3)
    assert resolve(Interval(7.0, 0.25, 0.5), 5, "eta") == (1, 7, 7, 1, 1)
    with pytest.raises(ValueError, match="eta has 3 values, expected one for each of the 4 steps"):
        resolve([1, 2, 3], 4, "eta")
    with pytest.raises(ValueError, match="eta has the value nan"):
        resolve([1, float("nan")], 2, "eta")
    with pytest.raises(ValueError, match="u rising"):
        Curve(((0.5, 1.0), (0.2, 3.0)))
    with pytest.raises(ValueError, match=r"interval is 0\.6"):
        Interval(1.0, 0.6, 0.5)
