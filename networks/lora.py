"""LoRA over a model: W + strength * alpha / r * up @ down (Hu et al. 2021, arXiv 2106.09685, section 4.1)."""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from .device import check_fits
from .latent_diffusion import LatentDiffusion
from .loading.diffusers_names import diffusers_unet_names
from .loading.lora import Factors, Lora
from .missing import Missing

__all__ = ["LORA_PARTS", "lora_weights", "with_loras"]

UNET, TEXT = "model.diffusion_model.", "cond_stage_model.transformer."
LORA_PARTS = {"unet": UNET, "text": TEXT}
"""The parts that a LoRA is for, and what their weights' names begin with."""


def lora_weights(diffusion: LatentDiffusion, lora: Lora, part: str) -> dict[str, Factors]:
    """What a LoRA adds to one part of a model ("unet" or "text"), by the names of weights.

    Raises ValueError for a layer of other sizes. Layers that the part doesn't have are left out.
    """
    found = {}
    for layer, name, shape in _layers(diffusion, part):
        if (factors := lora.layers.get(layer)) is not None:
            if not factors.fits(shape):
                came = " times ".join(str(list(one.shape)) for one in (factors.up, factors.down))
                raise ValueError(
                    f"{lora.name}: layer {layer!r} of shapes {came}, expected a product of shape {list(shape)}: "
                    "a LoRA for another kind of model"
                )
            found[name] = factors
    return found


def with_loras(diffusion: LatentDiffusion, loras: Sequence[tuple[Lora, float]], part: str) -> LatentDiffusion:
    """The model with LoRAs over one part, each at a strength; it shares what they leave alone with the plain one.

    Sums are made in float32 and rounded to the weights' dtype once. Raises ValueError for LoRAs that don't fit, for a
    sum that isn't finite, and (NotEnoughMemory) where there is no room for the changed weights.
    """
    if not loras:
        return diffusion
    added: dict[str, list[tuple[Factors, float, str]]] = {}
    for lora, strength in loras:
        for name, factors in lora_weights(diffusion, lora, part).items():
            added.setdefault(name, []).append((factors, strength, lora.name))
    plain = {name: diffusion.get_parameter(name) for name in added}
    needed = sum(weight.nbytes for weight in plain.values())
    check_fits("a model with a LoRA, for the changed weights,", needed, diffusion.device, "close other programs")
    changed = _copied(diffusion)
    changed.load_state_dict({name: _sum(plain[name], rows) for name, rows in added.items()}, False, assign=True)
    return changed.eval().requires_grad_(False)


def _sum(weight: Tensor, rows: Sequence[tuple[Factors, float, str]]) -> Tensor:
    total = weight.detach().float()
    for factors, strength, _ in rows:
        total = total + strength * factors.product(weight.device).reshape(weight.shape)
    rounded = total.to(weight.dtype)
    if not rounded.isfinite().all():
        raise ValueError(f"{rows[-1][2]}: a weight and the LoRA are infinite as {weight.dtype}, expected finite sums")
    return rounded


def _copied(diffusion: LatentDiffusion) -> LatentDiffusion:
    """The same networks anew, around the same tensors."""
    kept = (*diffusion.parameters(), *diffusion.buffers(), diffusion.tokenizer, diffusion.first_stage_model)
    return copy.deepcopy(diffusion, {id(one): one for one in kept})


def _layers(diffusion: LatentDiffusion, part: str) -> Iterator[tuple[str, str, torch.Size]]:
    """(name as LoRAs have it, the weight's own name, its shape) of every layer, some under several names."""
    network = diffusion.model.diffusion_model if part == "unet" else diffusion.cond_stage_model.transformer
    if isinstance(network, Missing):
        return
    shapes = {
        name: module.weight.shape
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    if part == "unet":
        config = diffusion.config.unet
        other = diffusers_unet_names([f"{name}.weight" for name in shapes], config.blocks, config.attention)
    else:
        other = {f"{name}.weight": f"{name}.weight".removeprefix("text_model.") for name in shapes}
    for name, shape in shapes.items():
        weight = f"{name}.weight"
        for alias in dict.fromkeys((name, other[weight].removesuffix(".weight"))):
            yield alias.replace(".", "_"), f"{LORA_PARTS[part]}{weight}", shape
