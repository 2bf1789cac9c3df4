"""Prompts of several entries: against weights known in closed form, and where COMFYUI_DIR is set against ComfyUI."""

import math

import pytest
import torch
from comfyui_ddim.hosts.standalone.conditioning import GREY, Frame, read_prompts
from comfyui_ddim.hosts.standalone.controlnet import ControlModel
from comfyui_ddim.hosts.standalone.guide import PromptGuide, make_guide
from comfyui_ddim.networks import UNetConfig
from comfyui_ddim.sampler import Guidance, ModelGuide, Predictor, make_schedule
from models import ALPHAS, Echo

TIMESTEPS = [999, 600, 200, 1]


def says(value, words=7, **options):
    """A CONDITIONING entry of text whose mean is `value`."""
    return [torch.full((1, words, 8), float(value)), options]


def guide_of(positive, negative, model=None, scale=1.0, batch=1, size=(16, 24), mask=None, **guidance):
    model = model or Echo()
    samples = torch.zeros(batch, 4, *size)
    schedule = make_schedule(ALPHAS, TIMESTEPS)
    entries = read_prompts(positive, negative, Frame(model, samples, mask))
    return make_guide(model, *entries, samples.shape, schedule, Guidance(scale, **guidance)), model


def ask(guide, i=0, batch=1, size=(16, 24), seed=0):
    x = torch.randn(batch, 4, *size, generator=torch.Generator().manual_seed(seed))
    return guide(x, torch.full((batch,), TIMESTEPS[i]), i), x


def test_plain_prompts_take_the_samplers_own_guide():
    guide, _ = guide_of([says(1)], [says(2, strength=0.4)])
    assert type(guide) is ModelGuide
    for options in ({"area": (8, 8, 0, 0)}, {"mask": torch.ones(1, 16, 24)}, {"end_percent": 0.5}, {"strength": 0.0}):
        assert type(guide_of([says(1, **options)], [says(2)])[0]) is PromptGuide
        assert type(guide_of([says(1)], [says(2, **options)])[0]) is PromptGuide
    assert type(guide_of([says(1), says(1)], [says(2)])[0]) is PromptGuide


def test_strengths_are_weights_of_a_mean():
    guide, model = guide_of([says(1, strength=3.0), says(5), says(9, strength=0.0)], [says(0)])
    answer, _ = ask(guide)
    assert torch.allclose(answer.output, torch.tensor((3 * 1 + 5) / 4))
    assert model.calls == [(2, 4, 16, 24)]  # the third has no weight and costs no call


def test_masks_weigh_each_pixel():
    mask = torch.zeros(16, 24)
    mask[:, :6], mask[:, 6:12] = 1.0, 0.25
    guide, _ = guide_of([says(8, mask=mask, mask_strength=2.0), says(0)], [says(0)])
    answer, _ = ask(guide)
    expected = torch.tensor([8 * 2 / 3] * 6 + [8 * 0.5 / 1.5] * 6 + [0.0] * 12)
    assert torch.allclose(answer.output, expected.expand(1, 4, 16, 24))


def test_a_mask_of_the_picture_is_brought_to_the_latent():
    mask = torch.zeros(1, 128, 192)
    mask[:, :, 96:] = 1
    guide, _ = guide_of([says(8, mask=mask)], [says(0)])
    answer, x = ask(guide)
    noise = math.sqrt(1 - ALPHAS[999])
    assert torch.allclose(answer.output[..., 12:], torch.tensor(8.0))
    assert torch.allclose(answer.output[..., :12], x[..., :12] / noise)  # nothing speaks: x0 = 0


@pytest.mark.parametrize("parameterization", ["eps", "v", "x0"])
def test_where_nothing_speaks_x0_is_zero(parameterization):
    schedule = make_schedule(ALPHAS, TIMESTEPS)
    guide, _ = guide_of([says(8, area=(8, 8, 0, 0))], [says(0)], Echo(parameterization=parameterization))
    x = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(1))
    x0, _ = Predictor(guide, schedule, parameterization)(x, 1)
    assert x0[..., 8:].abs().max() < 1e-6 and x0[..., 8:, :].abs().max() < 1e-6
    assert x0[..., :8, :8].abs().min() > 1e-3


def test_areas_have_soft_edges_inside_the_latent():
    corner = says(6, area=(16, 12, 0, 0), strength=2.0)
    guide, model = guide_of([corner, says(0)], [says(0)])
    row = ask(guide)[0].output[0, 0, 3]
    weight = torch.tensor([2.0] * 9 + [2 * 3 / 3, 2 * 2 / 3, 2 * 1 / 3] + [0.0] * 12)  # 12 // 4 pixels of slope
    assert torch.allclose(row, 6 * weight / (weight + 1))
    assert model.calls == [(1, 4, 16, 12), (1, 4, 16, 24)]
    inner = says(6, area=("percentage", 0.5, 0.5, 0.25, 0.25))
    column = ask(guide_of([inner, says(0)], [says(0)])[0])[0].output[0, 0, :, 12]
    weight = torch.tensor([0.0] * 4 + [0.5, 1, 1, 1, 1, 1, 1, 0.5] + [0.0] * 4)
    assert torch.allclose(column, 6 * weight / (weight + 1))


