"""ComfyUI's nodes that let a ControlNet steer a prompt."""

from torch import Tensor

from ..sockets import number, socket
from .conditioning import PROMPT

__all__ = ["ControlNetApply", "ControlNetApplyAdvanced"]

CONTROL_NET = socket("CONTROL_NET", "The ControlNet.")
HINT = socket("IMAGE", "The image that the ControlNet was trained to read: edges, depth, a pose ...")
CONTROL_STRENGTH = number(1.0, 0.0, 10.0, 0.01, "How strongly it steers; 0 is off.")


class ControlNetApply:
    CATEGORY = "conditioning/controlnet"
    FUNCTION = "apply_controlnet"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Lets an image steer where things go. The negative prompt is steered along."
    DEPRECATED = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "conditioning": PROMPT,
                "control_net": CONTROL_NET,
                "image": HINT,
                "strength": CONTROL_STRENGTH,
            }
        }

    def apply_controlnet(self, conditioning: list, control_net, image: Tensor, strength: float) -> tuple[list]:
        if strength == 0:
            return (conditioning,)
        result = []
        for text, options in conditioning:
            control = control_net.steer(image, strength, previous=options.get("control"))
            result.append([text, {**options, "control": control, "control_apply_to_uncond": True}])
        return (result,)


class ControlNetApplyAdvanced:
    CATEGORY = "conditioning/controlnet"
    FUNCTION = "apply_controlnet"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    DESCRIPTION = "Lets an image steer where things go, from one point of the run to another."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "positive": PROMPT,
                "negative": PROMPT,
                "control_net": CONTROL_NET,
                "image": HINT,
                "strength": CONTROL_STRENGTH,
                "start_percent": number(0.0, 0.0, 1.0, 0.001, "Where it begins: 0 is pure noise."),
                "end_percent": number(1.0, 0.0, 1.0, 0.001, "Where it ends: 1 is the finished image."),
            },
            "optional": {"vae": socket("VAE", "For ControlNets that read latents; those here read images.")},
        }

    def apply_controlnet(
        self,
        positive: list,
        negative: list,
        control_net,
        image: Tensor,
        strength: float,
        start_percent: float,
        end_percent: float,
        vae=None,
    ) -> tuple[list, list]:
        """Return both as CONDITIONING."""
        if strength == 0:
            return positive, negative
        # Entries under the same ControlNets before share one object after, so that one call serves them.
        made: dict = {}
        both = []
        for conditioning in (positive, negative):
            entries = []
            for text, options in conditioning:
                before = options.get("control")
                if before not in made:
                    made[before] = control_net.steer(image, strength, (start_percent, end_percent), before)
                entries.append([text, {**options, "control": made[before], "control_apply_to_uncond": False}])
            both.append(entries)
        return both[0], both[1]
