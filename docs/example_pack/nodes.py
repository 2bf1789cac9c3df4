"""The nodes: a disc, and dark corners."""

import torch

COLORS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.7, 0.2), "blue": (0.1, 0.2, 0.9)}
BACKGROUND = (0.95, 0.95, 0.9)


def whole(default, low, high):
    return "INT", {"default": default, "min": low, "max": high}


class ExampleDisc:
    """Discs of a color on a light ground; in a batch, each is further right."""

    CATEGORY = "example"
    FUNCTION = "draw"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "color": (list(COLORS),),
                "x": whole(48, 0, 4096),
                "y": whole(64, 0, 4096),
                "radius": whole(24, 1, 4096),
                "size": whole(128, 16, 4096),
                "batch_size": whole(1, 1, 64),
            }
        }

    def draw(self, color, x, y, radius, size, batch_size):
        places = torch.arange(size) + 0.5
        image = torch.tensor(BACKGROUND).expand(batch_size, size, size, 3).clone()
        for index, picture in enumerate(image):
            distance = torch.hypot(places[None, :] - (x + 8 * index), places[:, None] - y)
            share = (radius + 0.5 - distance).clamp(0, 1)[..., None]  # soft edges
            picture += share * (torch.tensor(COLORS[color]) - picture)
        return (image,)


class ExampleVignette:
    """Darkens pictures towards their corners."""

    CATEGORY = "example"
    FUNCTION = "darken"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": ("IMAGE",),
                "strength": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.05}),
            }
        }

    def darken(self, image, strength):
        height, width = image.shape[1:3]
        y = torch.linspace(-1, 1, height)[:, None]
        x = torch.linspace(-1, 1, width)[None, :]
        return (image * (1 - strength * (x**2 + y**2) / 2)[None, ..., None],)


NODE_CLASS_MAPPINGS = {"ExampleDisc": ExampleDisc, "ExampleVignette": ExampleVignette}
NODE_DISPLAY_NAME_MAPPINGS = {"ExampleDisc": "Disc", "ExampleVignette": "Vignette"}
