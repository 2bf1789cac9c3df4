"""ComfyUI's nodes that change prompts: CONDITIONING is [[text (b, n, width), {options}], ...]."""

import logging

import torch
from torch import Tensor

from ..latents import FACTOR
from ..sockets import choice, number, socket, whole
from .images import LARGEST

__all__ = [
    "CLIPSetLastLayer",
    "ConditioningAverage",
    "ConditioningCombine",
    "ConditioningConcat",
    "ConditioningSetArea",
    "ConditioningSetAreaPercentage",
    "ConditioningSetAreaStrength",
    "ConditioningSetMask",
    "ConditioningSetTimestepRange",
    "ConditioningZeroOut",
]

log = logging.getLogger(__name__)

PROMPT = socket("CONDITIONING", "The prompt.")
STRENGTH = number(1.0, 0.0, 10.0, 0.01, "How much it counts beside other prompts; 1 is as much as one of them.")


def changed(conditioning: list, **options: object) -> list:
    """CONDITIONING with options of every entry set."""
    return [[text, {**old, **options}] for text, old in conditioning]


def first_of(conditioning: list, node: str) -> list:
    """The only entry of a CONDITIONING; the first one, with a warning, if there are more."""
    if not conditioning:
        raise ValueError("conditioning_from has no entries, expected a prompt")
    if len(conditioning) > 1:
        log.warning("%s: conditioning_from combines %d prompts, only the first is used", node, len(conditioning))
    return conditioning[0]


class CLIPSetLastLayer:
    CATEGORY = "conditioning"
    FUNCTION = "set_last_layer"
    RETURN_TYPES = ("CLIP",)
    DESCRIPTION = "Takes the text from an earlier layer of the text encoder."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "clip": socket("CLIP", "The text encoder."),
                "stop_at_clip_layer": whole(-1, -24, -1, "The layer, counted from the end: -1 is the last."),
            }
        }

    def set_last_layer(self, clip, stop_at_clip_layer: int) -> tuple:
        clip = clip.clone()
        clip.clip_layer(stop_at_clip_layer)
        return (clip,)


class ConditioningCombine:
    CATEGORY = "conditioning"
    FUNCTION = "combine"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Lets the model listen to both prompts; what it makes of each is mixed at every step."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"conditioning_1": PROMPT, "conditioning_2": PROMPT}}

    def combine(self, conditioning_1: list, conditioning_2: list) -> tuple[list]:
        return (conditioning_1 + conditioning_2,)


class ConditioningAverage:
    CATEGORY = "conditioning"
    FUNCTION = "addWeighted"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Mixes two prompts into one."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "conditioning_to": PROMPT,
                "conditioning_from": PROMPT,
                "conditioning_to_strength": number(
                    1.0, 0.0, 1.0, 0.01, "1 is conditioning_to alone, 0 conditioning_from alone."
                ),
            }
        }

    def addWeighted(
        self, conditioning_to: list, conditioning_from: list, conditioning_to_strength: float
    ) -> tuple[list]:
        """Return CONDITIONING; the text mixed in is cut to the other's length, or goes on with zeros."""
        other, others_options = first_of(conditioning_from, "ConditioningAverage")
        result = []
        for text, options in conditioning_to:
            aligned = torch.nn.functional.pad(other, (0, 0, 0, text.shape[1] - other.shape[1]))
            mixed = mix(text, aligned, conditioning_to_strength)
            pooled = [each for each in (options, others_options) if each.get("pooled_output") is not None]
            if others_options.get("pooled_output") is not None:
                ends = (pooled[0]["pooled_output"], pooled[-1]["pooled_output"])
                options = {**options, "pooled_output": mix(*ends, conditioning_to_strength)}
            result.append([mixed, options.copy()])
        return (result,)


def mix(to: Tensor, start: Tensor, share: float) -> Tensor:
    """`share` of one and the rest of the other."""
    return to * share + start * (1.0 - share)


class ConditioningConcat:
    CATEGORY = "conditioning"
    FUNCTION = "concat"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Puts the text of one prompt behind that of another: the model reads both at once."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"conditioning_to": PROMPT, "conditioning_from": PROMPT}}

    def concat(self, conditioning_to: list, conditioning_from: list) -> tuple[list]:
        other, _ = first_of(conditioning_from, "ConditioningConcat")
        return ([[torch.cat([text, other], dim=1), options.copy()] for text, options in conditioning_to],)


