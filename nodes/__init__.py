"""The nodes: widgets in, one call into the host, a tuple out. A class that a file names in `__all__` is a node."""

from typing import Any

from . import (
    conditioning,
    custom_sampling,
    grid,
    inversion,
    latents,
    loading,
    masks,
    noise,
    options,
    pictures,
    plot,
    sampler,
    schedules,
)

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "STAND_IN_CLASS_MAPPINGS"]

FILES = (
    loading,
    conditioning,
    latents,
    sampler,
    schedules,
    options,
    noise,
    inversion,
    masks,
    pictures,
    grid,
    plot,
    custom_sampling,
)

NODE_CLASS_MAPPINGS: dict[str, type] = {
    name: getattr(file, name) for file in FILES for name in file.__all__ if name.startswith("DDIM")
}
NODE_DISPLAY_NAME_MAPPINGS = {key: node.DISPLAY_NAME for key, node in NODE_CLASS_MAPPINGS.items()}


def __getattr__(name: str) -> Any:
    # Late: ComfyUI has these nodes itself, and only the runner brings its own.
    if name != "STAND_IN_CLASS_MAPPINGS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .core import STAND_IN_CLASS_MAPPINGS

    return STAND_IN_CLASS_MAPPINGS
