"""Training the demo's ControlNet on line drawings of the scenes, over the finished, frozen model.

    python -m comfyui_ddim.demo.train_control --minutes 45

Zhang et al. 2023, arXiv 2302.05543: a copy of the UNet's first half learns what the drawing adds; half of the prompts
are left empty, so that it reads shapes and places off the drawing rather than the prompt.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..networks import ControlNet, LatentDiffusion, load_checkpoint, save_controlnet
from .data import training_set
from .loop import Budget, train
from .outlines import outline
from .scenes import Scene, caption
from .train_autoencoder import to_tensor

__all__ = ["hints", "train_control"]

SHIPPED = Path(__file__).parent / "ddim-scenes.safetensors"
BATCH = 32
PROMPT_DROPOUT = 0.5
WEIGHT_CAP = 10.0

log = logging.getLogger(__name__)


def hints(drawings: np.ndarray) -> Tensor:
    """Drawings (n, h, w) uint8 as a ControlNet's hints (n, 3, h, w) in [0, 1]."""
    return torch.from_numpy(drawings).float().div(255)[:, None].repeat(1, 3, 1, 1)


def drawings_of(scenes: list[Scene], path: Path) -> np.ndarray:
    """Line drawings (n, 128, 128) uint8, made once and kept at `path`."""
    if not path.exists():
        np.save(path, np.stack([outline(scene) for scene in scenes]))
    return np.load(path, mmap_mode="r")


@torch.no_grad()
def latents_of(model: LatentDiffusion, pictures: np.ndarray, path: Path, device: str) -> Tensor:
    """Scaled latents (n, 4, 16, 16) of pictures (n, 128, 128, 3) uint8, made once and kept at `path`."""
    if not path.exists():
        parts = [model.encode_picture(to_tensor(pictures[i : i + 32]).to(device)) for i in range(0, len(pictures), 32)]
        torch.save((torch.cat(parts) * model.scale_factor).cpu(), path)
    return torch.load(path, weights_only=True)


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


def main(argv: list[str] | None = None) -> None:
    """Draw the scenes, train, write the ControlNet; what was done before in the folder is gone on from."""
    parser = argparse.ArgumentParser(prog="python -m comfyui_ddim.demo.train_control", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED, help="the model (the one that ships)")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs"), help="where data and states are kept (%(default)s)"
    )
    parser.add_argument("--output", type=Path, help="the file to write (FOLDER/ddim-scenes-outline.safetensors)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--minutes", type=float, default=45, help="time for training (%(default)s)")
    parser.add_argument("--scenes", type=int, default=4096, help="how many scenes to draw (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of scenes and noise (%(default)s)")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder, device, count = arguments.folder, arguments.device, arguments.scenes
    pictures, scenes = training_set(folder, count, arguments.seed)
    model = load_checkpoint(arguments.checkpoint, device)
    drawings = drawings_of(scenes, folder / f"drawings-{arguments.seed}-{count}.npy")
    latents = latents_of(model, pictures, folder / f"control-latents-{arguments.seed}-{count}.pt", device)
    budget = Budget(60 * arguments.minutes, 5e-4, warmup=50, average=0.99)
    net = train_control(model, latents, drawings, scenes, budget, folder / "control.pt", device, arguments.seed)
    output = arguments.output or folder / "ddim-scenes-outline.safetensors"
    save_controlnet(net, output)
    log.info("wrote %s", output)


if __name__ == "__main__":
    main()