def test_an_area_past_the_edge_is_cut_and_one_outside_refused():
    _, model = guide_of([says(1, area=(64, 8, 4, 20))], [says(0)])
    guide, model = guide_of([says(1, area=(64, 8, 4, 20))], [says(0)])
    ask(guide)
    assert model.calls == [(1, 4, 12, 4)]
    with pytest.raises(ValueError, match=r"the area is 8 x 8 at 16, 0 .* expected one inside the latent of 16 x 24"):
        guide_of([says(1, area=(8, 8, 16, 0))], [says(0)])


def test_a_mask_may_bring_its_box():
    mask = torch.zeros(1, 16, 24)
    mask[:, 2:5, 10:22] = 0.5
    guide, model = guide_of([says(4, mask=mask, set_area_to_bounds=True), says(0)], [says(0)])
    answer, _ = ask(guide)
    assert (1, 4, 8, 12) in model.calls
    assert torch.allclose(answer.output[..., 2:5, 10:22], torch.tensor(4 * 0.5 / 1.5))
    assert answer.output[..., 5:, :].abs().max() == 0


def test_the_other_prompt_speaks_in_each_area_too():
    area = (8, 8, 0, 0)
    guide, model = guide_of([says(1, area=area), says(1)], [says(2)], scale=3.0)
    answer, _ = ask(guide)
    assert sorted(model.calls) == [(2, 4, 8, 8), (2, 4, 16, 24)]
    assert torch.allclose(answer.uncond, torch.tensor(2.0))
    assert torch.allclose(answer.output, torch.tensor(2 + 3 * (1 - 2.0)))


def test_a_smaller_area_is_matched_from_the_smallest_around_it():
    negative = [says(5), says(7, area=(16, 16, 0, 0))]
    model = Echo()
    entries = read_prompts([says(1, area=(8, 8, 4, 4))], negative, Frame(model, torch.zeros(1, 4, 16, 24)))
    assert [entry.area and tuple(entry.area) for entry in entries[1]] == [None, (16, 16, 0, 0), (8, 8, 4, 4)]
    assert entries[1][2].text.mean() == 7
    assert [entry.area and tuple(entry.area) for entry in entries[0]] == [(8, 8, 4, 4)]  # none of its own is as large


def test_entries_speak_at_their_time():
    late, early = says(1, start_percent=0.4, end_percent=1.0), says(3, start_percent=0.0, end_percent=0.4)
    guide, model = guide_of([late, early], [says(0)])
    outputs = [ask(guide, i)[0].output.mean().item() for i in range(4)]
    # Of 999 timesteps, 0.4 is timestep 599.4: 600 lies before it.
    assert outputs == pytest.approx([3, 3, 1, 1])
    assert [shape[0] for shape in model.calls] == [1, 1, 1, 1]
    never, _ = guide_of([says(1, start_percent=1.0), says(2, end_percent=0.0)], [says(0)])
    answer, x = ask(never)
    assert torch.allclose(answer.output, x / math.sqrt(1 - ALPHAS[999]))


def test_texts_of_different_lengths_share_a_call():
    guide, model = guide_of([says(1, words=77), says(3, words=154)], [says(2, words=77)], scale=2.0)
    answer, _ = ask(guide)
    assert model.calls == [(3, 4, 16, 24)]
    assert model.conds[0]["c_crossattn"][0].shape == (3, 154, 8)
    assert torch.allclose(answer.output, torch.tensor(2 + 2 * (2 - 2.0)))
    _, model = guide, model = guide_of([says(1, words=3), says(3, words=16)], [says(2)])
    ask(guide)
    assert len(model.calls) == 2  # 48 words would be sixteen times the shorter one


def test_no_pass_without_weight():
    def passes(scale, **guidance):
        guide, model = guide_of([says(1), says(1)], [says(2)], scale=scale, **guidance)
        answer, _ = ask(guide)
        return [shape[0] for shape in model.calls], answer.output.mean().item()

    assert passes(1.0) == ([2], 1.0)
    assert passes(0.0) == ([1], 2.0)
    assert passes(3.0) == ([3], pytest.approx(-1.0))
    assert passes(1.0, plus_plus=True) == ([3], pytest.approx(1.0))


def test_batches_take_their_texts_and_masks_in_turn():
    text = torch.stack([torch.full((7, 8), 1.0), torch.full((7, 8), 3.0)])
    masks = torch.ones(2, 16, 24)
    guide, _ = guide_of([[text, {"mask": masks}], says(0, strength=0.0)], [says(0)], batch=4)
    answer, _ = ask(guide, batch=4)
    assert torch.allclose(answer.output.mean(dim=(1, 2, 3)), torch.tensor([1.0, 3.0, 1.0, 3.0]))