class ConditioningZeroOut:
    CATEGORY = "advanced/conditioning"
    FUNCTION = "zero_out"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Sets the text to zeros, which is less than an empty prompt."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"conditioning": PROMPT}}

    def zero_out(self, conditioning: list) -> tuple[list]:
        result = []
        for text, options in conditioning:
            pooled = options.get("pooled_output")
            zeros = {} if pooled is None else {"pooled_output": torch.zeros_like(pooled)}
            result.append([torch.zeros_like(text), {**options, **zeros}])
        return (result,)


class ConditioningSetArea:
    CATEGORY = "conditioning"
    FUNCTION = "append"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Lets a prompt speak in a rectangle only; combine it with one for the whole image."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "conditioning": PROMPT,
                "width": whole(64, 64, LARGEST, "The rectangle's width in pixels.", FACTOR),
                "height": whole(64, 64, LARGEST, "The rectangle's height in pixels.", FACTOR),
                "x": whole(0, 0, LARGEST, "Its left edge in pixels.", FACTOR),
                "y": whole(0, 0, LARGEST, "Its upper edge in pixels.", FACTOR),
                "strength": STRENGTH,
            }
        }

    def append(self, conditioning: list, width: int, height: int, x: int, y: int, strength: float) -> tuple[list]:
        area = (height // FACTOR, width // FACTOR, y // FACTOR, x // FACTOR)
        return (changed(conditioning, area=area, strength=strength, set_area_to_bounds=False),)


class ConditioningSetAreaPercentage:
    CATEGORY = "conditioning"
    FUNCTION = "append"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Lets a prompt speak in a rectangle only, given in fractions of the image."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "conditioning": PROMPT,
                "width": number(1.0, 0, 1.0, 0.01, "The rectangle's width; 1 is the image's."),
                "height": number(1.0, 0, 1.0, 0.01, "The rectangle's height; 1 is the image's."),
                "x": number(0, 0, 1.0, 0.01, "Its left edge, from 0 (left) to 1 (right)."),
                "y": number(0, 0, 1.0, 0.01, "Its upper edge, from 0 (top) to 1 (bottom)."),
                "strength": STRENGTH,
            }
        }

    def append(
        self, conditioning: list, width: float, height: float, x: float, y: float, strength: float
    ) -> tuple[list]:
        area = ("percentage", height, width, y, x)
        return (changed(conditioning, area=area, strength=strength, set_area_to_bounds=False),)


class ConditioningSetAreaStrength:
    CATEGORY = "conditioning"
    FUNCTION = "append"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Sets how much a prompt counts beside others."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"conditioning": PROMPT, "strength": STRENGTH}}

    def append(self, conditioning: list, strength: float) -> tuple[list]:
        return (changed(conditioning, strength=strength),)


class ConditioningSetMask:
    CATEGORY = "conditioning"
    FUNCTION = "append"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Lets a prompt speak where a mask is white; combine it with one for the rest."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "conditioning": PROMPT,
                "mask": socket("MASK", "White is where the prompt speaks; it is fitted to the image."),
                "strength": STRENGTH,
                "set_cond_area": choice(
                    ["default", "mask bounds"], "mask bounds: show the model the box around the mask only."
                ),
            }
        }

    def append(self, conditioning: list, mask: Tensor, set_cond_area: str, strength: float) -> tuple[list]:
        mask = mask[None] if mask.ndim < 3 else mask
        bounds = set_cond_area != "default"
        return (changed(conditioning, mask=mask, set_area_to_bounds=bounds, mask_strength=strength),)


class ConditioningSetTimestepRange:
    CATEGORY = "advanced/conditioning"
    FUNCTION = "set_range"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Lets a prompt speak in a part of the run only; combine it with others for the rest."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "conditioning": PROMPT,
                "start": number(0.0, 0.0, 1.0, 0.001, "Where it begins: 0 is pure noise, 1 the finished image."),
                "end": number(1.0, 0.0, 1.0, 0.001, "Where it ends: 0 is pure noise, 1 the finished image."),
            }
        }

    def set_range(self, conditioning: list, start: float, end: float) -> tuple[list]:
        return (changed(conditioning, start_percent=start, end_percent=end),)
