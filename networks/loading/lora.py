"""Reading LoRA files: matrices whose product is added to a layer's weight, under the names that trainers give layers.

Known are kohya's names (`lora_unet_*`, `lora_te_*`; layers as diffusers or as published checkpoints name them) and
those of diffusers and PEFT (`unet.*`, `text_encoder.*`, `lora_A`, `lora.up`, `processor`).
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .tensor_file import CheckpointError, TensorLike, read_file, tensor

__all__ = ["Factors", "Lora", "load_lora"]

ENDINGS = {
    ".lora_up.weight": "up",
    ".lora_down.weight": "down",
    ".lora_mid.weight": "mid",
    ".alpha": "alpha",
    ".lora_B.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B.default.weight": "up",
    ".lora_A.default.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora.down.weight": "down",
    "_lora.up.weight": "up",
    "_lora.down.weight": "down",
}
"""How a tensor's name ends behind the layer's, and which of `Factors` it is."""
PREFIXES = (
    "base_model.model.",
    "lora_unet_",
    "lora_te1_",
    "lora_te_",
    "lycoris_",
    "model.diffusion_model.",
    "diffusion_model.",
    "unet.",
    "text_encoders.clip_l.transformer.",
    "text_encoders.clip_h.transformer.",
    "text_encoder.",
)
"""What a layer's name begins with besides."""
OTHER_KINDS = {
    ".hada_": "LoHa",
    ".lokr_": "LoKr",
    ".dora_scale": "DoRA",
    ".oft_": "OFT",
    ".diff": "whole differences of weights",
    ".w_norm": "normalisation layers",
    ".a1.weight": "GLoRA",
}
"""Signs of what isn't plain LoRA."""


@dataclass(frozen=True)
class Factors:
    """What is added to one layer's weight: up (o, r) times down (r, i), times alpha / r where there is an alpha.

    Convolutions have them as kernels: (o, r, 1, 1) and (r, i, h, w), or, with a `mid` (r, r, h, w) in between,
    (r, i, 1, 1).
    """

    up: Tensor
    down: Tensor
    mid: Tensor | None = None
    alpha: float | None = None

    @property
    def scale(self) -> float:
        """What the product is multiplied by."""
        return 1.0 if self.alpha is None else self.alpha / self.down.shape[0]

    def fits(self, shape: torch.Size) -> bool:
        """Whether the product has as many numbers as a weight of this shape, row by row."""
        rank, kernel = self.down.shape[0], shape[2:].numel()
        if self.mid is not None:
            sizes = self.mid.shape == (rank, rank, *shape[2:]) and self.down[0].numel() == shape[1]
        else:
            sizes = self.down[0].numel() == shape[1] * kernel if rank else False
        return sizes and self.up.flatten(1).shape == (shape[0], rank)

    def product(self, device: torch.device) -> Tensor:
        """All of it in float32, (o, i) or (o, i h w)."""
        up, down = (part.to(device, torch.float32).flatten(1) for part in (self.up, self.down))
        if self.mid is not None:
            mid = self.mid.to(device, torch.float32)
            down = torch.einsum("rshw,si->rihw", mid, down).flatten(1)
        return self.scale * (up @ down)


@dataclass(frozen=True, eq=False)
class Lora:
    """A LoRA file: its name, and `Factors` by the names of layers, dots as underscores and without prefixes."""

    name: str
    layers: dict[str, Factors]


def load_lora(path: Path) -> Lora:
    """Read a LoRA, a safetensors or torch file.

    Raises CheckpointError that names the file for one that can't be read, holds no LoRA or one of another kind (LoHa,
    LoKr, DoRA ...), half a product, or a number that isn't finite.
    """
    path = Path(path)
    found: dict[str, dict[str, TensorLike]] = defaultdict(dict)
    for name, value in read_file(path).tensors.items():
        for sign, kind in OTHER_KINDS.items():
            if sign in name:
                raise CheckpointError(f"{path}: {kind} (tensor {name!r}), expected plain LoRA: run with --comfyui")
        ending = next((ending for ending in ENDINGS if name.endswith(ending)), None)
        if ending is None:
            continue
        layer, role = _layer(name.removesuffix(ending)), ENDINGS[ending]
        if role in found[layer]:
            raise CheckpointError(f"{path}: two tensors for the same part of a layer, the second {name!r}")
        found[layer][role] = value
    layers = {layer: _factors(path, layer, parts) for layer, parts in found.items() if parts.keys() != {"alpha"}}
    if not layers:
        raise CheckpointError(
            f"{path}: no LoRA in it, expected tensors such as '*.lora_up.weight' or '*.lora_A.weight'"
        )
    return Lora(path.name, layers)


def _layer(name: str) -> str:
    """A layer's name in the one spelling that all others are brought to."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    name = name.replace(".processor.", ".")
    return (f"{name}.0" if name.endswith(".to_out") else name).replace(".", "_")


def _factors(path: Path, layer: str, parts: dict[str, TensorLike]) -> Factors:
    for role in ("up", "down"):
        if role not in parts:
            raise CheckpointError(f"{path}: layer {layer!r} has no '{role}' matrix, expected both, up and down")
    read = {role: tensor(value) for role, value in parts.items()}
    for role, value in read.items():
        if not value.is_floating_point() or not value.isfinite().all():
            raise CheckpointError(f"{path}: layer {layer!r}: {role!r} of {value.dtype}, expected finite real numbers")
        if role != "alpha" and value.ndim not in (2, 4):
            shape = list(value.shape)
            raise CheckpointError(f"{path}: layer {layer!r}: {role!r} of shape {shape}, expected 2 or 4 dimensions")
    alpha = read.pop("alpha", None)
    if alpha is not None and alpha.numel() != 1:
        raise CheckpointError(f"{path}: layer {layer!r}: alpha of shape {list(alpha.shape)}, expected one number")
    return Factors(**read, alpha=None if alpha is None else float(alpha))
