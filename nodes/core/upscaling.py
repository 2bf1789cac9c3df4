"""ComfyUI's nodes that make images larger by a network."""

from torch import Tensor

from ...hosts import host
from ..sockets import choice, socket
from .loading import is_there

__all__ = ["ImageUpscaleWithModel", "UpscaleModelLoader"]


class UpscaleModelLoader:
    CATEGORY = "loaders"
    FUNCTION = "load_model"
    RETURN_TYPES = ("UPSCALE_MODEL",)
    DESCRIPTION = "Loads a network that makes images larger, such as ESRGAN."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"model_name": choice(host.upscale_models(), "The name of the upscaling model.")}}

    @classmethod
    def VALIDATE_INPUTS(cls, model_name: str | None = None) -> bool | str:
        return is_there("upscale_models", model_name)

    def load_model(self, model_name: str) -> tuple:
        """Return UPSCALE_MODEL."""
        return (host.load_upscale_model(model_name),)


class ImageUpscaleWithModel:
    CATEGORY = "image/upscaling"
    FUNCTION = "upscale"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Makes images larger by an upscaling model, as many times as it was trained for."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "upscale_model": socket("UPSCALE_MODEL", "The upscaling model."),
                "image": socket("IMAGE", "The images to enlarge."),
            }
        }

    def upscale(self, upscale_model, image: Tensor) -> tuple[Tensor]:
        """Return IMAGE."""
        return (upscale_model.enlarge(image),)
