"""Training the demo's autoencoder: squared error on crops, most of them around the solids, later on whole pictures.

Then its decoder alone, on whole pictures, by what makes edges sharp.
"""

import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..networks.autoencoder import Autoencoder, AutoencoderConfig
from .loop import Budget, train
from .scenes import Scene, column

__all__ = ["CONFIG", "latent_means", "psnr", "to_tensor", "train_autoencoder", "train_decoder"]

CONFIG = AutoencoderConfig(channels=(64, 64, 128, 128), blocks=1)
KL_WEIGHT = 5e-5
CROP = 64
LATENT_NOISE = 0.15


def to_tensor(pictures: np.ndarray) -> Tensor:
    """(b, h, w, 3) uint8 to (b, 3, h, w) float32 in [-1, 1]."""
    return rearrange(torch.from_numpy(np.array(pictures)), "b h w c -> b c h w").float() / 127.5 - 1


def train_autoencoder(
    pictures: np.ndarray, scenes: list[Scene], budget: Budget, path, device: str, seed: int
) -> Autoencoder:
    """Train on (n, 128, 128, 3) uint8 pictures and return the averaged network."""
    torch.manual_seed(seed)
    network = Autoencoder(CONFIG).to(device, memory_format=torch.channels_last)

    def loss(step: int, share: float) -> Tensor:
        rng = np.random.default_rng((seed, step))
        whole = share > 0.8
        x = _whole(pictures, rng, 4) if whole else _crops(pictures, scenes, rng, 16)
        x = to_tensor(x).to(device, memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16):
            mean, log_variance = network.moments(x)
            mean, log_variance = mean.float(), log_variance.float()
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            y = network.decode(z)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        return F.mse_loss(y.float(), x) + KL_WEIGHT * kl

    return train(network, loss, budget, path)


def train_decoder(
    network: Autoencoder, means: Tensor, pictures: np.ndarray, budget: Budget, path: Path, seed: int
) -> Autoencoder:
    """Train a finished autoencoder's decoder further, and return the autoencoder with the averaged one.

    `means` (n, 4, h/8, w/8) are the latents of the (n, h, w, 3) uint8 pictures. They stay as they are, and with them
    whatever was trained on them. The error is the absolute one, of pixels and of the differences between neighbours:
    a blurred edge, which the squared error allows, costs as much as one in the wrong place. The latents get some
    noise, since those that a UNet makes aren't quite the encoder's.
    """
    torch.manual_seed(seed)
    device = means.device.type
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format).requires_grad_(False)
    decoding = nn.ModuleList([network.post_quant_conv, network.decoder]).requires_grad_(True)
    spread = means.std()

    def loss(batch: int, share: float) -> Tensor:
        rng = np.random.default_rng((seed, 4, batch))
        chosen = np.sort(rng.choice(len(pictures), 2, replace=False))
        x, z = to_tensor(pictures[chosen]).to(device), means[chosen]
        strength = rng.uniform(0, LATENT_NOISE, (len(z), 1, 1, 1))
        noise = torch.from_numpy((strength * rng.standard_normal(z.shape)).astype(np.float32)).to(device)
        with torch.autocast(device, torch.bfloat16, cache_enabled=False):  # a cache would be shared between threads
            y = network.decode(z + spread * noise)
        error = y.float() - x
        return error.abs().mean() + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()

    network.post_quant_conv, network.decoder = train(decoding, loss, budget, path)
    return network


def _whole(pictures: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    return pictures[np.sort(rng.choice(len(pictures), count, replace=False))]


def _crops(pictures: np.ndarray, scenes: list[Scene], rng: np.random.Generator, count: int) -> np.ndarray:
    crops = []
    for i in rng.integers(len(pictures), size=count):
        size = pictures.shape[1]
        if rng.random() < 0.75:
            solid = scenes[i].solids[rng.integers(len(scenes[i].solids))]
            x = column(solid, size) - CROP // 2 + rng.integers(-20, 21)
            y = size // 2 - CROP // 2 + rng.integers(-20, 21)
        else:
            x, y = rng.integers(0, size - CROP + 1, size=2)
        x, y = (int(np.clip(v, 0, size - CROP)) for v in (x, y))
        crops.append(pictures[i, y : y + CROP, x : x + CROP])
    return np.stack(crops)


@torch.no_grad()
def latent_means(network: Autoencoder, pictures: np.ndarray, device: str, batch: int = 32) -> Tensor:
    """The latents' means (n, 4, h/8, w/8), float32, of (n, h, w, 3) uint8 pictures."""
    means = []
    for i in range(0, len(pictures), batch):
        x = to_tensor(pictures[i : i + batch]).to(device, memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16):
            mean, _ = network.moments(x)
        means.append(mean.float().cpu())
    return torch.cat(means)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (b,) in dB of pictures (b, 3, h, w) in [-1, 1]."""
    error = ((a.clamp(-1, 1) - b.clamp(-1, 1)) / 2).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error)
