"""ComfyUI's VAE, where its number type is too small for what it computes."""

import copy
import logging
from collections.abc import Callable

import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor

__all__ = ["finite"]

log = logging.getLogger(__name__)


def finite(vae: comfy.sd.VAE, code: Callable[[comfy.sd.VAE], Tensor], what: str) -> Tensor:
    """What `code` makes of a VAE, or of the same in float32 where that has NaN in it; ValueError if both have.

    ComfyUI itself leaves such a picture black.
    """
    if vae is None:
        raise ValueError(f"{what}: no VAE, the checkpoint has no autoencoder: load one with VAELoader")
    result = code(vae)
    dtype = str(getattr(vae, "vae_dtype", torch.float32)).removeprefix("torch.")
    if not result.isfinite().all() and dtype != "float32":
        log.warning("%s: the VAE overflowed in %s, trying again in float32", what, dtype)
        result, dtype = code(_in_float32(vae)), "float32"
    if not result.isfinite().all():
        raise ValueError(f"{what}: the VAE gave NaN or infinity in {dtype}, expected finite numbers")
    return result


def _in_float32(vae: comfy.sd.VAE) -> comfy.sd.VAE:
    """The same with weights of its own, which ComfyUI moves between devices as it does the others."""
    wide = copy.copy(vae)
    wide.first_stage_model = copy.deepcopy(vae.first_stage_model).float()
    wide.vae_dtype = torch.float32
    devices = {"load_device": vae.device, "offload_device": vae.patcher.offload_device}
    wide.patcher = comfy.model_patcher.ModelPatcher(wide.first_stage_model, **devices)
    return wide
