"""UPSCALE_MODEL without ComfyUI: networks that make images larger, told apart and built by spandrel."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...executor import context
from ...networks.device import NotEnoughMemory, loading
from ...networks.loading.tensor_file import CheckpointError, read_nested
from ...networks.tiling import in_tiles

__all__ = ["UpscaleModel", "load_upscale_model"]

TILE, OVERLAP = 512, 32
"""Lengths, in pixels of the smaller image, of what the network sees at once."""


class UpscaleModel:
    """UPSCALE_MODEL: a network that makes an image `scale` times as large, on its device."""

    def __init__(self, descriptor: Any, device: str) -> None:
        self._descriptor, self._device, self.scale = descriptor.to(device).eval(), device, int(descriptor.scale)

    @torch.no_grad()
    def enlarge(self, images: Tensor) -> Tensor:
        """IMAGE (b, h, w, 3) in [0, 1], `scale` times as high and wide; beyond 512 pixels in tiles that overlap."""
        done, total = 0, len(images)

        def network(tile: Tensor) -> Tensor:
            nonlocal done
            done += 1
            context.progress(min(done, total), total)
            return self._descriptor(tile.to(self._device)).float().cpu()

        pixels = images[..., :3].movedim(-1, 1)
        made = [in_tiles(network, one[None], TILE, OVERLAP, self.scale) for one in pixels]
        return torch.cat(made).movedim(1, -1).clamp(0, 1)


def load_upscale_model(path: Path, device: str) -> UpscaleModel:
    """Read a network of any kind that spandrel knows, ESRGAN's among them: a safetensors or torch file, weights only.

    Raises ValueError where spandrel isn't installed, and CheckpointError, which names the file, for one that it
    doesn't know, or that isn't for single images; NotEnoughMemory, which names it too, for one that is too large.
    """
    spandrel = _spandrel()
    state = read_nested(path)
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path}: a file of a {type(state).__name__}, expected an upscaling model's tensors")
    try:
        with loading(path):
            descriptor = spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(dict(state)))
    except NotEnoughMemory:
        raise
    except Exception as error:  # an architecture may stumble over another's tensors in any way
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{path}: no upscaling model that spandrel knows ({said})") from error
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise CheckpointError(f"{path}: a model of {descriptor.architecture.name}, expected one for single images")
    return UpscaleModel(descriptor, device)


def _spandrel() -> Any:
    try:
        return importlib.import_module("spandrel")
    except ImportError as error:
        wanted = 'pip install "comfyui-ddim[upscale]"'
        raise ValueError(f"upscaling models need spandrel ({error}): {wanted}, or run with --comfyui") from error
