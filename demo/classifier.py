"""A small classifier of renders: the judge of what a picture shows, trained on renders alone."""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .loop import Budget, train
from .scenes import Scene
from .train_autoencoder import to_tensor
from .words import LABELS, label_indices

__all__ = ["Classifier", "accuracy", "train_classifier"]


class Classifier(nn.Module):
    """Pictures (b, 3, 128, 128) in [-1, 1] to one (b, options) tensor of scores per label."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128, 128)
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(widths):
            layers += [nn.Conv2d(c_in, c_out, 3, stride=2, padding=1), nn.BatchNorm2d(c_out), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4 * 4, 256), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(256, len(options)) for options in LABELS.values())

    def forward(self, x: Tensor) -> list[Tensor]:
        """Scores, one tensor a label."""
        h = self.features(x)
        return [head(h) for head in self.heads]

    @torch.no_grad()
    def labels(self, x: Tensor) -> list[dict[str, str]]:
        """The most likely labels of pictures (b, 3, 128, 128) in [-1, 1]."""
        best = torch.stack([scores.argmax(1) for scores in self(x)], dim=1).tolist()
        return [{name: options[i] for (name, options), i in zip(LABELS.items(), row, strict=True)} for row in best]


def train_classifier(
    pictures: np.ndarray, scenes: list[Scene], budget: Budget, path, device: str, seed: int
) -> Classifier:
    """Train on (n, 128, 128, 3) uint8 renders with a little noise and blur, so that it judges content, not grain."""
    torch.manual_seed(seed)
    network = Classifier().to(device, memory_format=torch.channels_last)
    targets = torch.tensor([label_indices(scene) for scene in scenes])

    def loss(step: int, share: float) -> Tensor:
        rng = np.random.default_rng((seed, step))
        chosen = np.sort(rng.choice(len(pictures), 64, replace=False))
        x = to_tensor(pictures[chosen]).to(device, memory_format=torch.channels_last)
        if rng.random() < 0.5:
            x = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear")
        x = x + 0.1 * rng.random() * torch.randn_like(x)
        with torch.autocast(device, torch.bfloat16):
            scores = network(x)
        y = targets[chosen].to(device)
        return sum(F.cross_entropy(s.float(), y[:, i]) for i, s in enumerate(scores))

    train(network, loss, budget, path)
    return network.eval()


def accuracy(network: Classifier, x: Tensor, scenes: list[Scene], batch: int = 64) -> dict[str, float]:
    """Share of pictures (n, 3, 128, 128) judged as their scenes are, per label."""
    truth = np.array([label_indices(scene) for scene in scenes])
    guesses = []
    with torch.no_grad():
        for i in range(0, len(x), batch):
            guesses.append(torch.stack([s.argmax(1) for s in network(x[i : i + batch])], dim=1).cpu().numpy())
    right = (np.concatenate(guesses) == truth).mean(0)
    return {name: float(r) for name, r in zip(LABELS, right, strict=True)}
