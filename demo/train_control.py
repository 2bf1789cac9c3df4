"""Training the demo's ControlNet on line drawings of the scenes, over the finished, frozen model.

Zhang et al. 2023, arXiv 2302.05543: a copy of the UNet's first half learns what the drawing adds; half of the prompts
are left empty, so that it reads shapes and places off the drawing rather than the prompt.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..atomic import replacing
from ..networks import ControlNet, LatentDiffusion
from .loop import Budget, train
from .outlines import outline
from .scenes import Scene, caption

__all__ = ["drawings_of", "hints", "train_control"]

BATCH = 32
PROMPT_DROPOUT = 0.5
WEIGHT_CAP = 10.0


def hints(drawings: np.ndarray) -> Tensor:
    """Drawings (n, h, w) uint8 as a ControlNet's hints (n, 3, h, w) in [0, 1]."""
    return torch.from_numpy(drawings).float().div(255)[:, None].repeat(1, 3, 1, 1)


def drawings_of(scenes: list[Scene], path: Path) -> np.ndarray:
    """Line drawings (n, 128, 128) uint8, made once and kept at `path`."""
    if not path.exists():
        with replacing(path) as part, part.open("wb") as file:
            np.save(file, np.stack([outline(scene) for scene in scenes]))
    return np.load(path, mmap_mode="r")


def train_control(
    model: LatentDiffusion,
    latents: Tensor,
    drawings: np.ndarray,
    scenes: list[Scene],
    budget: Budget,
    path: Path,
    device: str,
    seed: int,
) -> ControlNet:
    """Train a ControlNet for `model`, whose own weights stay, on scaled latents (n, 4, h, w) and drawings of scenes.

    The error of eps is weighted by min(10, (1 - a) / a): up to the cap it is that of x0. What goes where is settled
    where there is most noise, and there an error of eps says least.
    """
    torch.manual_seed(seed)
    unet = model.model.diffusion_model
    net = ControlNet.copy_of(unet).requires_grad_(True)
    weight = (1 / model.alphas_cumprod.float() - 1).clamp(max=WEIGHT_CAP).to(device)

    def loss(step: int, share: float) -> Tensor:
        rng = np.random.default_rng((seed, 3, step))
        chosen = np.sort(rng.integers(len(latents), size=BATCH))
        prompts = ["" if rng.random() < PROMPT_DROPOUT else caption(scenes[i], rng) for i in chosen]
        x0, hint = latents[chosen].to(device), hints(drawings[chosen]).to(device)
        parts = rng.permutation(BATCH) + rng.random(BATCH)
        t = torch.from_numpy((parts / BATCH * model.num_timesteps).astype(np.int64)).to(device)
        noise = torch.from_numpy(rng.standard_normal(x0.shape, np.float32)).to(device)
        x_t, context = model.q_sample(x0, t, noise), model.encode_text(prompts)
        with torch.autocast(device, torch.bfloat16):
            eps = unet(x_t, t, context, net(x_t, hint, t, context))
        return (weight[t] * (eps.float() - noise).square().mean(dim=(1, 2, 3))).mean()

    return train(net, loss, budget, path)
