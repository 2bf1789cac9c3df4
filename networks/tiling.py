"""A picture in tiles: for networks that would need more memory for the whole than there is."""

from collections.abc import Callable, Iterator
from fractions import Fraction

import torch
from torch import Tensor

__all__ = ["in_tiles"]


def in_tiles(
    network: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int, scale: Fraction | int, align: int = 1
) -> Tensor:
    """What `network` makes of x (b, c, h, w), computed tile by tile and blended where tiles overlap.

    `tile` and `overlap` are lengths in x, `scale` is what the network multiplies lengths by, and tiles begin at
    multiples of `align`; all of them must come out as whole numbers of the result. The weights of neighbouring tiles
    are ramps across the overlap that add up to 1. Raises ValueError where the overlap isn't less than the tile.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"tiles of {tile} that overlap by {overlap}, expected an overlap smaller than a tile")
    out: Tensor | None = None
    weights: Tensor | None = None
    height, width = x.shape[2:]
    for top in _starts(height, tile, overlap, align):
        for left in _starts(width, tile, overlap, align):
            part = network(x[:, :, top : top + tile, left : left + tile])
            if out is None:
                size = int(height * scale), int(width * scale)
                out, weights = part.new_zeros(*part.shape[:2], *size), part.new_zeros(size, dtype=torch.float32)
            rows, columns = (
                slice(int(start * scale), int(start * scale) + length)
                for start, length in zip((top, left), part.shape[2:], strict=True)
            )
            ramp = max(1, int(overlap * scale))
            weight = torch.outer(*(_weight(length, ramp, part.device) for length in part.shape[2:]))
            out[:, :, rows, columns] += part * weight.to(part.dtype)
            weights[rows, columns] += weight
    return out / weights.to(out.dtype)


def _starts(length: int, tile: int, overlap: int, align: int) -> Iterator[int]:
    """Where tiles begin: evenly spread, the first at the edge, the last ending at the other."""
    if length <= tile:
        yield 0
        return
    count = -(-(length - overlap) // (tile - overlap))
    for k in range(count):
        yield (length - tile) * k // (count - 1) // align * align if k < count - 1 else length - tile


def _weight(length: int, ramp: int, device: torch.device) -> Tensor:
    """(length,) weights that rise over `ramp` at both ends; never 0."""
    place = torch.arange(1, length + 1, device=device, dtype=torch.float32)
    return torch.minimum(place, place.flip(0)).clamp(max=ramp) / ramp
