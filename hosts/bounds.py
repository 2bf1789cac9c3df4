"""How much one node may make at once: more is refused before the memory is asked for."""

from math import prod

from ..networks.device import check_fits

__all__ = ["MAX_VALUES", "check_size"]

MAX_VALUES = 2**31
"""Numbers in an image, latent or mask with all of its batch: 8 GiB of float32."""


def check_size(what: str, *shape: int) -> None:
    """Raises ValueError for a shape below 1 somewhere, of more than MAX_VALUES, or of more than the memory holds."""
    sizes = " x ".join(map(str, shape))
    if any(size < 1 for size in shape):
        raise ValueError(f"{what} of {sizes} values, expected at least 1 in each dimension")
    if prod(shape) > MAX_VALUES:
        raise ValueError(f"{what} of {sizes} values, expected at most {MAX_VALUES} in all")
    check_fits(f"{what} of {sizes} values", 4 * prod(shape), "cpu", "choose a smaller size or batch")
