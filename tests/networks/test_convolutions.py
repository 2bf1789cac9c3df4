"""Convolutions that are computed in another way than torch's, against torch's."""

import pytest
import torch
import torch.nn.functional as F
from comfyui_ddim.networks.convolutions import LEAST, Convolution, FirstConvolution, LastConvolution, doubled
from torch import nn

ORDERS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize(("batch", "size"), [(1, (4, 4)), (2, (3, 5)), (2, (8, 8))])
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_convolutions_of_small_maps(batch, size, order):
    """Equal to torch's own, whichever way they are computed."""
    torch.manual_seed(0)
    layer = Convolution(24, 128).double().to(memory_format=order)
    x = torch.randn(batch, 24, *size, dtype=torch.float64)
    expected = F.conv2d(x, layer.weight, layer.bias, padding=1)
    for given in (x, x.to(memory_format=torch.channels_last)):
        assert torch.allclose(layer(given), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (32, 40), (31, 41)])
def test_equal_to_a_convolution_of_the_doubled_map(order, size):
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 10, 3, padding=1).double().to(memory_format=order)
    x = torch.randn(2, 6, *size, dtype=torch.float64).to(memory_format=order).requires_grad_()
    expected = layer(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    came = doubled(x, layer)
    assert torch.allclose(came, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(expected)
    gradients = (torch.autograd.grad(each, [x, *layer.parameters()], weights) for each in (expected, came))
    for wanted, got in zip(*gradients, strict=True):
        assert torch.allclose(got, wanted, rtol=0, atol=1e-10)


@torch.no_grad()
def test_a_doubled_map_in_bfloat16_has_at_most_one_more_rounding():
    torch.manual_seed(0)
    exact, x = nn.Conv2d(64, 64, 3, padding=1).double(), torch.randn(1, 64, 48, 48).bfloat16()
    assert x[:, 0].numel() >= LEAST
    layer = nn.Conv2d(64, 64, 3, padding=1).bfloat16()
    layer.load_state_dict(exact.state_dict())
    exact.load_state_dict(layer.state_dict())
    expected = exact(F.interpolate(x.double(), scale_factor=2.0, mode="nearest"))
    came, torch_s = doubled(x, layer), layer(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    errors = [(each.double() - expected).pow(2).mean().sqrt() for each in (came, torch_s)]
    assert 0 < errors[0] < 2**0.5 * errors[1] * 1.05


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_network_s_ends_keep_digits(dtype):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    first, last = FirstConvolution(4, 8, 3, padding=1).to(dtype), LastConvolution(4, 3, 3, padding=1).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    for layer, rounded in ((first, dtype), (last, wide)):
        expected = F.conv2d(x.to(wide).double(), layer.weight.double(), layer.bias.double(), padding=1)
        came = layer(x)
        assert came.dtype == rounded
        assert torch.allclose(came.double(), expected, rtol=torch.finfo(rounded).eps, atol=4e-7)
