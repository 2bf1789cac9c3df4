"""Every option of the sampler on a device that is not the CPU: the CPU's numbers, and no wait in the loop."""

import numpy as np
import pytest
import torch
from comfyui_ddim.sampler import (
    PRESETS,
    ComfyNoise,
    Curve,
    DDIMSampler,
    FixedPoint,
    Guidance,
    Inpaint,
    Interval,
    KeyedNoise,
    OneForAll,
    Replay,
    Scheme,
    SequentialNoise,
    Threshold,
    Variation,
    ddim_steps,
    invert_steps,
    make_flow_schedule,
    make_predictor,
    make_schedule,
    quantizer,
    repaint_walk,
    schedule_of_sigmas,
    slerp,
)
from gpu import meant
from gpu.emulated import CPU, DEVICE, Gpu, emulated
from models import ALPHA_BAR, drawn

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
BATCH, SHAPE, STEPS = 2, (2, 4, 6, 6), 6


class Model:
    """Some function of x, t and the conditioning, with its tables where it is; it counts for the device."""

    num_timesteps = 1000

    def __init__(self, device: torch.device, dtype: torch.dtype, gpu: Gpu | None, parameterization: str = "eps"):
        self.gpu, self.dtype, self.parameterization = gpu, dtype, parameterization
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        a = torch.cumprod(1 - betas, 0)
        before = torch.cat([torch.ones(1), a[:-1]])
        self.betas, self.alphas_cumprod, self.alphas_cumprod_prev = (v.to(device, dtype) for v in (betas, a, before))
        self.first_stage_model = self

    def apply_model(self, x, t, cond):
        assert t.device == x.device and x.dtype == self.dtype
        out = 0.7 * x + 0.2 * torch.sin(3 * x + t.reshape(-1, 1, 1, 1).to(x.dtype) / 100)
        while isinstance(cond, dict | list):
            cond = next(iter(cond.values())) if isinstance(cond, dict) else cond[0]
        if cond is not None:
            out = out + cond.mean(dim=tuple(range(1, cond.ndim))).reshape(-1, 1, 1, 1).to(x.dtype)
        if self.gpu is not None:
            self.gpu.calls += 1
        return out

    def q_sample(self, x0, t, noise=None):
        a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * x0 + (1 - a).sqrt() * (torch.randn_like(x0) if noise is None else noise)

    def quantize(self, x):
        return x.round(decimals=1), None, None

    def modify_score(self, model, eps, x, t, cond, strength=0.1):
        return eps + strength * torch.cos(x)


