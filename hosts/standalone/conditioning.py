"""CONDITIONING as a run needs it: entries with their place, weight and time, matched between both prompts.

The rules are ComfyUI's, so that the same workflow gives the same image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ...networks import LatentDiffusion
from ..fit import cycled, spread
from .controlnet import WHOLE, Control, Range
from .resize import resize, soft_ends

__all__ = ["Box", "Entry", "Frame", "read_prompts"]

SOFT = 8
"""Latent pixels over which the weight of an area rises from its edge."""
LEAST = 8
"""The smallest box around a mask, in latent pixels."""
GREY = (0.8223, -0.6876, 0.6364, 0.1380)
"""The scaled latent of a grey image, by the autoencoder of Stable Diffusion 1.x."""


class Box(NamedTuple):
    """A part of the latent, in latent pixels."""

    height: int
    width: int
    top: int
    left: int

    def cut(self, x: Tensor) -> Tensor:
        """Its part of x (..., h, w), as a view."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def holds(self, other: "Box") -> bool:
        """Whether `other` lies inside."""
        return (
            self.top <= other.top
            and self.left <= other.left
            and self.top + self.height >= other.top + other.height
            and self.left + self.width >= other.left + other.width
        )

    def within(self, height: int, width: int) -> "Box":
        """Its part inside a latent of a size; ValueError where nothing is left."""
        inside = Box(min(self.height, height - self.top), min(self.width, width - self.left), self.top, self.left)
        if inside.height < 1 or inside.width < 1:
            raise ValueError(
                f"the area is {self.height} x {self.width} at {self.top}, {self.left} (height x width; top, left), "
                f"expected one inside the latent of {height} x {width}"
            )
        return inside


