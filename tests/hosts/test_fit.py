"""Batches and masks that misfit: one rule each, by name, through the nodes as well."""

import pytest
import torch
from comfyui_ddim.demo import SHIPPED
from comfyui_ddim.hosts.fit import cycled, latent_mask, one_or_each, spread
from comfyui_ddim.hosts.plan import Plan
from comfyui_ddim.hosts.standalone.host import StandaloneHost

LATENT = torch.zeros(3, 4, 2, 2)


def masks(count: int) -> torch.Tensor:
    """MASK (count, 16, 16), each of one value of its own."""
    return (torch.arange(count) + 1.0)[:, None, None].expand(count, 16, 16) / 10


@pytest.mark.parametrize(
    ("count", "taken"), [(1, [1]), (3, [1, 2, 3]), (2, [1, 2, 1]), (5, [1, 2, 3])], ids=["1", "equal", "fewer", "more"]
)
def test_masks_go_by_comfyuis_rule(count, taken):
    small = latent_mask(masks(count), LATENT)
    assert small.shape == (len(taken), 1, 2, 2)
    assert small.amax(dim=(1, 2, 3)).tolist() == pytest.approx([value / 10 for value in taken])


@pytest.mark.parametrize(("count", "taken"), [(1, [1, 1, 1]), (3, [1, 2, 3]), (2, [1, 2, 1]), (5, [1, 2, 3])])
def test_a_run_keeps_what_each_mask_keeps(count, taken):
    """Where a picture's mask is 0 the result is x0, bit for bit; where it is not, it isn't."""
    host = StandaloneHost()
    model, clip, _ = host.load_checkpoint(SHIPPED.name)
    prompt = clip.encode_from_tokens_scheduled(clip.tokenize("a red cube"))
    x0 = torch.randn(3, 4, 16, 16, generator=torch.manual_seed(0))
    sides = {1: torch.zeros(128, 128), 2: torch.zeros(128, 128), 3: torch.ones(128, 128)}
    sides[1][:, :64], sides[2][:, 64:] = 1, 1
    mask = torch.stack([sides[min(i + 1, 3)] for i in range(count)])
    with torch.inference_mode():
        made = host.sample(model, prompt, prompt, {"samples": x0}, Plan(0, 1, mask=mask))[0]["samples"]
    for i, which in enumerate(taken):
        kept = sides[which][::8, ::8] == 0
        assert torch.allclose(made[i][:, kept], x0[i][:, kept], atol=1e-6)
        assert (made[i][:, ~kept] - x0[i][:, ~kept]).abs().max() > 0.1


def test_one_for_all_or_one_for_each():
    assert one_or_each(LATENT[:1], LATENT.shape, "x_T").shape == LATENT.shape
    assert one_or_each(LATENT, LATENT.shape, "x_T") is not None
    for wrong in (LATENT[:2], torch.zeros(4, 4, 2, 2), torch.zeros(3, 4, 2, 3)):
        with pytest.raises(ValueError, match=r"x0 has the shape \d+x4x2x\d, expected 3x4x2x2 like the latent"):
            one_or_each(wrong, LATENT.shape, "x0")


def test_batches_are_cycled_or_spread():
    x = torch.arange(3.0)[:, None]
    assert cycled(x, 5).flatten().tolist() == [0, 1, 2, 0, 1] and cycled(x, 2).flatten().tolist() == [0, 1]
    assert spread(x, 6).flatten().tolist() == [0, 0, 1, 1, 2, 2] and spread(x, 2).flatten().tolist() == [0, 2]
    assert spread(x, 1).flatten().tolist() == [0]