def test_what_an_inpainting_model_is_shown():
    mask = torch.zeros(1, 1, 128, 192)
    mask[..., 96:] = 0.8
    around = torch.full((1, 4, 16, 24), 2.0)
    shown = {"concat_latent_image": around, "concat_mask": mask}
    guide, model = guide_of([says(1, **shown)], [says(2, **shown)], Echo(in_channels=9), scale=2.0, batch=2)
    ask(guide, batch=2)
    (concat,) = model.conds[0]["c_concat"]
    assert concat.shape == (4, 5, 16, 24)
    assert concat[:, 0, :, :12].max() == 0 and concat[:, 0, :, 12:].min() == 1
    assert torch.equal(concat[:, 1:], torch.full((4, 4, 16, 24), 1.0))  # times the scale factor, 0.5
    guide, model = guide_of([says(1)], [says(2)], Echo(in_channels=9))
    ask(guide)
    (concat,) = model.conds[0]["c_concat"]
    assert concat[:, 0].min() == 1
    assert torch.allclose(concat[0, 1:, 3, 5], torch.tensor(GREY))
    guide, model = guide_of([says(1)], [says(2)], Echo(in_channels=9), mask=torch.full((1, 1, 16, 24), 0.6))
    ask(guide)
    assert model.conds[0]["c_concat"][0][:, 0].min() == 1 and model.conds[0]["c_concat"][0][:, 1:].abs().max() == 0


class Marks(torch.nn.Module):
    """A ControlNet whose residuals say what it was given."""

    factor, dtype = 8, torch.float32

    def __init__(self, value, context=8):
        super().__init__()
        self.config, self.value, self.seen = UNetConfig(context=context), torch.nn.Parameter(torch.tensor(value)), []

    def forward(self, x, hint, t, context):
        self.seen.append((tuple(x.shape), tuple(hint.shape), len(t), tuple(context.shape)))
        return self.value * hint.mean() * torch.ones(len(x), 3, 2, 2), self.value * torch.ones(len(x), 3, 1, 1)


def test_controlnets_are_summed_at_their_times():
    first, second = Marks(1.0), Marks(10.0)
    hint = torch.full((1, 128, 192, 3), 0.5)
    chain = ControlModel(first).steer(hint, 2.0, (0.0, 0.4))
    chain = ControlModel(second, averaged=True).steer(hint, 1.0, (0.0, 1.0), chain)
    guide, model = guide_of([says(1, control=chain)], [says(2, control=chain)], scale=2.0)
    ask(guide, 0)
    ask(guide, 3)
    assert [c.flatten()[0].item() for c in model.conds[0]["control"]] == pytest.approx([2 * 0.5 + 10 * 0.5, 2 + 10])
    assert [c.flatten()[0].item() for c in model.conds[1]["control"]] == pytest.approx([10 * 0.5, 10])
    assert first.seen == [((2, 4, 16, 24), (1, 3, 128, 192), 2, (2, 7, 8))] and len(second.seen) == 2
    assert model.calls == [(2, 4, 16, 24)] * 2  # one object on both prompts: one call


def test_guess_mode_fades_a_controlnet_toward_the_finest_level():
    control = ControlModel(Marks(1.0), guess=True).steer(torch.ones(1, 128, 192, 3), 2.0)
    guide, model = guide_of([says(1, control=control)], [says(2)], scale=2.0)
    ask(guide, 0)
    steered = [cond for cond in model.conds if "control" in cond]
    assert len(model.conds) == 2 and len(steered) == 1  # the other prompt goes without
    assert [c.flatten()[0].item() for c in steered[0]["control"]] == pytest.approx([2 * 0.825, 2])


def test_a_controlnet_for_both_goes_to_the_other_prompt():
    control = ControlModel(Marks(1.0)).steer(torch.ones(1, 8, 8, 3), 1.0)
    lent = [says(1, control=control, control_apply_to_uncond=True)]
    entries = read_prompts(lent, [says(2)], Frame(Echo(), torch.zeros(1, 4, 16, 24)))
    assert entries[1][0].control is control
    own = ControlModel(Marks(1.0)).steer(torch.ones(1, 8, 8, 3), 1.0)
    entries = read_prompts(lent, [says(2, control=own), says(3)], Frame(Echo(), torch.zeros(1, 4, 16, 24)))
    assert [entry.control for entry in entries[1]] == [own, None]
    entries = read_prompts([says(1, control=control)], [says(2)], Frame(Echo(), torch.zeros(1, 4, 16, 24)))
    assert entries[1][0].control is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([torch.zeros(1, 7, 5), {}], r"positive has text embeddings of shape .1, 7, 5., expected .batch, tokens, 8."),
        ([torch.full((1, 7, 8), torch.nan), {}], "positive has NaN in its text embeddings"),
        (
            says(1, control=ControlModel(Marks(1.0, context=5)).steer(torch.ones(1, 8, 8, 3), 1.0)),
            "the ControlNet was made for another kind of model: context 5, expected 8",
        ),
    ],
)
def test_misfits_are_named(entry, message):
    with pytest.raises(ValueError, match=message):
        guide_of([entry], [says(0)])