class Case:
    """One run's surroundings on a device: x_T, conditionings, a mask, and the sampler's calls with options."""

    def __init__(self, device: torch.device, dtype: torch.dtype, gpu: Gpu | None = None):
        self.device, self.dtype, self.gpu = device, dtype, gpu
        self.model = Model(device, dtype, gpu)
        self.x, self.x0 = (self.put(drawn(*SHAPE, seed=seed)) for seed in (1, 2))
        self.cond, self.uncond = (self.put(drawn(BATCH, 5, 3, seed=seed)) for seed in (3, 4))
        self.mask = (drawn(1, 1, 6, 6, seed=5) > 0).float().to(device)
        self.noise = KeyedNoise.batch(7, BATCH)
        self.schedule = make_schedule(ALPHA_BAR, STEPS, eta=0.5)

    def end_of_run(self):
        if self.gpu is not None:
            meant.check(self.gpu)

    def put(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.device, self.dtype)

    def predict(self, schedule=None, guidance=None, parameterization="eps", cond=None, uncond=None, **options):
        self.model.parameterization = parameterization
        conds = (self.cond if cond is None else cond, self.uncond if uncond is None else uncond)
        schedule = self.schedule if schedule is None else schedule
        guidance = guidance or Guidance(3.0)
        return make_predictor(self.model, schedule, BATCH, *conds, guidance, dtype=self.dtype, **options)

    def run(self, schedule=None, predict=None, x=None, noise=None, **options):
        schedule = self.schedule if schedule is None else schedule
        noise = self.noise if noise is None else noise
        predict = self.predict(schedule) if predict is None else predict
        steps = list(ddim_steps(predict, self.x if x is None else x, schedule, noise=noise, **options))
        return steps[-1].x, steps[-1].x0, steps[0].eps

    def inpaint(self, **options):
        return self.run(inpaint=Inpaint(self.mask, self.x0, **options))

    def generator(self, device=None):
        return torch.Generator(device or self.device).manual_seed(9)

    def preset(self, name, denoise=1.0):
        scheme = PRESETS[name]
        schedule = scheme.schedule(ALPHA_BAR, STEPS, 0.3, denoise)
        start = scheme.start(schedule, self.x, self.x0 if denoise < 1 or scheme.under else None, denoise == 1)
        return self.run(schedule, x=start, inpaint=scheme.inpaint(self.mask, self.x0))

    def sigmas(self, flow):
        levels = torch.linspace(1, 0.1, STEPS + 1).to(self.device)
        schedule = schedule_of_sigmas(levels, np.linspace(900, 10, STEPS), flow=flow, eta=0.2)
        return self.run(schedule, self.predict(schedule, parameterization="flow" if flow else "v"))

    def invert(self, solve):
        schedule, replay = self.schedule.with_eta(0), Replay()
        predict = self.predict(schedule, Guidance(1.0))
        *_, last = steps = list(invert_steps(predict, self.x0, schedule, solve))
        self.end_of_run()
        for step in steps:
            replay.see(step)
        back = self.run(schedule, predict, x=last.x, after=replay.correct) if solve.measure else ()
        return last.x, last.residual, *back

    def published(self, steps=STEPS, **options):
        sampler = DDIMSampler(self.model, device=self.device)
        seen = []
        options = {"x_T": self.x, "verbose": False, "img_callback": lambda x0, i: seen.append(x0), **options}
        x, kept = sampler.sample(steps, BATCH, SHAPE[1:], self.cond, callback=lambda i: None, **options)
        return x, *kept["x_inter"], *kept["pred_x0"], *seen

    def sampler(self, eta=0.0):
        sampler = DDIMSampler(self.model, device=self.device)
        sampler.make_schedule(10, ddim_eta=eta, verbose=False)
        return sampler

    def guided(self):
        return {"unconditional_guidance_scale": 3.0, "unconditional_conditioning": self.uncond}

    def one_step(self, **options):
        t = torch.full((BATCH,), 301, device=self.device)
        sampler = self.sampler(0.5)
        return sampler.p_sample_ddim(self.x, self.cond, t, 3, noise=self.noise, **self.guided(), **options)

    def there_and_back(self, replay=None):
        sampler = self.sampler()
        x, _ = sampler.encode(self.x0, self.cond, 6, return_intermediates=2, replay=replay, **self.guided())
        self.end_of_run()
        return x, sampler.decode(x, self.cond, 6, replay=replay, **self.guided())


def global_noise(case, noise):
    torch.manual_seed(11)
    return case.run(noise=noise, dropout=0.2)


def parts(case):
    first = list(ddim_steps(case.predict(), case.x, case.schedule, noise=case.noise, walk=range(3), joins=True))
    case.end_of_run()
    return case.run(x=first[-1].x, walk=range(3, STEPS), joins=True)


