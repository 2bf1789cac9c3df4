"""Noise in files: as ComfyUI saves a latent, and as scripts save a tensor or an array."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from ..hosts.bounds import check_size

__all__ = ["ENDINGS", "LATENT", "read_noise"]

LATENT = "latent_tensor"
"""What ComfyUI's SaveLatent calls its tensor."""


def _tensors(path: Path) -> Any:
    held = load(path.read_bytes())  # never mapped: another program may cut the file off
    return held.get(LATENT, held)


def _array(path: Path) -> Any:
    return np.load(path, allow_pickle=False)


def _pickled(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


READERS = {".latent": _tensors, ".safetensors": _tensors, ".npy": _array, ".pt": _pickled, ".pth": _pickled}
ENDINGS = tuple(READERS)
"""How the names of such files end."""

UNREADABLE = (
    SafetensorError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the libraries raise for files that aren't what their names say."""


def read_noise(path: Path) -> torch.Tensor:
    """Noise (b, c, h, w) in float32 of a file, (c, h, w) as a batch of one; ValueError for anything else."""
    check_size(f"{path.name}: noise", max(1, path.stat().st_size // 8))
    try:
        found = READERS[path.suffix.lower()](path)
    except UNREADABLE as error:
        raise ValueError(f"{path.name} can't be read as a {path.suffix} file ({type(error).__name__})") from None
    noise = _plain(found, path.name)
    noise = noise[None] if noise.ndim == 3 else noise
    if noise.ndim != 4 or not noise.numel():
        raise ValueError(f"{path.name} has the shape {tuple(noise.shape)}, expected (batch, channels, height, width)")
    check_size("noise", *noise.shape)
    noise = noise.float().contiguous()
    if not noise.isfinite().all():
        raise ValueError(f"{path.name} has values that are NaN or infinite, expected finite noise")
    return noise


def _plain(found: Any, name: str) -> torch.Tensor:
    """The one tensor of real numbers among what a file holds."""
    if isinstance(found, dict):
        if len(found) != 1:
            raise ValueError(f"{name} holds {len(found)} tensors, expected one, or one named {LATENT}")
        (found,) = found.values()
    if isinstance(found, np.ndarray) and found.dtype.kind in "fiu":
        return torch.from_numpy(found.astype(np.float32))
    if isinstance(found, torch.Tensor) and found.layout == torch.strided and not found.is_complex():
        return found
    kind = getattr(found, "dtype", type(found).__name__)
    raise ValueError(f"{name} holds {kind}, expected real numbers in one plain tensor or array")
