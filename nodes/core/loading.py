"""ComfyUI's nodes that load models, and the one that encodes a prompt."""

from ...hosts import host
from ..checks import verdict
from ..conditioning import encode
from ..sockets import choice, number, socket, text

__all__ = [
    "CLIPTextEncode",
    "CheckpointLoaderSimple",
    "ControlNetLoader",
    "DiffusersLoader",
    "LoraLoader",
    "LoraLoaderModelOnly",
    "VAELoader",
]


def is_there(kind: str, name: object) -> bool | str:
    """What VALIDATE_INPUTS says of a model's name; None is one that another node will give."""
    return verdict(lambda name: host.find(kind, name), name)


class CheckpointLoaderSimple:
    CATEGORY = "loaders"
    FUNCTION = "load_checkpoint"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    DESCRIPTION = "Loads a checkpoint."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"ckpt_name": choice(host.checkpoints(), "The name of the checkpoint (model) to load.")}}

    @classmethod
    def VALIDATE_INPUTS(cls, ckpt_name: str | None = None) -> bool | str:
        return is_there("checkpoints", ckpt_name)

    def load_checkpoint(self, ckpt_name: str) -> tuple:
        """Return MODEL, CLIP and VAE."""
        return host.load_checkpoint(ckpt_name)


class DiffusersLoader:
    CATEGORY = "advanced/loaders/deprecated"
    FUNCTION = "load_checkpoint"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    DESCRIPTION = "Loads a model that lies in a diffusers folder."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"model_path": choice(host.diffusers(), "The folder, which has a model_index.json.")}}

    @classmethod
    def VALIDATE_INPUTS(cls, model_path: str | None = None) -> bool | str:
        return is_there("diffusers", model_path)

    def load_checkpoint(self, model_path: str) -> tuple:
        """Return MODEL, CLIP and VAE."""
        return host.load_checkpoint(model_path, "diffusers")


class VAELoader:
    CATEGORY = "loaders"
    FUNCTION = "load_vae"
    RETURN_TYPES = ("VAE",)
    DESCRIPTION = "Loads an autoencoder of its own, in place of the checkpoint's."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"vae_name": choice(host.vaes(), "The name of the autoencoder to load.")}}

    @classmethod
    def VALIDATE_INPUTS(cls, vae_name: str | None = None) -> bool | str:
        return is_there("vae", vae_name)

    def load_vae(self, vae_name: str) -> tuple:
        return (host.load_vae(vae_name),)


class ControlNetLoader:
    CATEGORY = "loaders"
    FUNCTION = "load_controlnet"
    RETURN_TYPES = ("CONTROL_NET",)
    DESCRIPTION = "Loads a ControlNet, which must be one for the model's family."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"control_net_name": choice(host.controlnets(), "The name of the ControlNet to load.")}}

    @classmethod
    def VALIDATE_INPUTS(cls, control_net_name: str | None = None) -> bool | str:
        return is_there("controlnet", control_net_name)

    def load_controlnet(self, control_net_name: str) -> tuple:
        return (host.load_controlnet(control_net_name),)


def strength(what: str) -> tuple:
    """A LoRA's strength over one part."""
    return number(1.0, -100.0, 100.0, 0.01, f"How strongly to modify the {what}. This value can be negative.")


class LoraLoader:
    CATEGORY = "loaders"
    FUNCTION = "load_lora"
    RETURN_TYPES = ("MODEL", "CLIP")
    DESCRIPTION = "Lays a LoRA over a diffusion model and its text encoder. Several can follow one another."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": socket("MODEL", "The diffusion model the LoRA will be applied to."),
                "clip": socket("CLIP", "The CLIP model the LoRA will be applied to."),
                "lora_name": choice(host.loras(), "The name of the LoRA."),
                "strength_model": strength("diffusion model"),
                "strength_clip": strength("CLIP model"),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, lora_name: str | None = None) -> bool | str:
        return is_there("loras", lora_name)

    def load_lora(self, model, clip, lora_name: str, strength_model: float, strength_clip: float) -> tuple:
        """Return MODEL and CLIP."""
        return tuple(host.lay_over(lora_name, (model, strength_model), (clip, strength_clip)))


class LoraLoaderModelOnly:
    CATEGORY = "loaders"
    FUNCTION = "load_lora_model_only"
    RETURN_TYPES = ("MODEL",)
    DESCRIPTION = "Lays a LoRA over a diffusion model. Several can follow one another."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        inputs = LoraLoader.INPUT_TYPES()["required"]
        return {"required": {name: inputs[name] for name in ("model", "lora_name", "strength_model")}}

    @classmethod
    def VALIDATE_INPUTS(cls, lora_name: str | None = None) -> bool | str:
        return is_there("loras", lora_name)

    def load_lora_model_only(self, model, lora_name: str, strength_model: float) -> tuple:
        """Return MODEL."""
        return tuple(host.lay_over(lora_name, (model, strength_model)))


class CLIPTextEncode:
    CATEGORY = "conditioning"
    FUNCTION = "encode"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Encodes a text prompt."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        kind, options = text("", "The text to be encoded.")
        return {
            "required": {
                "text": (kind, {**options, "dynamicPrompts": True}),
                "clip": socket("CLIP", "The CLIP model used for encoding the text."),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, text: str | None = None) -> bool | str:
        return verdict(host.check_prompt, text)

    def encode(self, clip, text: str) -> tuple[list]:
        return (encode(clip, text),)