@dataclass(frozen=True, eq=False)
class Entry:
    """One entry of a CONDITIONING.

    text: (b, n, width); area: None is everywhere; mask: (m, h, w) over the latent, how much its pixels count
    strength: how much the entry counts beside others; span: when it counts
    control: its ControlNets; concat: (b, c, h, w) that is joined to the latent's channels
    """

    text: Tensor
    area: Box | None = None
    mask: Tensor | None = None
    strength: float = 1.0
    span: Range = WHOLE
    control: Control | None = None
    concat: Tensor | None = None

    @property
    def plain(self) -> bool:
        """Whether it is text and nothing else."""
        extras = (self.area, self.mask, self.control, self.concat)
        return all(extra is None for extra in extras) and self.strength > 0 and self.span == WHOLE

    def weight(self, box: Box, height: int, width: int) -> Tensor:
        """How much it counts at each pixel of its box in a latent of a size: (m, 1, height, width) of the box.

        Without a mask, an area's weight rises over `SOFT` pixels from each edge that isn't the latent's own.
        """
        if self.mask is not None:
            return box.cut(self.mask)[:, None] * self.strength
        if self.area is None:
            return torch.full((1, 1, height, width), self.strength, device=self.text.device)
        down = soft_ends(box.height, min(SOFT, box.height // 4), box.top > 0, box.top + box.height < height)
        across = soft_ends(box.width, min(SOFT, box.width // 4), box.left > 0, box.left + box.width < width)
        return (self.strength * down[:, None] * across[None, :])[None, None].to(self.text.device)


@dataclass(frozen=True, eq=False)
class Frame:
    """What a run's prompts are fitted to.

    samples: the scaled latents (b, c, h, w), on the model's device
    mask: (1 or b, 1, h, w), 1 is inpainted; None without one
    """

    diffusion: LatentDiffusion
    samples: Tensor
    mask: Tensor | None = None


def read_prompts(positive: list, negative: list, frame: Frame) -> tuple[list[Entry], list[Entry]]:
    """The entries of two CONDITIONINGs, on the model's device.

    An area of one prompt gets its match in the other, and ControlNets that are for both are handed on. Raises
    ValueError for what doesn't fit the latent or the model.
    """
    both = [[_entry(*entry, name, frame) for entry in prompt] for prompt, name in _named(positive, negative)]
    both[1] = _with_areas_of(both[0], both[1])
    both[0] = _with_areas_of(both[1], both[0])
    lent = [entry.control for entry, (_, options) in zip(both[0], positive, strict=False) if _lends(entry, options)]
    both[1] = _with_control(both[1], lent)
    return both[0], both[1]


def _named(positive: list, negative: list) -> list[tuple[list, str]]:
    return [(positive, "positive"), (negative, "negative")]


def _entry(text: Tensor, options: dict, name: str, frame: Frame) -> Entry:
    samples, unet = frame.samples, frame.diffusion.config.unet
    if text is None or text.ndim != 3 or text.shape[-1] != unet.context:
        came = None if text is None else tuple(text.shape)
        raise ValueError(
            f"{name} has text embeddings of shape {came}, expected (batch, tokens, {unet.context}): "
            "encode it with the text encoder of the same checkpoint"
        )
    if torch.isnan(text).any():
        raise ValueError(f"{name} has NaN in its text embeddings")
    height, width = samples.shape[-2:]
    area, mask = _area(options.get("area"), height, width), options.get("mask")
    if mask is not None:
        mask = _fitted_mask(mask, samples) * options.get("mask_strength", 1.0)
        if options.get("set_area_to_bounds"):
            area = _bounds(mask)
    control = options.get("control")
    if control is not None:
        control.check(unet)
    return Entry(
        text.to(samples.device),
        area,
        mask,
        options.get("strength", 1.0),
        Range(options.get("start_percent", 0.0), options.get("end_percent", 1.0)),
        control,
        _concat(options, frame) if unet.in_channels > samples.shape[1] else None,
    )


def _area(area: tuple | None, height: int, width: int) -> Box | None:
    """ComfyUI's area, (height, width, top, left) in latent pixels or, after "percentage", as shares of the latent."""
    if area is None or area[0] != "percentage":
        return area and Box(*area)
    tall, wide, top, left = area[1:]
    return Box(max(1, round(tall * height)), max(1, round(wide * width)), round(top * height), round(left * width))


def _fitted_mask(mask: Tensor, samples: Tensor) -> Tensor:
    """MASK of a prompt as (1 or b, h, w) over the latent."""
    mask, size = mask.reshape(-1, *mask.shape[-2:]).to(samples.device, torch.float32), samples.shape[-2:]
    if mask.shape[1:] != size:
        mask = resize(mask[:, None], size[1], size[0], "bilinear")[:, 0]
    return mask if len(mask) == 1 else cycled(mask, len(samples))


def _bounds(mask: Tensor) -> Box:
    """The box around what isn't 0 in any of the masks (m, h, w)."""
    rows, columns = (mask.abs().amax(dim=dims).nonzero().flatten().tolist() for dims in ((0, 2), (0, 1)))
    if not rows:
        return Box(LEAST, LEAST, 0, 0)
    tall, wide = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    return Box(max(LEAST, tall), max(LEAST, wide), rows[0], columns[0])


def _concat(options: dict, frame: Frame) -> Tensor:
    """What an inpainting model is shown beside the latent: the mask and the masked image's latent (b, 5, h, w).

    Without an image of its own, a prompt takes the run's latent and mask; without any mask, all is grey and new.
    """
    samples, shown, mask = frame.samples, options.get("concat_latent_image"), options.get("concat_mask", frame.mask)
    if mask is None:
        grey = samples.new_tensor(GREY)[:, None, None].expand_as(samples)
        return torch.cat([torch.ones_like(samples[:, :1]), grey], dim=1)
    shown = samples if shown is None else shown.to(samples) * frame.diffusion.scale_factor
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).to(samples)
    size = samples.shape[-1], samples.shape[-2]
    if shown.shape[1:] != samples.shape[1:]:
        shown = resize(shown, *size, "bilinear", "center")
    if mask.shape[2:] != samples.shape[2:]:
        mask = resize(mask, *size, "bilinear", "center")
    return torch.cat([spread(mask.round(), len(samples)), spread(shown, len(samples))], dim=1)


def _with_areas_of(others: Sequence[Entry], entries: Sequence[Entry]) -> list[Entry]:
    """`entries`, and for each area among the `others` one of the same size, so that both prompts speak there.

    Its text is that of the smallest entry which holds the area.
    """
    result = list(entries)
    for other in others:
        if other.area is None:
            continue
        around = [entry for entry in result if entry.area is None or entry.area.holds(other.area)]
        if not around:
            continue
        closest = min(around, key=lambda e: math.inf if e.area is None else e.area.height * e.area.width)
        if closest.area != other.area:
            result.append(replace(other, text=closest.text, concat=closest.concat))
    return result


def _lends(entry: Entry, options: dict) -> bool:
    return entry.control is not None and entry.area is None and bool(options.get("control_apply_to_uncond"))


def _with_control(entries: list[Entry], lent: Sequence[Control]) -> list[Entry]:
    """`entries` with the other prompt's ControlNets on those that reach everywhere; as they are if any has its own."""
    free = [i for i, entry in enumerate(entries) if entry.area is None and entry.control is None]
    if not free or any(entry.area is None and entry.control is not None for entry in entries):
        return entries
    result = list(entries)
    for j, control in enumerate(lent):
        place = free[j % len(free)]
        result[place] = replace(entries[place], control=control)
    return result
