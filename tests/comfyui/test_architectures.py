"""The sampler on networks far from Stable Diffusion 1.x, narrow and with random weights, beside ComfyUI's own ddim.

These tests run where COMFYUI_DIR names a ComfyUI checkout with its requirements.
"""

import os
from types import SimpleNamespace

import pytest
import torch
from comfyui_small import UNET, assert_same, changed, comfyuis, drawn, fill, ours

pytestmark = pytest.mark.skipif("COMFYUI_DIR" not in os.environ, reason="COMFYUI_DIR names no ComfyUI checkout")

MMDIT = {
    "in_channels": 16,
    "input_size": None,
    "depth": 2,
    "num_blocks": 2,
    "pos_embed_max_size": 16,
    "pos_embed_scaling_factor": None,
    "num_patches": 256,
    "adm_in_channels": 20,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 24, "out_features": 128}},
}
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 20,
    "context_in_dim": 24,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
}
WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 48,
    "ffn_dim": 96,
    "freq_dim": 16,
    "text_dim": 24,
    "num_heads": 2,
    "num_layers": 2,
}
# Class of comfy.supported_models: its network's configuration, the latent's shape, widths of text and pooled text.
ARCHITECTURES = {
    "SDXL": ({**UNET, "context_dim": 24, "adm_in_channels": 2816, "num_classes": "sequential"}, (2, 4, 8, 8), 24, 1280),
    "SD3": (MMDIT, (2, 16, 8, 8), 24, 20),
    "Flux": (FLUX, (2, 16, 8, 8), 24, 20),
    "WAN21_T2V": (WAN, (1, 16, 3, 8, 8), 24, 0),
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def side(comfy, request):
    """A narrow model of an architecture with two prompts."""
    from comfyui_ddim.hosts.comfyui.host import ComfyHost

    config, shape, text, pooled = ARCHITECTURES[request.param]
    if request.param == "Flux" and "txt_ids_dims" in comfy.ldm.flux.model.FluxParams.__dataclass_fields__:
        config = {**config, "txt_ids_dims": []}
    known = getattr(comfy.supported_models, request.param)({**config, "dtype": torch.float32})
    if request.param == "SDXL":
        known.unet_config["num_head_channels"] = 8
    model = known.get_model({}, device="cpu")
    fill(model.diffusion_model)

    def prompt(seed):
        extra = {"guidance": 3.5} | ({"pooled_output": drawn(seed + 10, 1, pooled)} if pooled else {})
        return [[drawn(seed, 1, 6, text), extra]]

    patcher = comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))
    latent = {"samples": drawn(5, *shape) * 2}
    return SimpleNamespace(host=ComfyHost(), model=patcher, positive=prompt(1), negative=prompt(2), latent=latent)


def test_preset_comfyui_is_comfyuis_ddim(comfy, side):
    made = ours(side)
    assert made.shape == side.latent["samples"].shape
    assert_same(made, comfyuis(comfy, side))
    assert_same(ours(side, denoise=0.6), comfyuis(comfy, side, denoise=0.6))
    assert (made - ours(changed(side, positive=side.negative))).abs().max() > 0.01  # it reads its prompts


def test_masks_and_frames(comfy, side):
    """A mask over the left, drawn over every frame of a video."""
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :28] = 1
    masked = changed(side, latent={**side.latent, "noise_mask": mask})
    made = ours(masked, denoise=0.7)
    assert_same(made, comfyuis(comfy, masked, denoise=0.7))
    kept = (made - side.latent["samples"]).abs()
    assert kept[..., 4:].max() < 1e-4 < kept[..., :3].max()
