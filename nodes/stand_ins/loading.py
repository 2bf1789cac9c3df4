"""ComfyUI's nodes that load models."""

from ..conditioning import encode
from ..host import host
from ..inputs import choice, socket, text

__all__ = ["CLIPTextEncode", "CheckpointLoaderSimple"]


class CheckpointLoaderSimple:
    """Loads a checkpoint."""

    CATEGORY = "loaders"
    FUNCTION = "load_checkpoint"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    DESCRIPTION = "Loads a checkpoint."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """The checkpoints at hand."""
        return {"required": {"ckpt_name": choice(host.checkpoints(), "The name of the checkpoint (model) to load.")}}

    def load_checkpoint(self, ckpt_name: str) -> tuple:
        """Return MODEL, CLIP and VAE."""
        return host.load_checkpoint(ckpt_name)


class CLIPTextEncode:
    """Encodes a prompt."""

    CATEGORY = "conditioning"
    FUNCTION = "encode"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Encodes a text prompt."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """A prompt and a text encoder."""
        kind, options = text("", "The text to be encoded.")
        return {
            "required": {
                "text": (kind, {**options, "dynamicPrompts": True}),
                "clip": socket("CLIP", "The CLIP model used for encoding the text."),
            }
        }

    def encode(self, clip, text: str) -> tuple[list]:
        """Return CONDITIONING."""
        return (encode(clip, text),)
