"""Masks: white (1) is inpainted, black (0) is kept."""

import torch
import torch.nn.functional as F

from .sockets import choice, number, socket, toggle, whole

__all__ = ["DDIMMask", "draw"]

SHAPES = ["rectangle", "ellipse"]


def draw(
    shape: str, width: int, height: int, left: float, top: float, right: float, bottom: float, feather: int
) -> torch.Tensor:
    """MASK (1, height, width): 1 inside the shape that fills the box (fractions of the image), 0 outside.

    `feather` blurs the edge over about that many pixels. Raises ValueError for a box without area.
    """
    if not (left < right and top < bottom):
        raise ValueError(f"box from {left}, {top} to {right}, {bottom}: expected left < right and top < bottom")
    y = (torch.arange(height) + 0.5)[:, None] / height
    x = (torch.arange(width) + 0.5)[None, :] / width
    across = (x - (left + right) / 2) / ((right - left) / 2)
    down = (y - (top + bottom) / 2) / ((bottom - top) / 2)
    inside = across**2 + down**2 <= 1 if shape == "ellipse" else (across.abs() <= 1) & (down.abs() <= 1)
    return soften(inside[None].float(), feather)


def soften(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """Blur the edges of MASK (b, h, w) over about `pixels` pixels (two box blurs)."""
    if not pixels:
        return mask
    radius = -(-pixels // 2)
    mask = mask[:, None]
    for _ in range(2):
        padded = F.pad(mask, (radius,) * 4, mode="replicate")
        mask = F.avg_pool2d(padded, 2 * radius + 1, stride=1)
    return mask[:, 0]


class DDIMMask:
    DISPLAY_NAME = "Mask (DDIM)"
    CATEGORY = "DDIM/images"
    DESCRIPTION = (
        "Draws a mask, or feathers and inverts a connected one. White (1) is inpainted, black (0) is kept. "
        "A connected mask and the drawn shape are combined (maximum), unless the shape is 'none'."
    )
    FUNCTION = "make"
    RETURN_TYPES = ("MASK",)
    OUTPUT_TOOLTIPS = ("The mask: 1 is inpainted, 0 is kept.",)
    SEARCH_ALIASES = ("inpaint mask", "draw mask")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "shape": choice([*SHAPES, "none"], "The shape to draw; 'none' uses the connected mask alone."),
                "width": whole(128, 8, 16384, "Width of the mask in pixels; a connected mask keeps its own width."),
                "height": whole(128, 8, 16384, "Height of the mask in pixels; a connected mask keeps its own height."),
                "left": number(0.25, 0, 1, 0.01, "Left edge of the shape, from 0 (left) to 1 (right)."),
                "top": number(0.25, 0, 1, 0.01, "Upper edge of the shape, from 0 (top) to 1 (bottom)."),
                "right": number(0.75, 0, 1, 0.01, "Right edge of the shape."),
                "bottom": number(0.75, 0, 1, 0.01, "Lower edge of the shape."),
                "feather": whole(0, 0, 512, "Width of the soft edge in pixels; 0 is a hard edge."),
                "invert": toggle(False, "Invert the mask: inpaint outside the shape, keep what is inside."),
            },
            "optional": {"mask": socket("MASK", "An existing mask; it is combined with the drawn shape (maximum).")},
        }

    def make(self, shape, width, height, left, top, right, bottom, feather, invert, mask=None) -> tuple[torch.Tensor]:
        """Return MASK (b, h, w) in [0, 1]."""
        if mask is None and shape == "none":
            raise ValueError("shape is 'none' and no mask is linked, expected one of them")
        parts = []
        if mask is not None:
            mask = mask.reshape(-1, *mask.shape[-2:]).float()
            height, width = mask.shape[-2:]
            parts.append(soften(mask, feather))
        if shape != "none":
            parts.append(draw(shape, width, height, left, top, right, bottom, feather))
        result = parts[0] if len(parts) == 1 else torch.maximum(*parts)
        return (1 - result if invert else result,)