RUNS = {
    "eta 0": lambda c: c.run(make_schedule(ALPHA_BAR, STEPS)),
    "eta 0.5": lambda c: c.run(),
    "eta schedule": lambda c: c.run(make_schedule(ALPHA_BAR, STEPS, eta=Curve(((0.0, 0.0), (1.0, 1.0))))),
    "temperature": lambda c: c.run(temperature=0.7),
    "temperature schedule": lambda c: c.run(temperature=[1.0, 0.9, 0.8, 0.7, 0.6, 0.5]),
    "dropout": lambda c: c.run(dropout=0.3),
    "dropout of all": lambda c: c.run(dropout=1.0),
    "seeds": lambda c: c.run(noise=KeyedNoise.per_sample([3, 5])),
    "noise of a generator": lambda c: c.run(noise=SequentialNoise(c.generator()), dropout=0.1),
    "noise of a generator on the CPU": lambda c: c.run(noise=SequentialNoise(c.generator("cpu")), dropout=0.1),
    "noise of torch's generator": lambda c: global_noise(c, SequentialNoise()),
    "variation": lambda c: c.run(
        x=Variation(c.noise, KeyedNoise.batch(8, BATCH), 0.3).normal(SHAPE, "start", 0, c.device)
    ),
    "slerp": lambda c: c.run(x=slerp(c.x, c.x0, 0.3)),
    "one noise for all": lambda c: c.run(noise=OneForAll(KeyedNoise.batch(7, 1)), dropout=0.0),
    "mask": lambda c: c.inpaint(),
    "mask, as published": lambda c: c.inpaint(last=False),
    "mask, one noise": lambda c: c.inpaint(first=False, fixed_noise=True),
    "mask, projected": lambda c: c.inpaint(last=False, fixed_noise=True, project=True),
    "mask on the CPU": lambda c: c.run(inpaint=Inpaint((drawn(1, 1, 6, 6, seed=5) > 0).float(), c.x0.float())),
    "mask, in order": lambda c: c.run(noise=SequentialNoise(c.generator()), inpaint=Inpaint(c.mask, c.x0)),
    "RePaint": lambda c: c.run(inpaint=Inpaint(c.mask, c.x0), walk=repaint_walk(STEPS, 2, 3)),
    "some of the steps": parts,
    "after each step": lambda c: c.run(after=lambda x, i: x * 0.99),
    "guidance 1": lambda c: c.run(predict=c.predict(guidance=Guidance(1.0))),
    "guidance 0": lambda c: c.run(predict=c.predict(guidance=Guidance(0.0))),
    "guidance interval": lambda c: c.run(predict=c.predict(guidance=Guidance(Interval(5.0, 0.2, 0.7)))),
    "guidance rescale": lambda c: c.run(predict=c.predict(guidance=Guidance(5.0, rescale=0.7))),
    "CFG++": lambda c: c.run(predict=c.predict(guidance=Guidance(0.6, plus_plus=True))),
    "texts of two lengths": lambda c: c.run(predict=c.predict(uncond=c.put(drawn(1, 7, 3, seed=6)))),
    "published dicts": lambda c: c.run(
        predict=c.predict(cond={"c_crossattn": [c.cond]}, uncond={"c_crossattn": [c.uncond]})
    ),
    "threshold": lambda c: c.run(predict=c.predict(filters=[Threshold(0.9).filter(STEPS)])),
    "threshold per channel": lambda c: c.run(predict=c.predict(filters=[Threshold(0.9, 0.5, True).filter(STEPS)])),
    "threshold schedule": lambda c: c.run(
        predict=c.predict(filters=[Threshold(Curve(((0.0, 0.9), (1.0, 0.99)))).filter(STEPS)])
    ),
    "quantize": lambda c: c.run(predict=c.predict(filters=[quantizer(c.model.quantize, 0.5)])),
    "score corrector": lambda c: c.run(
        predict=c.predict(correct=lambda eps, x, t, i: c.model.modify_score(c.model, eps, x, t, c.cond) / 1.01)
    ),
    "v": lambda c: c.run(predict=c.predict(parameterization="v")),
    "x0": lambda c: c.run(predict=c.predict(parameterization="x0")),
    "v from no signal": lambda c: (lambda s: c.run(s, c.predict(s, parameterization="v")))(
        make_schedule(ALPHA_BAR, STEPS, spacing="trailing", zero_snr=True)
    ),
    "flow": lambda c: (lambda s: c.run(s, c.predict(s, parameterization="flow")))(make_flow_schedule(STEPS, shift=3)),
    "sigmas on the device": lambda c: c.sigmas(flow=False),
    "flow's sigmas on the device": lambda c: c.sigmas(flow=True),
    "levels on the device": lambda c: c.run(
        make_schedule(torch.from_numpy(ALPHA_BAR).to(c.device, torch.float32), STEPS)
    ),
    "timesteps": lambda c: c.run(Scheme(timesteps=(900, 500, 100)).schedule(ALPHA_BAR, 3, 0.5)),
    "inversion": lambda c: c.invert(FixedPoint()),
    "inversion, five times": lambda c: c.invert(FixedPoint(5, damping=0.9)),
    "inversion, to a tolerance": lambda c: c.invert(FixedPoint(9, tolerance=1e-3)),
    "inversion and replay": lambda c: c.invert(FixedPoint(2, measure=True)),
    "DDIMSampler": lambda c: c.published(),
    "DDIMSampler, guided": lambda c: c.published(eta=0.5, noise=c.noise, **c.guided()),
    "DDIMSampler, a generator": lambda c: c.published(eta=1.0, generator=c.generator(), x_T=None, log_every_t=1),
    "DDIMSampler, guidance schedule": lambda c: c.published(5, ucg_schedule=[1, 0, 3, 3, 1], **c.guided()),
    "DDIMSampler, everything": lambda c: c.published(
        eta=0.7,
        noise=c.noise,
        mask=c.mask,
        x0=c.x0,
        temperature=0.9,
        noise_dropout=0.1,
        score_corrector=c.model,
        corrector_kwargs={"strength": 0.2},
        quantize_x0=True,
        dynamic_threshold=0.95,
        log_every_t=2,
        **c.guided(),
    ),
    "DDIMSampler.ddim_sampling": lambda c: c.sampler(0.3).ddim_sampling(
        c.cond, SHAPE, x_T=c.x, timesteps=5, noise=c.noise, verbose=False
    )[0],
    "DDIMSampler.ddim_sampling, original steps": lambda c: c.sampler(0.3).ddim_sampling(
        c.cond, SHAPE, x_T=c.x, timesteps=5, noise=c.noise, ddim_use_original_steps=True, verbose=False
    )[0],
    "DDIMSampler.p_sample_ddim": lambda c: c.one_step(temperature=0.8, noise_dropout=0.1, quantize_denoised=True),
    "DDIMSampler.encode": lambda c: c.there_and_back(),
    "DDIMSampler.encode and replay": lambda c: c.there_and_back(Replay()),
    "DDIMSampler.stochastic_encode": lambda c: c.sampler().stochastic_encode(
        c.x0, torch.tensor([3, 7], device=c.device), noise=c.x
    ),
} | {f"preset {name}": (lambda c, name=name: c.preset(name)) for name in PRESETS}
RUNS |= {f"preset {name}, denoise 0.6": (lambda c, name=name: c.preset(name, 0.6)) for name in PRESETS}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", RUNS)
def test_numbers_and_waits(name, dtype):
    expected = RUNS[name](Case(CPU, dtype))
    with emulated() as gpu:
        got = RUNS[name](Case(DEVICE, dtype, gpu))
        meant.check(gpu)
        for ours, theirs in zip(flat(got), flat(expected), strict=True):
            assert ours.device == DEVICE and torch.isfinite(theirs).all()
            torch.testing.assert_close(ours.cpu(), theirs)


