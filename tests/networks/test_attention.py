"""Attention in every network goes the way of torch's that needs no memory for all pairs of pixels."""

import pytest
import torch
import torch.nn.functional as F
from comfyui_ddim.demo import SHIPPED, SHIPPED_CONTROL
from comfyui_ddim.networks import ControlledDiffusion, load_checkpoint, load_controlnet
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


class OnlyInBlocks(TorchFunctionMode):
    """Has torch refuse an attention that it would compute as a whole; counts them."""

    calls = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        self.calls += 1
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return func(*args, **(kwargs or {}))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_no_attention_is_computed_as_a_whole(dtype, layout):
    diffusion = load_checkpoint(SHIPPED, "cpu", dtype).to(memory_format=layout)
    model = ControlledDiffusion(diffusion, load_controlnet(SHIPPED_CONTROL, "cpu", dtype).to(memory_format=layout))
    latents, pixels = torch.randn(2, 4, 8, 8), torch.rand(2, 3, 64, 64).contiguous(memory_format=layout)
    for run in (
        lambda: model.apply_model(
            latents,
            torch.tensor([500, 500]),
            {"c_crossattn": [torch.randn(2, 77, diffusion.config.text.width)], "c_concat": [pixels]},
        ),
        lambda: diffusion.decode_latent(latents),
        lambda: diffusion.encode_picture(pixels),
        lambda: diffusion.encode_text(["a red sphere"]),
    ):
        with OnlyInBlocks() as attention:
            run()
        assert attention.calls
