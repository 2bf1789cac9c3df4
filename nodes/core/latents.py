"""ComfyUI's nodes about latents."""

from torch import Tensor

from ...hosts.bounds import check_size
from ...hosts.fit import cycled
from ...hosts.standalone.resize import METHODS, resize, soft_ends
from ..latents import FACTOR, empty_latent
from ..sockets import choice, number, socket, whole
from .images import CROPS, LARGEST

__all__ = [
    "EmptyLatentImage",
    "LatentComposite",
    "LatentFromBatch",
    "LatentUpscale",
    "LatentUpscaleBy",
    "RepeatLatentBatch",
    "SetLatentNoiseMask",
]


class EmptyLatentImage:
    CATEGORY = "latent"
    FUNCTION = "generate"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "A batch of empty latents, to be denoised."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "width": whole(512, 16, LARGEST, "The width of the latent images in pixels.", FACTOR),
                "height": whole(512, 16, LARGEST, "The height of the latent images in pixels.", FACTOR),
                "batch_size": whole(1, 1, 4096, "The number of latent images in the batch."),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1) -> tuple[dict]:
        return (empty_latent(width, height, batch_size),)


class SetLatentNoiseMask:
    CATEGORY = "latent/inpaint"
    FUNCTION = "set_mask"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "Keeps the latent where the mask is black."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {"samples": socket("LATENT", "The latents."), "mask": socket("MASK", "White is inpainted.")}
        }

    def set_mask(self, samples: dict, mask: Tensor) -> tuple[dict]:
        """Return LATENT with `noise_mask` (b, 1, h, w)."""
        return ({**samples, "noise_mask": mask.reshape(-1, 1, *mask.shape[-2:])},)


class LatentUpscale:
    CATEGORY = "latent"
    FUNCTION = "upscale"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "Brings latents to another size. A width or height of 0 follows from the other one."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "samples": socket("LATENT", "The latents."),
                "upscale_method": choice(METHODS, "How values between latent pixels are found."),
                "width": whole(512, 0, LARGEST, "The new width in pixels; 0 keeps the proportions.", FACTOR),
                "height": whole(512, 0, LARGEST, "The new height in pixels; 0 keeps the proportions.", FACTOR),
                "crop": choice(CROPS, "center: cut to the new proportions first. disabled: stretch."),
            }
        }

    def upscale(self, samples: dict, upscale_method: str, width: int, height: int, crop: str) -> tuple[dict]:
        """Return LATENT, at least 64 pixels each way."""
        if not width and not height:
            return (samples,)
        x = samples["samples"]
        rows, columns = x.shape[-2:]
        if not width:
            height = max(64, height)
            width = max(64, round(columns * height / rows))
        elif not height:
            width = max(64, width)
            height = max(64, round(rows * width / columns))
        size = max(64, width) // FACTOR, max(64, height) // FACTOR
        return ({**samples, "samples": resize(x, *size, upscale_method, crop)},)


class LatentUpscaleBy:
    CATEGORY = "latent"
    FUNCTION = "upscale"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "Makes latents so many times as wide and high."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "samples": socket("LATENT", "The latents."),
                "upscale_method": choice(METHODS, "How values between latent pixels are found."),
                "scale_by": number(1.5, 0.01, 8.0, 0.01, "The factor on width and height."),
            }
        }

    def upscale(self, samples: dict, upscale_method: str, scale_by: float) -> tuple[dict]:
        x = samples["samples"]
        size = round(x.shape[-1] * scale_by), round(x.shape[-2] * scale_by)
        return ({**samples, "samples": resize(x, *size, upscale_method)},)


class LatentComposite:
    CATEGORY = "latent"
    FUNCTION = "composite"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "Pastes latents into others, with a soft edge if wanted."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "samples_to": socket("LATENT", "The latents to paste into."),
                "samples_from": socket("LATENT", "The latents to paste."),
                "x": whole(0, 0, LARGEST, "The left edge in pixels.", FACTOR),
                "y": whole(0, 0, LARGEST, "The upper edge in pixels.", FACTOR),
                "feather": whole(0, 0, LARGEST, "Width of the soft edge in pixels; 0 is a hard one.", FACTOR),
            }
        }

    def composite(self, samples_to: dict, samples_from: dict, x: int, y: int, feather: int = 0) -> tuple[dict]:
        """Return LATENT; what would lie outside is cut. ValueError for batches that don't fit."""
        below, above = samples_to["samples"], samples_from["samples"]
        if len(above) not in (1, len(below)) or above.shape[1] != below.shape[1]:
            came, expected = tuple(above.shape), (len(below), below.shape[1])
            raise ValueError(
                f"samples_from of shape {came}, expected {expected}, with the batch and channels of samples_to"
            )
        top, left = y // FACTOR, x // FACTOR
        result = below.clone()
        hole = result[:, :, top : top + above.shape[2], left : left + above.shape[3]]
        above = above[:, :, : hole.shape[2], : hole.shape[3]]
        rows, columns = below.shape[2] - top, below.shape[3] - left
        weight = (
            soft_ends(hole.shape[2], feather // FACTOR, top > 0, hole.shape[2] < rows)[:, None]
            * soft_ends(hole.shape[3], feather // FACTOR, left > 0, hole.shape[3] < columns)[None, :]
        ).to(below)
        hole.copy_(above * weight + hole * (1 - weight))
        return ({**samples_to, "samples": result},)


class RepeatLatentBatch:
    CATEGORY = "latent/batch"
    FUNCTION = "repeat"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "Repeats a batch of latents; each repetition gets noise of its own."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "samples": socket("LATENT", "The latents."),
                "amount": whole(1, 1, 64, "How often each is there afterwards."),
            }
        }

    def repeat(self, samples: dict, amount: int) -> tuple[dict]:
        check_size("a latent", amount, *samples["samples"].shape)
        result = {**samples, "samples": samples["samples"].repeat(amount, 1, 1, 1)}
        if len(samples.get("noise_mask", ())) > 1:
            result["noise_mask"] = samples["noise_mask"].repeat(amount, 1, 1, 1)
        if "batch_index" in samples:
            places = samples["batch_index"]
            stride = max(places) - min(places) + 1
            result["batch_index"] = [place + i * stride for i in range(amount) for place in places]
        return (result,)


class LatentFromBatch:
    CATEGORY = "latent/batch"
    FUNCTION = "frombatch"
    RETURN_TYPES = ("LATENT",)
    DESCRIPTION = "Takes some latents out of a batch; they keep the noise of their place in it."

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "samples": socket("LATENT", "The latents."),
                "batch_index": whole(0, -LARGEST, LARGEST, "The place of the first one; 0 is the first, -1 the last."),
                "length": whole(1, 1, 64, "How many to take."),
            }
        }

    def frombatch(self, samples: dict, batch_index: int, length: int) -> tuple[dict]:
        x = samples["samples"]
        first = max(0, min(len(x) - 1, batch_index + len(x) if batch_index < 0 else batch_index))
        taken = slice(first, min(len(x), first + length))
        places = samples.get("batch_index", range(len(x)))
        result = {**samples, "samples": x[taken].clone(), "batch_index": list(places[taken])}
        if "noise_mask" in samples:
            masks = samples["noise_mask"]
            several = len(masks) > 1
            result["noise_mask"] = cycled(masks, max(len(masks), len(x)))[taken] if several else masks
        return (result,)