@pytest.mark.parametrize("name", RUNS)
def test_devices_without_float64(name):
    with emulated(doubles=False) as gpu:
        RUNS[name](Case(DEVICE, torch.float32, gpu))


def test_comfyuis_noise():
    """It is another on a device: the CPU's seed is taken by x_T there."""
    with emulated() as gpu:
        case = Case(DEVICE, torch.float32, gpu)
        x, *_ = case.run(noise=ComfyNoise(3), dropout=0.2, inpaint=Inpaint(case.mask, case.x0, fixed_noise=True))
        meant.check(gpu)
        assert x.device == DEVICE


@pytest.mark.parametrize("steps", [3, 30])
def test_waits_do_not_grow_with_the_steps(steps):
    with emulated() as gpu:
        case = Case(DEVICE, torch.float32, gpu)
        case.run(make_schedule(ALPHA_BAR, steps, eta=0.5))
        assert len(gpu.reads) == 4  # x, both texts, and the watch for NaN


def test_nan_is_noticed_after_the_run():
    with emulated() as gpu:
        case = Case(DEVICE, torch.float32, gpu)
        predict = case.predict()
        spoiled = lambda x, i: tuple(out * (float("nan") if i == 2 else 1) for out in predict(x, i))  # noqa: E731
        with pytest.raises(ValueError, match="NaN or infinity at step 2"):
            case.run(predict=spoiled)


def flat(found):
    return [found] if isinstance(found, torch.Tensor) else list(found)


def test_every_wait_that_is_meant_happens():
    with emulated() as gpu:
        for run in RUNS.values():
            run(Case(DEVICE, torch.float32, gpu))
            meant.check(gpu)
        listed = {*meant.BEFORE, *meant.WITHIN, *meant.AFTER}
        assert {place for place in listed if place.startswith("sampler/")} <= gpu.places
