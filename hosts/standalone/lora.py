"""MODEL and CLIP without ComfyUI, as far as LoRAs change them."""

import copy
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

from ...networks import LatentDiffusion, load_lora, lora_weights, with_loras
from ...networks.loading.lora import Lora

__all__ = ["Model", "WithLoras", "lay_over"]

log = logging.getLogger(__name__)


class WithLoras:
    """A model with LoRAs over one of its parts, which are added up once somebody asks for `diffusion`."""

    part = ""

    def __init__(self, plain: LatentDiffusion) -> None:
        self.plain = plain
        self.loras: tuple[tuple[Lora, float], ...] = ()

    @cached_property
    def diffusion(self) -> LatentDiffusion:
        """The model with its LoRAs, on its device."""
        return with_loras(self.plain, self.loras, self.part)

    def with_lora(self, lora: Lora, strength: float) -> Self:
        """The same with one more."""
        changed = copy.copy(self)
        changed.__dict__.pop("diffusion", None)
        changed.loras = (*self.loras, (lora, strength))
        return changed


class Model(WithLoras):
    """MODEL: the diffusion network, on its device."""

    part = "unet"


def lay_over(parts: Sequence[tuple[WithLoras, float]], path: Path) -> list[WithLoras]:
    """MODEL, CLIP or both with a LoRA file over them, each at its strength.

    Raises ValueError for a file of which no layer, or one of another size, belongs to the models. Layers that only
    some models have are left out, and counted in the log. At strength 0 the file isn't read.
    """
    if not any(strength for _, strength in parts):
        return [one for one, _ in parts]
    lora = load_lora(path)
    models = {id(one.plain): one.plain for one, _ in parts}.values()
    known = set().union(*(lora_weights(model, lora, part) for model in models for part in ("unet", "text")))
    left = len(lora.layers) - len(known)
    if not known:
        first = next(iter(lora.layers))
        raise ValueError(
            f"{path}: none of its {len(lora.layers)} layers is in the model (the first: {first!r}): "
            "a LoRA for another kind of model"
        )
    if left > 0:
        log.warning("%s: %d of its %d layers aren't in the model, and are left out", path, left, len(lora.layers))
    return [one.with_lora(lora, strength) if strength else one for one, strength in parts]
