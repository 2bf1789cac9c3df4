"""The score corrector node: the published sampler's argument, through a plan."""

import pytest
import torch
from comfyui_ddim.hosts.plan import Options, Plan
from comfyui_ddim.hosts.sampling import make_guided_predictor, run_sampler
from comfyui_ddim.nodes import NODE_CLASS_MAPPINGS
from comfyui_ddim.sampler import PRESETS, Curve, DDIMSampler, ModelGuide
from models import SineModel

SHAPE = (2, 4, 6, 5)
STEPS = 10
COND = torch.full((2, 3), 0.25)
NODE = NODE_CLASS_MAPPINGS["DDIMScoreCorrector"]


class Corrector:
    """A published score corrector that uses all it is shown."""

    def modify_score(self, model, eps, x, t, cond, strength=0.1):
        return eps + strength * (x + model.num_timesteps / 1000 - t.reshape(-1, 1, 1, 1) / 500 + cond.sum())


def run_plan(options: Options, eta: float = 0.0) -> torch.Tensor:
    model = SineModel()
    plan = Plan(seed=3, steps=STEPS, eta=eta, scheme=PRESETS["published"], options=options)
    schedule = plan.scheme.schedule(model.alphas_cumprod, STEPS, eta)
    guide = ModelGuide(model, COND, None, (1.0,) * len(schedule))
    predict = make_guided_predictor(options, guide, schedule, "eps", plus_plus=False, scored=(model, COND))
    noise, x_T = plan.noise(torch.Size(SHAPE))
    return run_sampler(options, predict, plan.scheme.start(schedule, x_T), schedule, noise, None, lambda *_: None).x


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_node_gives_what_the_published_argument_gives(eta):
    (before,) = NODE_CLASS_MAPPINGS["DDIMOptions"]().make(1.0, 0.0, False, 1, 10, 1, "published")
    (options,) = NODE().make(1.0, None, Corrector(), before)
    got = run_plan(options, eta)
    torch.manual_seed(3)
    published, _ = DDIMSampler(SineModel()).sample(
        STEPS, 2, SHAPE[1:], COND, eta=eta, verbose=False, score_corrector=Corrector(), corrector_kwargs={}
    )
    assert torch.allclose(got, published, atol=1e-5)
    assert (got - run_plan(before, eta)).abs().max() > 0.1


def test_epsilon_scaling_divides_the_guided_eps():
    class Divide:
        def modify_score(self, model, eps, x, t, cond):
            return eps / 1.25

    scaled, divided = (run_plan(NODE().make(*arguments)[0]) for arguments in ((1.25,), (1.0, None, Divide())))
    assert torch.equal(scaled, divided)
    assert (scaled - run_plan(Options())).abs().max() > 0.01
    # Two halves: the first five of ten steps have a progress below a half.
    half = Curve(((0, 1.25), (0.5, 1.25), (0.5, 1.0), (1, 1.0)))
    listed = [1.25] * 5 + [1.0] * 5
    assert torch.equal(run_plan(NODE().make(1.0, half)[0]), run_plan(NODE().make(1.0, listed)[0]))


def test_what_is_no_corrector_is_said():
    with pytest.raises(ValueError, match="expected an object with modify_score"):
        NODE().make(1.0, None, object())
    with pytest.raises(ValueError, match="epsilon scaling has the value 0"):
        run_plan(NODE().make(1.0, [0.0] * STEPS)[0])
