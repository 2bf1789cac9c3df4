"""ComfyUI's own nodes that workflows of Stable Diffusion 1.x and 2.x use, for running without ComfyUI.

They have the same names, inputs and outputs, and are given to this package's runner only; inside ComfyUI its own are
used.
"""

from . import (
    autoencoding,
    conditioning,
    controlnet,
    curves,
    images,
    latent_files,
    latents,
    loading,
    masks,
    outlines,
    primitives,
    sampling,
    upscaling,
)

__all__ = ["STAND_IN_CLASS_MAPPINGS"]

STAND_IN_CLASS_MAPPINGS: dict[str, type] = {
    name: getattr(module, name)
    for module in (
        loading,
        conditioning,
        controlnet,
        sampling,
        autoencoding,
        latents,
        latent_files,
        images,
        upscaling,
        outlines,
        masks,
        primitives,
        curves,
    )
    for name in module.__all__
}
