"""Draws docs/icon.png and docs/banner.png for ComfyUI's registry: a scene on its way from noise to image.

Each column is sqrt(a) x0 + sqrt(1 - a) eps with the alpha-bar a of its place, rising from left to right.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).parents[1] / "docs"
ICON, BANNER = 400, (1260, 540)
"""The registry takes icons of at most 400 x 400 pixels, and banners of 21:9."""

BACKGROUND = (22, 26, 34)


def scene(size: int) -> np.ndarray:
    """A red sphere on a green floor under a blue sky, (size, size, 3) in [-1, 1]."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    sky = np.stack([0.35 + 0.45 * y, 0.58 + 0.35 * y, 0.95 + 0 * y], -1)
    floor = np.stack([0.30 + 0.05 * y, 0.56 - 0.06 * y, 0.26 + 0 * y], -1)
    pixels = np.where((y < 0.45)[..., None], sky, floor)
    shadow = ((x - 0.57) / 0.3) ** 2 + ((y - 0.8) / 0.08) ** 2
    pixels *= (1 - 0.45 * np.clip(1.3 - shadow, 0, 1))[..., None]
    across, down = (x - 0.5) / 0.29, (y - 0.52) / 0.29
    depth = np.sqrt(np.clip(1 - across**2 - down**2, 0, 1))
    light = np.clip(-0.45 * across - 0.6 * down + 0.66 * depth, 0, 1)
    ball = np.stack([0.25 + 0.7 * light, 0.03 + 0.12 * light, 0.03 + 0.1 * light], -1) + 0.6 * light[..., None] ** 24
    edge = np.clip((1 - np.hypot(across, down)) * size * 0.29, 0, 1)[..., None]
    return np.clip(pixels * (1 - edge) + ball * edge, 0, 1) * 2 - 1


def noised(x0: np.ndarray, alpha_bar: np.ndarray | float, grain: int, seed: int) -> Image.Image:
    """The scene at a noise level for every column, or for all; noise in squares of `grain` pixels."""
    height, width = x0.shape[:2]
    eps = np.random.default_rng(seed).standard_normal((-(-height // grain), -(-width // grain), 3))
    eps = eps.repeat(grain, 0).repeat(grain, 1)[:height, :width]
    a = np.broadcast_to(alpha_bar, width)[None, :, None]
    mixed = np.sqrt(a) * x0 + np.sqrt(1 - a) * eps
    return Image.fromarray((np.clip(mixed / 2 + 0.5, 0, 1) * 255).round().astype(np.uint8))


def rising(progress: np.ndarray | float) -> np.ndarray:
    """Alpha-bar over a run's progress from 0 to 1."""
    return 1 - (1 - np.clip(progress, 0, 1)) ** 3


def rounded(picture: Image.Image, radius: int) -> Image.Image:
    """The picture with round corners over nothing."""
    mask = Image.new("L", (picture.width * 4, picture.height * 4))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius * 4, fill=255)
    picture = picture.convert("RGBA")
    picture.putalpha(mask.resize(picture.size, Image.Resampling.LANCZOS))
    return picture


def icon() -> Image.Image:
    """From noise on the left to the image on the right."""
    steps = np.floor(np.linspace(0, 5, ICON, endpoint=False)) / 4
    return rounded(noised(scene(ICON), rising(steps), 10, 2020), 64)


def banner() -> Image.Image:
    """The name, and six steps of a run."""
    sheet = Image.new("RGB", BANNER, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((BANNER[0] // 2, 120), "DDIM", (240, 243, 248), ImageFont.load_default(120), "mm")
    words = "exactly the steps you ask for, from noise to image and back"
    draw.text((BANNER[0] // 2, 218), words, (160, 170, 186), ImageFont.load_default(30), "mm")
    size, gap, count = 180, 16, 6
    left = (BANNER[0] - count * size - (count - 1) * gap) // 2
    for i in range(count):
        frame = rounded(noised(scene(size), rising(i / (count - 1)), 5, 2020), 18)
        sheet.paste(frame, (left + i * (size + gap), 290), frame)
    return sheet


if __name__ == "__main__":
    icon().save(FOLDER / "icon.png", optimize=True)
    banner().save(FOLDER / "banner.png", optimize=True)
