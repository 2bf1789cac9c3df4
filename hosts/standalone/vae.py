"""VAE without ComfyUI."""

from einops import rearrange
from torch import Tensor

from ...networks import Autoencoder

__all__ = ["Vae"]


class Vae:
    """VAE: IMAGE (b, h, w, 3) in [0, 1] to unscaled latents (b, 4, h/8, w/8) and back."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.autoencoder = autoencoder

    @property
    def factor(self) -> int:
        """Pixels per latent along each side, by ComfyUI's name too."""
        return self.autoencoder.config.factor

    downscale_ratio = factor

    def encode(self, pixels: Tensor) -> Tensor:
        """Latents of a picture; edges past a multiple of 8 pixels are cut, evenly on both sides."""
        height, width = pixels.shape[1] // self.factor * self.factor, pixels.shape[2] // self.factor * self.factor
        if not height or not width:
            raise ValueError(
                f"image of {pixels.shape[2]} x {pixels.shape[1]} pixels, expected {self.factor} x {self.factor} or more"
            )
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        pixels = pixels[:, top : top + height, left : left + width, :3]
        return self.autoencoder.latent(rearrange(pixels, "b h w c -> b c h w") * 2 - 1).cpu()

    def decode(self, samples: Tensor) -> Tensor:
        """The picture of latents."""
        return rearrange((self.autoencoder.picture(samples) + 1) / 2, "b c h w -> b h w c").cpu()
